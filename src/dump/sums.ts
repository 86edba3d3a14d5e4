/**
 * Sums of the blocks of a dump, in a file of the dump: what a disk, a network or an object store gave in the place of a block
 * is then noticed before anybody uses it.
 *
 *     {"version": 1, "algorithm": "sha256", "blockBytes": 1048576, "files": [
 *       {"name": "core-1.img", "bytes": 1234, "sums": BASE64},          sums of all blocks, one after the other
 *       ...]}
 *
 * Every regular file of the dump is in it, by name. The last block of a file may be shorter. SHA-256 is in node:crypto, and
 * processors have instructions for it.
 */
import { createHash, type Hash } from 'node:crypto';
import { DumpError } from '../errors.js';
import { checkFileName, isSumsName, SUMS, SUMS_MARK } from './names.js';
import type { FileRecord } from './records.js';

const VERSION = 1;
const ALGORITHM = 'sha256';
const SUM_BYTES = 32;

/** Of one sum, in bytes. */
export const SUM_BLOCK_BYTES = 2 ** 20;

/** Enough for a dump of 1.5 TiB. It is read whole. */
export const MAX_SUMS_BYTES = 2 ** 26;

/** The sums of a file. */
export interface FileSums {
  /** Of the file. */
  readonly bytes: number;
  /** One after the other. */
  readonly sums: Uint8Array;
}

/** The sums are private, as the dump is. */
export const SUMS_MODE = 0o600;

/** Asks a sink for sums of all that it writes. It comes before all files, and has no bytes, so that it gets through a pipe, too. */
export const sumsMark = (): FileRecord => ({
  type: 'file',
  kind: 'regular',
  name: SUMS_MARK,
  mode: SUMS_MODE,
  size: 0,
  checked: false,
});

export const blocksOf = (bytes: number): number => Math.ceil(bytes / SUM_BLOCK_BYTES);

/** A sum in the list of a file. */
const sumAt = ({ sums }: FileSums, block: number): Uint8Array =>
  sums.subarray(block * SUM_BYTES, (block + 1) * SUM_BYTES);

/**
 * Throws {@link DumpError} WRONG_SUM for a block that is not what it was.
 * @param found its bytes
 */
export function checkBlock(name: string, sums: FileSums, block: number, found: Uint8Array): void {
  const sum = createHash(ALGORITHM).update(found).digest();
  if (Buffer.compare(sum, sumAt(sums, block)) !== 0) throw wrongBlock(name, sums, block, sum);
}

function wrongBlock(file: string, sums: FileSums, block: number, found: Uint8Array): DumpError {
  const hex = (sum: Uint8Array) => Buffer.from(sum).toString('hex');
  const what = `expected a block with the SHA-256 ${hex(sumAt(sums, block))}, found ${hex(found)}`;
  return new DumpError('WRONG_SUM', what, {
    file,
    offset: block * SUM_BLOCK_BYTES,
    hint: `it is not what ${SUMS} was made of: read it again or from elsewhere; if it was changed on purpose, remove ${SUMS}`,
  });
}

/** Throws {@link DumpError} WRONG_SUM if the first list differs from the second. */
export function compareSums(name: string, expected: FileSums, found: FileSums): void {
  if (expected.bytes !== found.bytes) throw wrongSize(name, expected, found.bytes);
  if (Buffer.compare(expected.sums, found.sums) === 0) return;
  for (let block = 0; ; block++) {
    if (Buffer.compare(sumAt(expected, block), sumAt(found, block)) === 0) continue;
    throw wrongBlock(name, expected, block, sumAt(found, block));
  }
}

export const wrongSize = (file: string, { bytes }: FileSums, found: number): DumpError =>
  new DumpError('WRONG_SUM', `expected ${bytes} bytes by ${SUMS}, found ${found}`, { file });

export const noSuchFile = (file: string): DumpError =>
  new DumpError('WRONG_SUM', `expected this file, named by ${SUMS}, found none`, { file });

export const notSummed = (file: string): DumpError =>
  new DumpError('WRONG_SUM', `expected the sums of this image in ${SUMS}, found none`, {
    file,
    hint: `if it was added on purpose, remove ${SUMS}`,
  });

/** Makes the sums of a file whose bytes come in order. */
export class BlockSums {
  bytes = 0;
  private list = new Uint8Array(SUM_BYTES);
  private hash: Hash | undefined;

