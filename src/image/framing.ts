/**
 * Small images as a whole: magic, then entries.
 *
 * image := magic(s), entry*
 * entry := size:u32le, message[size]
 *
 * Only for images that hold metadata of one process or of the whole dump, without extra payloads; pagemaps
 * may be huge and have a decoder of their own.
 */
import { DumpError } from '../errors.js';
import { withArticle } from '../protobuf/builder.js';
import { firstMagic, headerBytes, type ImageType, MAGIC, typeOfMagic } from './magic.js';

/**
 * The largest entries are areas of a process, of some 50 bytes each: a million fit, and Linux allows 65,530 unless it is told
 * otherwise. An entry is held as a whole, more than once where it is decoded, so the limit is one of memory too.
 */
export const MAX_ENTRY_BYTES = 64 * 1024 * 1024;

export const hex32 = (value: number): string => `0x${value.toString(16).padStart(8, '0')}`;

/** How many bytes of magic an image has whose first four bytes are there: version 1 of images has the type's magic alone. */
export const magicBytes = (bytes: Uint8Array, type: ImageType): number =>
  bytes.length >= 4 && firstWord(bytes) === MAGIC[type] ? 4 : headerBytes(type);

const firstWord = (bytes: Uint8Array): number =>
  (((bytes[3] as number) << 24) | ((bytes[2] as number) << 16) | ((bytes[1] as number) << 8) | (bytes[0] as number)) >>>
  0;

/**
 * Throws unless `bytes` begins with the magic of `type`.
 * @returns its size in bytes
 */
export function checkMagic(bytes: Uint8Array, type: ImageType, file: string): number {
  const size = magicBytes(bytes, type);
  if (bytes.byteLength < size) {
    throw new DumpError('TRUNCATED', `expected ${size} bytes of magic (${type}), found ${bytes.byteLength}`, {
      file,
      offset: bytes.byteLength,
    });
  }
  if (size === 4 && firstWord(bytes) === MAGIC[type]) return size;
  if (firstWord(bytes) !== firstMagic(type)) throw wrongMagic(file, 0, firstWord(bytes), firstMagic(type), type);
  const found = firstWord(bytes.subarray(4));
  if (found !== MAGIC[type]) throw wrongMagic(file, 4, found, MAGIC[type], type);
  return size;
}

export function wrongMagic(file: string, offset: number, found: number, expected: number, type: ImageType): DumpError {
  const actual = typeOfMagic(found);
  return new DumpError(
    'WRONG_MAGIC',
    `expected ${type} magic ${hex32(expected)}, found ${hex32(found)}${actual ? ` (${actual})` : ''}`,
    { file, offset },
  );
}

/** Checks an entry's size before anything is read or allocated for it. */
export function checkEntrySize(size: number, limit: number, file: string, offset: number, entry?: number): void {
  if (size <= limit) return;
  throw new DumpError('LIMIT', `expected an entry of at most ${limit} bytes, found a length of ${size}`, {
    file,
    offset,
    ...(entry === undefined ? {} : { entry }),
  });
}

/** One entry of an image: its message, and its position. */
interface RawEntry {
  body: Uint8Array;
  /** Of the message, in bytes from the start of the file. */
  offset: number;
  entry: number;
}

/** The entries of an image that is in memory as a whole. */
export function* rawEntries(bytes: Uint8Array, type: ImageType, file: string): Generator<RawEntry> {
  let offset = checkMagic(bytes, type, file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (let entry = 0; offset < bytes.byteLength; entry++) {
    const left = bytes.byteLength - offset;
    if (left < 4) throw truncated(file, offset, entry, 4, left);
    const size = view.getUint32(offset, true);
    checkEntrySize(size, MAX_ENTRY_BYTES, file, offset, entry);
    if (left - 4 < size) throw truncated(file, offset, entry, size + 4, left);
    yield { body: bytes.subarray(offset + 4, offset + 4 + size), offset: offset + 4, entry };
    offset += 4 + size;
  }
}

/** The error for an entry that the end of the file cuts off. */
export function truncated(
  file: string,
  offset: number,
  entry: number | undefined,
  expected: number,
  found: number,
): DumpError {
  return new DumpError('TRUNCATED', `expected an entry of ${expected} bytes with its size, found ${found}`, {
    file,
    offset,
    ...(entry === undefined ? {} : { entry }),
  });
}

/** The error for a message that cannot be read. */
export function malformed(message: string, cause: unknown, file: string, offset: number, entry?: number): DumpError {
  return new DumpError(
    'MALFORMED',
    `expected ${withArticle(message)}, found something else: ${(cause as Error).message}`,
    {
      file,
      offset,
      ...(entry === undefined ? {} : { entry }),
      cause,
    },
  );
}
