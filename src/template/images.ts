/**
 * The images that a template changes, held until its end: the areas of each task, and the files that areas and descriptors
 * refer to. What they say decides which areas are mapped.
 */
import { ExtentReader, FILE_PIECE_BYTES } from '../dump/extents.js';
import { PayloadCheck } from '../dump/payload-check.js';
import type { DumpRecord, FileRecord, PayloadRecord } from '../dump/records.js';
import { DumpError } from '../errors.js';
import type { file_entry, reg_file_entry } from '../generated/entries.js';
import { malformed, rawEntries } from '../image/framing.js';
import { NumberFields } from '../image/number-fields.js';
import { messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import { MAX_HELD_BYTES } from './rewrite.js';

export const FILES_IMAGE = 'files.img';
const MM_NAME = /^mm-\d+\.img$/;
export const isMmName = (name: string): boolean => MM_NAME.test(name);

/** A regular file of the dump. */
export interface KnownFile {
  name: string;
  /** Bytes; undefined where the dump does not say. */
  size: number | undefined;
  /** Of a program or library, in hex. */
  buildId: string | undefined;
}

/** An image that passed, with the record that it came with. */
interface Held {
  record: FileRecord;
  bytes: Uint8Array;
}

export class HeldImages {
  private readonly images = new Map<string, Held>();
  private current: { record: FileRecord; bytes: Uint8Array; at: number } | undefined;
  private readonly check = new PayloadCheck();
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private held = 0;
  private known: Map<number, KnownFile> | undefined;

  /** Whether a record is held: an image that changes, or payload of one. */
  take(record: DumpRecord): boolean {
    if (record.type === 'file') {
      this.current = undefined;
      if (record.kind !== 'regular' || record.outside || !(record.name === FILES_IMAGE || isMmName(record.name))) {
        return false;
      }
      this.begin(record);
      return true;
    }
    const { current } = this;
    if (!current) return false;
    if (record.type === 'check') this.check.end(record, current.record.name);
    else if (record.type === 'bytes' || record.type === 'extents') this.add(current, record);
    else {
      this.current = undefined;
      return false;
    }
    return true;
  }

  /** The mm image of a task; undefined if it has none. */
  mm(pid: number): Uint8Array | undefined {
    return this.images.get(`mm-${pid}.img`)?.bytes;
  }

  /** The mm_entry of a task, for the time of the call; undefined if it has none. */
  mmEntry(pid: number): { bytes: Uint8Array; start: number; end: number } | undefined {
    const image = this.mm(pid);
    const [entry] = image ? rawEntries(image, 'MM', `mm-${pid}.img`) : [];
    return entry && { bytes: entry.body, start: 0, end: entry.body.length };
  }

  /** `files.img`. Throws {@link DumpError} MISSING_IMAGE: older dumps have an image for each type of file. */
  get files(): Uint8Array {
    const held = this.images.get(FILES_IMAGE);
    if (held) return held.bytes;
    throw new DumpError('MISSING_IMAGE', 'expected this image, found none', {
      file: FILES_IMAGE,
      hint: 'this needs a dump of CRIU 3.0 or later, whose images come before its pages',
    });
  }

  /** The regular files by id. */
  get regular(): ReadonlyMap<number, KnownFile> {
    this.known ??= regularFiles(this.files);
    return this.known;
  }

  /** Ids of files that nothing has: as many as asked for. */
  freeIds(count: number): number[] {
    const used = new Set<number>();
    const entry = new NumberFields('file_entry', ['id']);
    for (const { body, offset, entry: index } of rawEntries(this.files, 'FILES', FILES_IMAGE)) {
      try {
        entry.read({ bytes: body, start: 0, end: body.length });
      } catch (cause) {
        throw malformed('file_entry', cause, FILES_IMAGE, offset, index);
      }
      used.add(entry.fields.id.lo);
    }
    const ids: number[] = [];
    for (let id = 1; ids.length < count; id++) if (!used.has(id)) ids.push(id);
    return ids;
  }

  /** The images as records again, changed or not. */
  *records(change: (name: string, bytes: Uint8Array) => Uint8Array): Generator<DumpRecord> {
    for (const [name, { record, bytes }] of this.images) {
      const changed = change(name, bytes);
      yield { ...record, size: changed.length, checked: false };
      if (changed.length > 0) yield { type: 'bytes', bytes: changed };
    }
  }

  private begin(record: FileRecord): void {
    this.held += record.size;
    if (this.held > MAX_HELD_BYTES) {
      throw new DumpError('LIMIT', `expected at most ${MAX_HELD_BYTES} bytes of areas and files, found ${this.held}`, {
        file: record.name,
      });
    }
    const bytes = new Uint8Array(record.size);
    this.current = { record, bytes, at: 0 };
    this.images.set(record.name, { record, bytes });
    this.check.start();
  }

  private add(current: { bytes: Uint8Array; at: number }, record: PayloadRecord): void {
    for (const bytes of record.type === 'bytes' ? [record.bytes] : this.extents.read(record)) {
      this.check.add(bytes);
      current.bytes.set(bytes, current.at);
      current.at += bytes.length;
    }
  }
}

/** The regular files of `files.img` by id. */
export function regularFiles(image: Uint8Array): Map<number, KnownFile> {
  const files = new Map<number, KnownFile>();
  const descriptor = messageDescriptor('file_entry');
  for (const { body, offset, entry } of rawEntries(image, 'FILES', FILES_IMAGE)) {
    try {
      const { id, reg } = readAnyObject(descriptor, body, 0, body.length) as unknown as file_entry;
      if (reg) files.set(id, knownFile(reg));
    } catch (cause) {
      throw malformed('file_entry', cause, FILES_IMAGE, offset, entry);
    }
  }
  return files;
}

const knownFile = ({ name, size, build_id: words = [] }: reg_file_entry): KnownFile => ({
  name,
  size: size === undefined ? undefined : Number(size),
  buildId: words.length === 0 ? undefined : words.map(littleEndianHex).join(''),
});

function littleEndianHex(word: number): string {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(word);
  return bytes.toString('hex');
}
