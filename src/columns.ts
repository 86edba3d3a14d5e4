/** Columns of numbers: typed arrays of one length, in which a table is kept without an object for each row. */

export type NumberColumn = Float64Array | Uint32Array;

const newColumn = <T extends NumberColumn>(like: T, length: number): T =>
  new (like.constructor as new (length: number) => T)(length);

/** A copy of a full column with room for as many numbers again. */
export function widen<T extends NumberColumn>(column: T): T {
  const wider = newColumn(column, Math.max(1, 2 * column.length));
  wider.set(column);
  return wider;
}

/** Joins columns of one kind. */
export function concatColumns<T extends NumberColumn>(first: T, ...others: T[]): T {
  const parts = [first, ...others];
  const joined = newColumn(
    first,
    parts.reduce((sum, part) => sum + part.length, 0),
  );
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/**
 * Binary search among `length` rows, of which those that `isBefore` accepts come first.
 * @returns index of the first row that is not before; `length` if all are
 */
export function lowerBound(length: number, isBefore: (index: number) => boolean): number {
  let low = 0;
  let high = length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if (isBefore(middle)) low = middle + 1;
    else high = middle;
  }
  return low;
}