  add(bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + SUM_BLOCK_BYTES - (this.bytes % SUM_BLOCK_BYTES));
      this.hash ??= createHash(ALGORITHM);
      this.hash.update(piece);
      at += piece.length;
      this.bytes += piece.length;
      if (this.bytes % SUM_BLOCK_BYTES === 0) this.endBlock();
    }
  }

  /** After the last bytes. */
  end(): FileSums {
    this.endBlock();
    return { bytes: this.bytes, sums: this.list.subarray(0, blocksOf(this.bytes) * SUM_BYTES) };
  }

  private endBlock(): void {
    if (!this.hash) return;
    const end = blocksOf(this.bytes) * SUM_BYTES;
    if (end > this.list.length) {
      const longer = new Uint8Array(2 * end);
      longer.set(this.list);
      this.list = longer;
    }
    this.list.set(this.hash.digest(), end - SUM_BYTES);
    this.hash = undefined;
  }
}

/** Makes the sums of the files of a dump. */
export class SumsMaker {
  private readonly files = new Map<string, BlockSums>();

  /** Those of a file, which is begun by that. */
  of(name: string): BlockSums {
    const known = this.files.get(name);
    if (known) return known;
    const made = new BlockSums();
    this.files.set(name, made);
    return made;
  }

  /** The file of the sums. */
  end(): Uint8Array {
    return encodeSums([...this.files].map(([name, sums]) => [name, sums.end()]));
  }
}

/** The file of sums. Its order is that of the names, so the same files have the same one. */
export function encodeSums(files: readonly (readonly [name: string, sums: FileSums])[]): Uint8Array {
  const sorted = files.toSorted(([a], [b]) => (a < b ? -1 : 1));
  const lines = sorted.map(([name, { bytes, sums }]) =>
    JSON.stringify({ name, bytes, sums: Buffer.from(sums).toString('base64') }),
  );
  const head = JSON.stringify({ version: VERSION, algorithm: ALGORITHM, blockBytes: SUM_BLOCK_BYTES });
  const bytes = Buffer.from(`${head.slice(0, -1)},"files":[\n${lines.join(',\n')}\n]}\n`);
  checkSumsSize(bytes.length);
  return bytes;
}

/** Throws {@link DumpError} LIMIT. */
export function checkSumsSize(bytes: number): void {
  if (bytes <= MAX_SUMS_BYTES) return;
  throw new DumpError('LIMIT', `expected at most ${MAX_SUMS_BYTES} bytes, found ${bytes}`, { file: SUMS });
}

/** The sums by name. Throws {@link DumpError} MALFORMED, UNSUPPORTED, BAD_NAME. */
export function decodeSums(bytes: Uint8Array): Map<string, FileSums> {
  const { version, algorithm, blockBytes, files } = objectOf(parse(bytes));
  for (const [what, expected, found] of [
    ['version', VERSION, version],
    ['algorithm', ALGORITHM, algorithm],
    ['blockBytes', SUM_BLOCK_BYTES, blockBytes],
  ] as const) {
    if (found === expected) continue;
    throw new DumpError('UNSUPPORTED', `expected ${what} ${expected}, found ${JSON.stringify(found)?.slice(0, 80)}`, {
      file: SUMS,
    });
  }
  if (!Array.isArray(files)) throw malformed('it has no list of files');
  const sums = new Map<string, FileSums>();
  for (const file of files) {
    const { name, bytes, sums: text } = objectOf(file);
    if (typeof name !== 'string') throw malformed('a file has no name');
    checkFileName(name, SUMS);
    if (isSumsName(name) || sums.has(name)) throw malformed(`${JSON.stringify(name)} does not belong there`);
    sums.set(name, fileSums(name, bytes, text));
  }
  return sums;
}

function fileSums(name: string, bytes: unknown, text: unknown): FileSums {
  if (!Number.isSafeInteger(bytes) || (bytes as number) < 0) throw malformed(`${name} has no size`);
  const sums = Buffer.from(typeof text === 'string' ? text : '', 'base64');
  const expected = blocksOf(bytes as number) * SUM_BYTES;
  if (sums.length !== expected) {
    throw malformed(`expected ${expected} bytes of sums for ${name}, found ${sums.length}`);
  }
  return { bytes: bytes as number, sums };
}

function parse(bytes: Uint8Array): unknown {
  try {
    return JSON.parse(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString());
  } catch (cause) {
    throw malformed('it is no JSON', cause);
  }
}

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw malformed('an object is missing');
  return value as Record<string, unknown>;
}

const malformed = (what: string, cause?: unknown): DumpError =>
  new DumpError('MALFORMED', `not the sums of a dump: ${what}`, { file: SUMS, cause });
