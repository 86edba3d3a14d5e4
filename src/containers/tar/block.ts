/** Blocks of a tar archive: their fields, numbers, texts and checksum. */

/** Bytes. */
export const BLOCK = 512;

/** Where a field is in a header: offset and length in bytes. */
export type Field = readonly [at: number, length: number];

export const FIELD = {
  NAME: [0, 100],
  MODE: [100, 8],
  UID: [108, 8],
  GID: [116, 8],
  SIZE: [124, 12],
  MTIME: [136, 12],
  CHECKSUM: [148, 8],
  TYPE: [156, 1],
  LINK: [157, 100],
  MAGIC: [257, 8],
  PREFIX: [345, 155],
} as const satisfies Record<string, Field>;

/** The type of a header, one letter. */
export const typeOf = (header: Uint8Array, at = 0): string => String.fromCharCode(header[at + FIELD.TYPE[0]] as number);

export const isUstar = (block: Uint8Array): boolean => text(block.subarray(257, 263)) === 'ustar';

/** Bytes up to the first zero. */
export const string = (block: Uint8Array, [at, length]: Field): string => text(block.subarray(at, at + length));

export function text(bytes: Uint8Array): string {
  const end = bytes.indexOf(0);
  return Buffer.from(end < 0 ? bytes : bytes.subarray(0, end)).toString('utf8');
}

/** An octal number, or GNU's base-256; NaN if it is neither. */
export function number(block: Uint8Array, [at, length]: Field): number {
  if (((block[at] as number) & 0x80) !== 0) {
    let value = (block[at] as number) & 0x7f;
    for (let i = 1; i < length; i++) value = value * 256 + (block[at + i] as number);
    return value;
  }
  const digits = string(block, [at, length]).trim();
  return digits === '' ? 0 : /^[0-7]+$/.test(digits) ? Number.parseInt(digits, 8) : Number.NaN;
}

export const isZero = (block: Uint8Array): boolean => block.every((byte) => byte === 0);

/** Bytes that data takes with its padding. */
export const paddedBytes = (bytes: number): number => Math.ceil(bytes / BLOCK) * BLOCK;

/** The sum of all bytes, with the checksum itself taken for spaces. */
export function checksum(block: Uint8Array): number {
  const [start, length] = FIELD.CHECKSUM;
  let sum = 0x20 * length;
  for (let i = 0; i < start; i++) sum += block[i] as number;
  for (let i = start + length; i < BLOCK; i++) sum += block[i] as number;
  return sum;
}

/** Whether the first block of a file is a header of tar. */
export const isTarHeader = (block: Uint8Array): boolean =>
  block.length >= BLOCK && !isZero(block) && number(block, FIELD.CHECKSUM) === checksum(block);
