/**
 * The files of a dump that is checked: which there are and how large, their entries one after the other, and where
 * findings about them go. Images stream by, so that one with a gigabyte of payload takes no more memory than a small one.
 */
import { readdirSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageIndex } from '../archive/image-index.js';
import { DumpError, isErrno, onFile } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { canonicalMessage } from '../image/canonical.js';
import { ImageDecoder, type ImageHandler, type RawMessage } from '../image/decoder.js';
import { typeOfName } from '../image/magic.js';
import { type MessageDescriptor, type MessageName, messageDescriptor } from '../image/message.js';
import { readObject } from '../image/object.js';
import { FilePool } from '../source/files.js';
import { type FindingCode, type FindingPlace, type Findings, findingOf, type Severity } from './findings.js';

const CHUNK_BYTES = 256 * 1024;

export class DumpFiles {
  /** Bytes of all regular files at the top of the dump, links to files included, by name in order. */
  readonly sizes: ReadonlyMap<string, number>;
  readonly files: FilePool;
  /** Images that could not be read: that was found once, and nothing more is asked of them. */
  private readonly damaged = new Set<string>();
  /** Missing images that were told of: several may name the same one. */
  private readonly missing = new Set<string>();

  /** Before the names of files in findings: `parent/` for a parent. */
  readonly prefix: string;
  /** Where the files are if not in a directory; closed by its owner. */
  readonly index: ImageIndex | undefined;

  /**
   * @param path of the directory, or of what there is an index of
   * @throws {DumpError} if the directory cannot be listed
   */
  constructor(
    readonly path: string,
    readonly findings: Findings,
    { prefix = '', index }: { prefix?: string; index?: ImageIndex | undefined } = {},
  ) {
    this.prefix = prefix;
    this.index = index;
    this.sizes = index ? listIndex(index) : listFiles(path);
    this.files = new FilePool(path, index ? { index } : {});
  }

  /** Closes all files; what is asked for afterwards is opened again. */
  close(): void {
    this.files.close();
  }

  has(name: string): boolean {
    return this.sizes.has(name);
  }

  /** Whether a file is there and has shown no damage so far. */
  isSound(name: string): boolean {
    return this.has(name) && !this.damaged.has(name);
  }

  error(code: FindingCode, file: string, message: string, place: FindingPlace = {}): void {
    this.findings.add({ code, severity: 'error', file: this.prefix + file, ...place, message });
  }

  warning(code: FindingCode, file: string, message: string, place: FindingPlace = {}): void {
    this.findings.add({ code, severity: 'warning', file: this.prefix + file, ...place, message });
  }

  /**
   * Asks for an image; that it is not there is told once.
   * @param by what names it
   */
  require(name: string, by?: string, severity: Severity = 'error'): void {
    if (this.has(name) || this.missing.has(name)) return;
    this.missing.add(name);
    const message = `expected this image${by === undefined ? '' : `, named by ${by}`}, found none`;
    this.findings.add({ code: 'MISSING_IMAGE', severity, file: this.prefix + name, message });
  }

  /**
   * Does something with a file; if the file does not allow that, it is a finding.
   * @returns whether all went well
   * @throws {DumpError} CHANGED if an archive is no longer what it was: no file of it means anything then
   */
  attempt(name: string, action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!(error instanceof DumpError) || (this.index && error.code === 'CHANGED')) throw error;
      this.damaged.add(name);
      this.findings.add(findingOf(error, this.prefix, name));
      return false;
    }
  }

  /** The whole of an image through a handler; false if it is not there, or damaged. */
  decode(name: string, handler: ImageHandler): boolean {
    if (!this.isSound(name)) return false;
    return this.attempt(name, () => {
      const decoder = new ImageDecoder(handler, { file: name, type: typeOfName(name) });
      this.stream(name, (bytes) => decoder.push(bytes));
      decoder.end();
    });
  }

  /** A file in pieces. Bytes are overwritten after the call. */
  stream(name: string, take: (bytes: Uint8Array) => void): void {
    const chunk = new Uint8Array(Math.min(CHUNK_BYTES, (this.sizes.get(name) ?? 0) + 1));
    for (let position = 0, count = 0; ; position += count) {
      count = this.files.readSome(name, chunk, position);
      if (count === 0) return;
      take(chunk.subarray(0, count));
    }
  }

  /**
   * All entries of one message type in an image, as they stand there.
   * @returns false if the image is not there, or damaged
   */
  raw(name: string, message: MessageName, take: (message: RawMessage, entry: number) => void): boolean {
    return this.decode(name, new EntryHandler(messageDescriptor(message), take));
  }

  /** The same as objects. */
  each<M extends MessageName>(name: string, message: M, take: (entry: Messages[M], index: number) => void): boolean {
    return this.raw(name, message, ({ descriptor, bytes, start, end }, index) => {
      const canonical = canonicalMessage(descriptor, bytes, start, end);
      take(readObject(descriptor, canonical.bytes, canonical.start, canonical.end) as unknown as Messages[M], index);
    });
  }

  /** The first entry of an image, which has but one. */
  first<M extends MessageName>(name: string, message: M): Messages[M] | undefined {
    let first: Messages[M] | undefined;
    const read = this.each(name, message, (entry) => {
      first ??= entry;
    });
    return read ? first : undefined;
  }
}

/** Hands on entries of one type, with their index. */
export class EntryHandler implements ImageHandler {
  private index = 0;

  constructor(
    private readonly descriptor: MessageDescriptor,
    private readonly take: (message: RawMessage, entry: number) => void,
  ) {}

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    const index = this.index++;
    if (descriptor === this.descriptor) this.take({ bytes, start, end, descriptor }, index);
  }

  image(): void {}
  message(): void {}
  payload(): void {}
  bytes(): void {}
  payloadEnd(): void {}
  end(): void {}
}

function listFiles(path: string): Map<string, number> {
  const sizes = new Map<string, number>();
  for (const name of onFile(path, () => readdirSync(path)).sort()) {
    const stats = statsOf(join(path, name));
    if (stats?.isFile()) sizes.set(name, stats.size);
  }
  return sizes;
}

/** Folders inside a dump are no business of a restore. */
const listIndex = (index: ImageIndex): Map<string, number> =>
  new Map(
    index.names
      .filter((name) => !name.includes('/'))
      .sort()
      .map((name) => [name, index.sizeOf(name)]),
  );

/** What a link leads to; undefined if it leads nowhere. */
function statsOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch (error) {
    if (isErrno(error)) return undefined;
    throw error;
  }
}
