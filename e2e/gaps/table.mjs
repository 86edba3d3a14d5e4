// What CRIU and verify made of each change, as a table and as figures.
import { readFileSync, writeFileSync } from 'node:fs';

const BEGIN = '<!-- gaps: made by e2e/verify-gaps --write -->';
const END = '<!-- end of gaps -->';

/** What a cell says of CRIU's outcome, and of verify's answer. */
const OUTCOMES = { ok: 'restores', wrong: 'restores it wrongly', fails: 'fails', hangs: 'hangs', crashes: 'crashes' };
const ANSWERS = { error: 'error', warning: 'warning', silent: 'nothing' };

const isBad = ({ outcome }) => outcome !== 'ok';

export function summarize(untouched, results) {
  const bad = results.filter(isBad);
  const harmless = results.filter((result) => !isBad(result));
  const found = bad.filter(({ answer }) => answer === 'error');
  const refused = harmless.filter(({ answer }) => answer === 'error');
  const spoiled = untouched.filter(({ outcome, answer }) => outcome !== 'ok' || answer !== 'silent');
  const complaints = [
    ...spoiled.map(
      ({ image, outcome, said, answer, verifySaid }) =>
        `the dump ${image} itself: CRIU: ${outcome} ${said}; verify: ${answer} ${verifySaid}`,
    ),
    ...refused.map(
      ({ image, what, codes }) => `refused, though CRIU restores it: ${image}: ${what} (${codes.join(', ')})`,
    ),
  ];
  const foundPercent = bad.length === 0 ? 100 : Math.floor((found.length * 1000) / bad.length) / 10;
  const warned = bad.filter(({ answer }) => answer === 'warning').length;
  return {
    bad: bad.length,
    found: found.length,
    warned,
    harmless: harmless.length,
    refused: refused.length,
    foundPercent,
    complaints,
  };
}

function answerOf({ answer, codes }) {
  const word = ANSWERS[answer] ?? answer;
  return codes.length > 0 ? `${word}: ${codes.map((code) => `\`${code}\``).join(', ')}` : word;
}

export function tableOf(version, results, { bad, found, warned, harmless, refused, foundPercent }) {
  const lines = [
    `Of ${results.length} changes CRIU ${version} does not restore ${bad} well: verify finds an error in ${found} of them` +
      ` (${foundPercent} %), and warns of ${warned}. It restores ${harmless}, of which verify refuses ${refused}.`,
    '',
    '| image | what is changed | CRIU | verify |',
    '| --- | --- | --- | --- |',
  ];
  for (const result of results) {
    const image = result.image.replace(/-?[A-Z]+(-VAR)?$/, '');
    lines.push(`| ${image} | ${result.what} | ${OUTCOMES[result.outcome]} | ${answerOf(result)} |`);
  }
  return lines.join('\n');
}

/** Replaces what stands between the two marks. */
export function writeInto(path, table) {
  const text = readFileSync(path, 'utf8');
  const [before, rest] = text.split(BEGIN);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`no "${BEGIN}" in ${path.pathname}`);
  writeFileSync(path, `${before}${BEGIN}\n\n${table}\n\n${END}${after}`);
}
