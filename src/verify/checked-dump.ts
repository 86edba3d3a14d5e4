/** A dump that is being checked: its files with their sizes, their entries, and the place for findings. */
import { type DumpFiles, pieces } from '../dump/files.js';
import { Images, type TakeMessage } from '../dump/images.js';
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import type { ImageHandler } from '../image/decoder.js';
import type { MessageName } from '../protobuf/descriptor.js';
import { type FindingCode, type FindingPlace, type Findings, findingOf, type Severity } from './findings.js';

const PIECE_BYTES = 256 * 1024;

export class CheckedDump {
  /** Bytes of all regular files at the top of the dump, links to files included, by name in order. */
  readonly sizes: ReadonlyMap<string, number>;
  private readonly images: Images;
  /** Images that could not be read. That is reported once, and they are not read again. */
  private readonly damaged = new Set<string>();
  /** Missing images that were reported: several others may name the same one. */
  private readonly missing = new Set<string>();

  /** Whether a file was changed meanwhile. */
  hasChanged = false;

  /** Before the names of files in findings: `parent/` for a parent. */
  readonly prefix: string;
  /**
   * @param files closed by their owner
   * @throws {DumpError} if the files cannot be listed
   */
  constructor(
    readonly files: DumpFiles,
    readonly findings: Findings,
    prefix = '',
  ) {
    this.prefix = prefix;
    this.images = new Images(files);
    this.sizes = sizesOf(files);
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
   * Requires an image. A missing one is reported once.
   * @param by the image that names it
   */
  require(name: string, by?: string, severity: Severity = 'error'): void {
    if (this.has(name) || this.missing.has(name)) return;
    this.missing.add(name);
    const message = `expected this image${by === undefined ? '' : `, named by ${by}`}, found none`;
    this.findings.add({ code: 'MISSING_IMAGE', severity, file: this.prefix + name, message });
  }

  /**
   * Does something with a file. A failure becomes a finding.
   * @returns whether it succeeded
   * @throws {DumpError} CHANGED if an archive or an object was changed: then none of its files can be trusted; and what may pass, because it
   *   says nothing about the dump
   */
  attempt(name: string, action: () => void, severity: Severity = 'error'): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      if (error.code !== 'CHANGED' ? error.temporary : this.files.kind === 'tar' || this.files.kind === 's3')
        throw error;
      this.hasChanged ||= error.code === 'CHANGED';
      this.damaged.add(name);
      this.findings.add({ ...findingOf(error, this.prefix, name), severity });
      return false;
    }
  }

  /**
   * Passes a whole image to a handler. Returns false if it is missing or damaged.
   * @param severity of damage
   */
  decode(name: string, handler: ImageHandler, severity: Severity = 'error'): boolean {
    if (!this.isSound(name)) return false;
    return this.attempt(name, () => this.images.decode(name, handler), severity);
  }

  /** A file in pieces. Bytes are overwritten after the call. */
  stream(name: string, take: (bytes: Uint8Array) => void): void {
    for (const piece of pieces(this.files, name, PIECE_BYTES)) take(piece);
  }

  /**
   * All entries of an image as bytes.
   * @returns false if the image is not there, or damaged
   */
  raw(name: string, take: TakeMessage): boolean {
    return this.isSound(name) && this.attempt(name, () => this.images.messages(name, take));
  }

  /** All entries of one type in an image; false as for {@link raw}. */
  each<M extends MessageName>(name: string, message: M, take: (entry: Messages[M], index: number) => void): boolean {
    return this.isSound(name) && this.attempt(name, () => this.images.each(name, message, take));
  }

  /** The first entry of an image that has only one. */
  first<M extends MessageName>(name: string, message: M): Messages[M] | undefined {
    let first: Messages[M] | undefined;
    const read = this.each(name, message, (entry) => {
      first ??= entry;
    });
    return read ? first : undefined;
  }
}

/** A restore ignores folders inside a dump. */
function sizesOf(files: DumpFiles): Map<string, number> {
  const sizes = new Map<string, number>();
  const entries = files.entries().filter(({ name }) => !name.includes('/'));
  for (const { name, kind, size } of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const stat = kind === 'regular' ? { size } : files.stat(name);
    if (stat) sizes.set(name, stat.size);
  }
  return sizes;
}
