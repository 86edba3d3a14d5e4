// The rows of a part as tables in Markdown, and their place in docs/benchmarks.md: between <!-- PART --> and <!-- /PART -->.
import { readFileSync, writeFileSync } from 'node:fs';

/** One table for all rows with the same columns. */
export function tablesOf(rows) {
  const tables = new Map();
  for (const row of rows) {
    const key = row.columns.join('|');
    tables.set(key, [...(tables.get(key) ?? []), row]);
  }
  return [...tables.values()].map(tableOf).join('\n\n');
}

function tableOf(rows) {
  const lines = [
    [...rows[0].columns, 'aim'],
    ...rows.map(({ cells, aims }) => [...cells, aims.map(aimText).join('; ')]),
  ];
  const used = lines[0].map((_, column) => lines.slice(1).some((line) => line[column] !== ''));
  const [head, ...rest] = lines.map((line) => lineOf(line.filter((_, column) => used[column])));
  return [head, `${'|---'.repeat(used.filter(Boolean).length)}|`, ...rest].join('\n');
}

const lineOf = (cells) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
const aimText = ({ text, isMet }) => `${text}: ${isMet ? 'met' : '**missed**'}`;

/** Replaces what is between the marks of a part. */
export function writeInto(page, part, text) {
  const before = readFileSync(page, 'utf8');
  const [from, to] = placeOf(page, before, part);
  writeFileSync(page, `${before.slice(0, from)}\n\n${text}\n\n${before.slice(to)}`);
}

/** Throws if a part has no place, which would be too late when it has been measured. */
export function checkPlaces(page, parts) {
  const text = readFileSync(page, 'utf8');
  for (const part of parts) placeOf(page, text, part);
}

function placeOf(page, text, part) {
  const [start, end] = [`<!-- ${part} -->`, `<!-- /${part} -->`].map((mark) => text.indexOf(mark));
  if (start < 0 || end < start) throw new Error(`${page} has no place for ${part}`);
  return [text.indexOf('\n', start), end];
}
