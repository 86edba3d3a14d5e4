/**
 * Names for what is being made. They need not be secret, because what has such a name is only ever created, never opened.
 * So the random part is not one of node:crypto, which takes longer to load than a short command should take.
 */
import { basename, dirname, join } from 'node:path';

/** A part of a name that is not in use. */
export const uniquePart = (): string =>
  `${process.pid}-${Math.floor(Math.random() * 2 ** 32)
    .toString(16)
    .padStart(8, '0')}`;

/** A hidden name next to a place. */
export const temporaryName = (place: string): string =>
  join(dirname(place), `.${basename(place)}.pagepipe-${uniquePart()}`);
