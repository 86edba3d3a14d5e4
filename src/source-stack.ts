/** Where the code of the command comes from: it runs as one file, and an error of it is to be read in the lines of src/. */
import { readFileSync } from 'node:fs';
import { SourceMap } from 'node:module';

/** A stack with the places of a bundle in dist/ as those of the sources, if its map is there. */
export function sourceStack(stack: string): string {
  const file = /(?<=\(|at )(\/.*\/dist\/[a-z]+\.cjs):\d+:\d+/.exec(stack)?.[1];
  const map = file && readMap(`${file}.map`);
  if (!map) return stack;
  return stack.replace(/(?<=\(|at )\/.*\/dist\/[a-z]+\.cjs:(\d+):(\d+)/g, (place, line, column) => {
    const entry = map.findEntry(Number(line) - 1, Number(column) - 1);
    if (!('originalSource' in entry)) return place;
    return `${entry.originalSource.replace(/^(\.\.\/)+/, '')}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  });
}

function readMap(path: string): SourceMap | undefined {
  try {
    return new SourceMap(JSON.parse(readFileSync(path, 'utf8')));
  } catch {
    return; // The stack is reported as it is.
  }
}
