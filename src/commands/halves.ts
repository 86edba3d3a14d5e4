/** Whether the places of two halves overlap. Needed by split and merge. */
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/**
 * Whether two places do not overlap: neither is the other or is inside it.
 * @param a and b: names of files or directories, which need not exist; several shards are separated by commas
 */
export function areApart(a: string, b: string): boolean {
  const [some, others] = [a, b].map((names) => names.split(',').map(realPlace)) as [string[], string[]];
  return !some.some((one) => others.some((other) => isIn(one, other) || isIn(other, one)));
}

const isIn = (place: string, folder: string): boolean => place === folder || place.startsWith(`${folder}/`);

/** The place without links, as far as it exists. */
function realPlace(name: string): string {
  const place = resolve(name);
  if (existsSync(place)) return realpathSync(place);
  const folder = dirname(place);
  return existsSync(folder) ? join(realpathSync(folder), basename(place)) : place;
}
