/**
 * The pages that a filter takes out and that no lazy restore can fetch: those that are not lazy. They are counted, and the
 * dump gets a mark that says so, as a file before its end. A mark that comes in is held back and becomes part of it.
 */
import { ExtentReader, FILE_PIECE_BYTES } from '../dump/extents.js';
import { PARTIAL } from '../dump/names.js';
import { LostPages, MAX_PARTIAL_BYTES } from '../dump/partial.js';
import { PayloadCheck } from '../dump/payload-check.js';
import { type DumpRecord, type FileRecord, isPayload, type Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { isLazy, KIND_MASK, KIND_SHIFT } from '../memory/runs.js';
import { KINDS } from '../memory/vma.js';

/** The mark is private, because dumps are. */
const MODE = 0o600;

export class LossMarker {
  private readonly lost = new LostPages();
  private earlier: HeldMark | undefined;
  private isHolding = false;

  /** @param warn called once, at the end, if pages were lost */
  constructor(private readonly warn?: (message: string) => void) {}

  /** Takes a record of an earlier mark. Returns whether it was one, and must not go on. */
  holds(record: DumpRecord): boolean {
    if (!isPayload(record)) {
      this.isHolding = record.type === 'file' && record.name === PARTIAL && record.kind === 'regular';
      if (this.isHolding) this.earlier = new HeldMark(record as FileRecord);
    } else if (this.isHolding) {
      this.earlier?.add(record);
    }
    return this.isHolding;
  }

  /** Counts the pages of a run that is taken out. */
  taken(space: Space, bits: number, pages: number): void {
    if (isLazy(bits)) return;
    this.lost.add(space.pagemap, KINDS[(bits & KIND_MASK) >>> KIND_SHIFT] ?? 'unknown', pages);
  }

  /** The mark as records, if there is one. They come before the end. */
  *end(): Generator<DumpRecord> {
    const { lost, earlier } = this;
    if (lost.pages === 0) {
      if (earlier) yield* earlier.records();
      return;
    }
    this.warn?.(`${lost}`);
    const all = earlier ? LostPages.parse(earlier.bytes) : new LostPages();
    all.merge(lost);
    const bytes = all.bytes();
    yield { type: 'file', kind: 'regular', name: PARTIAL, mode: MODE, size: bytes.length, checked: false };
    yield { type: 'bytes', bytes };
  }
}

/** A mark that came in. Throws {@link DumpError} LIMIT for one that is too large to be held. */
class HeldMark {
  private readonly pieces: Uint8Array[] = [];
  private readonly check = new PayloadCheck();

  constructor(private readonly file: FileRecord) {
    if (file.size <= MAX_PARTIAL_BYTES) return;
    throw new DumpError('LIMIT', `expected at most ${MAX_PARTIAL_BYTES} bytes, found ${file.size}`, { file: PARTIAL });
  }

  get bytes(): Uint8Array {
    return Buffer.concat(this.pieces);
  }

  add(record: DumpRecord): void {
    if (record.type === 'check') this.check.end(record, PARTIAL);
    else if (record.type === 'bytes') this.push(record.bytes);
    else if (record.type === 'extents') {
      for (const bytes of new ExtentReader(FILE_PIECE_BYTES).read(record)) this.push(bytes);
    }
  }

  private push(bytes: Uint8Array): void {
    this.check.add(bytes);
    this.pieces.push(bytes.slice());
  }

  *records(): Generator<DumpRecord> {
    const { bytes } = this;
    yield { ...this.file, checked: false };
    if (bytes.length > 0) yield { type: 'bytes', bytes };
  }
}
