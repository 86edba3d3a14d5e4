/**
 * The sums of a dump that arrives. In an archive they come last, so nothing can be compared before everything has passed: what
 * is found wrong then is an error at the end, which discards the output. The mark in front says that sums will come. Without
 * it only small files are summed, until sums have come: of an archive by `tar` of a directory, the order of names is enough.
 */
import { concatBytes } from '../bytes.js';
import type { FileEvent } from '../dump/events.js';
import { isImageName, isPagesName, isSumsName, OUTSIDE, SUMS } from '../dump/names.js';
import { sumsMissing } from '../dump/summed-files.js';
import {
  BlockSums,
  blocksOf,
  checkSumsSize,
  compareSums,
  decodeSums,
  encodeSums,
  type FileSums,
  noSuchFile,
  notSummed,
} from '../dump/sums.js';
import { DumpError } from '../errors.js';

/** Of a file that is summed though nobody may ask for it. */
const MAX_UNASKED_BYTES = 16 * 2 ** 20;

export class ArrivingSums {
  /** Whether all files are summed from here on. */
  private isAsked = false;
  private isMarked = false;
  /** Whether sums are to be made, even if none come. */
  private isWanted = false;
  /** Whether a file of the dump has come. */
  private hasBegun = false;
  private readonly open = new Map<string, BlockSums>();
  /** Null for a file that was not summed. */
  private readonly files = new Map<string, FileSums | null>();
  private hasSums = false;
  private pieces: Uint8Array[] = [];
  private sumsBytes = 0;
  private expected: ReadonlyMap<string, FileSums> | undefined;

  /** Sums all files that come. */
  makeAll(): void {
    this.isAsked = true;
    this.isWanted = true;
  }

  /** Whether the dump has sums, and this was known before its first file. */
  get comeFirst(): boolean {
    return this.isAsked && !this.hasBegun;
  }

  /** Blocks with sums, once they have come. */
  get blocks(): number | undefined {
    return this.expected && [...this.expected.values()].reduce((sum, { bytes }) => sum + blocksOf(bytes), 0);
  }

  /**
   * Takes the next event.
   * @returns whether it is of a file of the dump, and not of its sums
   * @throws {DumpError} WRONG_SUM, MALFORMED, LIMIT
   */
  take(event: FileEvent): boolean {
    const { name } = event;
    if (isSumsName(name)) {
      if (name === SUMS) this.takeSums(event);
      else if (event.type === 'file') this.isMarked = this.isAsked = true;
      return false;
    }
    if (event.type === 'file') {
      if (event.kind === 'regular' && !name.startsWith(OUTSIDE)) this.begin(name);
    } else if (event.type === 'data') {
      this.data(event);
    } else {
      this.end(name);
    }
    return true;
  }

  /**
   * Called after the last event.
   * @param warn told of files that came before it was known that the dump has sums
   * @throws {DumpError} WRONG_SUM
   */
  finish(warn: (message: string) => void = () => {}): void {
    const { expected } = this;
    if (!expected) {
      if (this.isMarked) throw sumsMissing();
      return;
    }
    for (const name of expected.keys()) if (!this.files.has(name)) throw noSuchFile(name);
    for (const [name, sums] of this.files) {
      if (!expected.has(name) && isImageName(name)) throw notSummed(name);
      if (!sums && expected.has(name)) warn(`${name}: not compared with ${SUMS}, which came after it in the archive`);
    }
  }

  /** The sums of all files that came but some, if all are known and they are wanted. */
  made(except: ReadonlySet<string>): Uint8Array | undefined {
    if (!this.expected && !this.isWanted) return undefined;
    const files: [string, FileSums][] = [];
    for (const [name, sums] of this.files) {
      if (!sums) return undefined;
      if (!except.has(name)) files.push([name, sums]);
    }
    return encodeSums(files);
  }

  private begin(name: string): void {
    this.hasBegun = true;
    if (this.isAsked || !isPagesName(name)) this.open.set(name, new BlockSums());
    else this.files.set(name, null);
  }

  private data({ name, bytes, waiting }: FileEvent & { type: 'data' }): void {
    const sums = this.open.get(name);
    if (!sums) return;
    sums.add(bytes);
    if (this.isWanted) return;
    if (!waiting && (this.isAsked || sums.bytes <= MAX_UNASKED_BYTES)) return;
    this.open.delete(name);
    this.files.set(name, null);
  }

  private end(name: string): void {
    const sums = this.open.get(name)?.end();
    this.open.delete(name);
    if (!sums) return;
    this.files.set(name, sums);
    this.compare(name, sums);
  }

  private compare(name: string, sums: FileSums | null): void {
    const expected = this.expected?.get(name);
    if (expected && sums) compareSums(name, expected, sums);
  }

  private takeSums(event: FileEvent): void {
    if (event.type === 'file') {
      if (this.hasSums) throw new DumpError('BAD_NAME', 'the name occurs twice', { file: SUMS });
      this.hasSums = true;
      checkSumsSize(event.size ?? 0);
    } else if (event.type === 'data') {
      this.sumsBytes += event.bytes.length;
      checkSumsSize(this.sumsBytes);
      this.pieces.push(event.bytes.slice());
    } else {
      this.expected = decodeSums(concatBytes(this.pieces));
      this.pieces = [];
      this.isAsked = true;
      for (const [name, sums] of this.files) this.compare(name, sums);
    }
  }
}
