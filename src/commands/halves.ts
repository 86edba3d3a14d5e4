/** Where the halves of a dump are: what split and merge must know of places. */
import { existsSync, realpathSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';

/**
 * Whether two places have nothing in common: neither is the other, nor lies in it.
 * @param a and b: names of files or directories, that need not be there; several shards with commas
 */
export function areApart(a: string, b: string): boolean {
  const [some, others] = [a, b].map((names) => names.split(',').map(realPlace)) as [string[], string[]];
  return !some.some((one) => others.some((other) => isIn(one, other) || isIn(other, one)));
}

const isIn = (place: string, folder: string): boolean => place === folder || place.startsWith(`${folder}/`);

/** The place behind links, as far as there is one. */
function realPlace(name: string): string {
  const place = resolve(name);
  if (existsSync(place)) return realpathSync(place);
  const folder = dirname(place);
  return existsSync(folder) ? join(realpathSync(folder), basename(place)) : place;
}
