/** Lines of text in columns. */

/** Longer cells do not widen the column that they are in. */
const MAX_WIDTH = 60;

/** @param options right: indices of the columns that are aligned to the right */
export function columns(
  rows: readonly (readonly string[])[],
  { right = [] }: { right?: readonly number[] } = {},
): string {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [i, cell] of row.entries()) {
      if (cell.length <= MAX_WIDTH) widths[i] = Math.max(widths[i] ?? 0, cell.length);
    }
  }
  const fill = (cell: string, i: number) => {
    const width = widths[i] ?? 0;
    return right.includes(i) ? cell.padStart(width) : cell.padEnd(width);
  };
  return rows.map((row) => `${row.map(fill).join('  ').trimEnd()}\n`).join('');
}

export const indented = (text: string): string => text.replace(/^(?=.)/gm, '  ');
