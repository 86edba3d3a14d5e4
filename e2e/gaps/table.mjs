// The results as a table and as figures.
import { readFileSync, writeFileSync } from 'node:fs';

const BEGIN = '<!-- gaps: made by e2e/verify-gaps --write -->';
const END = '<!-- end of gaps -->';

const OUTCOMES = { ok: 'restores', wrong: 'restores it wrongly', fails: 'fails', hangs: 'hangs', crashes: 'crashes' };
const ANSWERS = { error: 'error', warning: 'warning', silent: 'nothing' };

/** Whose image it is, by the name in the changes. */
const WHOSE = { THREAD: ' of a thread', CHILD: ' of a child', CHILDFILES: ' of a child', ZOMBIE: ' of a zombie' };

const isMissed = (result) => result.outcome !== 'ok' && !result.undetectable && result.answer !== 'error';
const isRefused = (result) => result.outcome === 'ok' && !result.tolerated && result.answer === 'error';

export function summarize(untouched, results) {
  const bad = results.filter(({ outcome, undetectable }) => outcome !== 'ok' && !undetectable);
  const harmless = results.filter(({ outcome, tolerated }) => outcome === 'ok' && !tolerated);
  const found = bad.filter((result) => !isMissed(result));
  const refused = harmless.filter(isRefused);
  const spoiled = untouched.filter(({ outcome, answer }) => outcome !== 'ok' || answer !== 'silent');
  const complaints = [
    ...spoiled.map(
      ({ image, outcome, said, answer, verifySaid }) =>
        `unchanged dump (${image}): CRIU: ${outcome} ${said}; verify: ${answer} ${verifySaid}`,
    ),
    ...refused.map(
      ({ image, what, codes }) => `an error, though CRIU restores it: ${image}: ${what} (${codes.join(', ')})`,
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

function answerOf({ answer, codes, outcome, undetectable, tolerated }) {
  const word = ANSWERS[answer] ?? answer;
  const text = codes.length > 0 ? `${word}: ${codes.map((code) => `\`${code}\``).join(', ')}` : word;
  if (undetectable && outcome !== 'ok') return `${text} (cannot be found)`;
  return tolerated && outcome === 'ok' ? `${text} (CRIU tolerates it)` : text;
}

const nameOf = ({ image }) => image.replace(/-([A-Z-]+)$/, (_, name) => WHOSE[name] ?? '');

function rowsOf(results) {
  const rows = results.map(
    (result) => `| ${nameOf(result)} | ${result.what} | ${OUTCOMES[result.outcome]} | ${answerOf(result)} |`,
  );
  return ['| image | change | CRIU | verify |', '| --- | --- | --- | --- |', ...rows].join('\n');
}

/** All results, one a row. */
export function tableOf(version, results, summary) {
  return `${sentenceOf(version, results, summary)} Rows with a remark in brackets do not count.\n\n${rowsOf(results)}`;
}

function sentenceOf(version, results, { bad, found, warned, harmless, refused, foundPercent }) {
  return (
    `CRIU ${version} cannot restore ${bad} of ${results.length} changed dumps. verify reports an error for ${found} of them ` +
    `(${foundPercent} %), and only a warning for ${warned}. CRIU restores ${harmless} others; verify reports an error for ` +
    `${refused} of these.`
  );
}

/** Figures for each type of image, and the results that should be others. */
export function overviewOf(version, results, summary) {
  const names = [...new Set(results.map(({ image }) => typeOf(image)))];
  const rows = names.map((name) => {
    const { bad, found, warned, harmless, refused } = summarize(
      [],
      results.filter(({ image }) => typeOf(image) === name),
    );
    return `| ${name} | ${bad} | ${found} | ${warned} | ${harmless} | ${refused} |`;
  });
  const wrong = results.filter((result) => isMissed(result) || isRefused(result));
  const head =
    '| image | CRIU cannot restore | verify: error | verify: warning | CRIU restores | verify: error |\n| --- | --- | --- | --- | --- | --- |';
  const rest = wrong.length > 0 ? ['These should be errors, or no errors:', rowsOf(wrong)] : [];
  return [sentenceOf(version, results, summary), [head, ...rows].join('\n'), ...rest].join('\n\n');
}

const typeOf = (image) => image.replace(/-[A-Z0-9].*$/, '');

/** Replaces the text between the two marks. */
export function writeInto(path, table) {
  const text = readFileSync(path, 'utf8');
  const [before, rest] = text.split(BEGIN);
  const after = rest?.split(END)[1];
  if (after === undefined) throw new Error(`no "${BEGIN}" in ${path.pathname}`);
  writeFileSync(path, `${before}${BEGIN}\n\n${table}\n\n${END}${after}`);
}
