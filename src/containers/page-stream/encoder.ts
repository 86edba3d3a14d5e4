/** Records to page stream: synchronous, no I/O; {@link PageStreamEncoder} hands out the bytes in order. */
import type { Emit } from '../../bytes.js';
import { crc32 } from '../../crc.js';
import { PayloadCheck } from '../../dump/payload-check.js';
import type { CheckRecord, DumpRecord, FileRecord, Space } from '../../dump/records.js';
import { invariant } from '../../errors.js';
import { type RunBatch, type RunDetail, sliceRuns } from '../../memory/runs.js';
import type { AreaTable } from '../../memory/vma.js';
import { frameDescriptor, type MessageDescriptor } from '../../protobuf/descriptor.js';
import type { MessageObject } from '../../protobuf/object.js';
import { encodeObject } from '../../protobuf/write-object.js';
import { encodeAreas, encodeRuns } from './columns.js';
import {
  AREAS_PER_FRAME,
  DATA_BYTES,
  DETAIL_BYTES_PER_FRAME,
  FRAME,
  FRAME_HEADER_BYTES,
  PROLOGUE_BYTES,
  RUNS_PER_FRAME,
  STREAM_MAGIC,
  STREAM_VERSION,
} from './format.js';

const MESSAGES = {
  header: frameDescriptor('Header'),
  file: frameDescriptor('File'),
  space: frameDescriptor('Space'),
  check: frameDescriptor('Check'),
  end: frameDescriptor('End'),
};

const FILE_KIND = { regular: 'REGULAR', link: 'LINK', directory: 'DIRECTORY' } as const;

/** A frame of runs that has yet to be written: a large batch takes several. */
interface PendingRuns {
  body: Uint8Array;
  payloadBytes: number;
}

/**
 * Encodes all records but extents, whose bytes the caller reads and hands over as `bytes` records. Payload is passed on
 * without a copy.
 */
export class PageStreamEncoder {
  private pageSize = 0;
  private crc = 0;
  private files = 0;
  private spaces = 0;
  private runs = 0;
  private payloadBytes = 0;

  /** Payload left of the current file or frame of runs. */
  private payloadLeft = 0;
  /** Payload left of the current data frame. */
  private frameLeft = 0;
  private readonly sum = new PayloadCheck();
  /** Whether the check comes with the records, so that no checksum is computed here. */
  private checked = false;
  /** Checks a batch that is cut into several frames, because each frame gets its own checksum. */
  private readonly batchCheck = new PayloadCheck();
  private checksBatch = false;
  private pagemap = '';
  private pending: PendingRuns[] = [];

  constructor(private readonly emit: Emit) {}

  write(record: Exclude<DumpRecord, { type: 'extents' }>): void {
    if (record.type === 'bytes') {
      const { bytes } = record;
      this.passRead(bytes, (position, count) => this.emit(bytes.subarray(position, position + count)));
      return;
    }
    if (record.type === 'check') {
      this.check(record);
      return;
    }
    invariant(this.payloadLeft === 0 && this.pending.length === 0, 'payload is complete before the next record');
    switch (record.type) {
      case 'header': {
        this.pageSize = record.pageSize;
        const prologue = new Uint8Array(PROLOGUE_BYTES);
        prologue.set(STREAM_MAGIC);
        new DataView(prologue.buffer).setUint32(8, STREAM_VERSION, true);
        this.emit(prologue);
        this.message(FRAME.HEADER, MESSAGES.header, {
          page_size: record.pageSize,
          march: record.march,
          directory_mode: record.directoryMode,
          payload_bytes: record.payloadBytes,
        });
        break;
      }
      case 'file':
        this.file(record);
        break;
      case 'space':
        this.spaces++;
        this.message(FRAME.SPACE, MESSAGES.space, {
          index: record.space.index,
          pagemap: record.space.pagemap,
          pages_id: record.space.pagesId,
          head: record.space.head,
          one_magic: record.space.oneMagic,
          pagemap_mode: record.space.pagemapMode,
          pages_mode: record.space.pagesMode,
        });
        break;
      case 'areas':
        this.areas(record.space, record.areas);
        break;
      case 'runs':
        this.startRuns(record.space, record.runs, record.checked);
        break;
      default:
        this.message(FRAME.END, MESSAGES.end, {
          files: this.files,
          spaces: this.spaces,
          runs: this.runs,
          payload_bytes: this.payloadBytes,
          crc32: this.crc,
        });
    }
  }

  private file(record: FileRecord): void {
    this.files++;
    this.message(FRAME.FILE, MESSAGES.file, {
      name: record.name,
      kind: FILE_KIND[record.kind],
      mode: record.mode,
      size: record.kind === 'regular' ? record.size : undefined,
      target: record.target,
    });
    this.startPayload(record.size, record.checked);
  }

  private areas(space: Space, areas: AreaTable): void {
    const count = areas.starts.length;
    // A task without areas says so in a separate frame.
    for (let from = 0; from < count || from === 0; from += AREAS_PER_FRAME) {
      this.frame(FRAME.AREAS, encodeAreas(space.index, areas, from, Math.min(from + AREAS_PER_FRAME, count)));
    }
  }

  /** Queues the frames of a batch; each is followed by its own payload. */
  private startRuns(space: Space, runs: RunBatch, checked: boolean): void {
    this.runs += runs.bits.length;
    this.payloadBytes += runs.payloadBytes;
    const parts = cutBatch(runs, this.pageSize);
    this.pending = parts.map((part) => ({ body: encodeRuns(space.index, part), payloadBytes: part.payloadBytes }));
    const split = parts.length > 1 && runs.payloadBytes > 0;
    this.checksBatch = split && checked;
    this.batchCheck.start();
    this.pagemap = space.pagemap;
    this.checked = checked && !split;
    this.nextRuns();
  }

  /** Emits queued frames of runs up to and with the next one that has payload. */
  private nextRuns(): void {
    for (let next = this.pending.shift(); next; next = this.pending.shift()) {
      this.frame(FRAME.RUNS, next.body);
      if (next.payloadBytes > 0) {
        this.startPayload(next.payloadBytes, this.checked);
        return;
      }
    }
  }

  private startPayload(bytes: number, checked: boolean): void {
    this.payloadLeft = bytes;
    this.frameLeft = 0;
    this.sum.start();
    this.checked = checked;
  }

  /** Whether the next payload can be moved without being read, because its checksum comes with it. */
  get passesPayload(): boolean {
    return this.checked && !this.checksBatch;
  }

  /** Payload that is moved without being read. Calls `move` for each part, after the header of its frame. */
  pass(bytes: number, move: (position: number, bytes: number) => void): void {
    invariant(this.passesPayload, 'payload that is moved has its checksum');
    this.payloadParts(bytes, move);
  }

  /** Payload that was read for its checksum. Calls `move` to put out each part, after the header of its frame. */
  passRead(bytes: Uint8Array, move: (position: number, bytes: number) => void): void {
    if (this.checksBatch) this.batchCheck.add(bytes);
    this.payloadParts(bytes.length, (position, count) => {
      if (!this.checked) this.sum.add(bytes.subarray(position, position + count));
      move(position, count);
    });
  }

  /** Puts payload into data frames: calls `put` for the part of each. */
  private payloadParts(bytes: number, put: (position: number, bytes: number) => void): void {
    for (let at = 0; at < bytes; ) {
      invariant(this.payloadLeft > 0, 'no more payload than was announced');
      if (this.frameLeft === 0) {
        this.frameLeft = Math.min(DATA_BYTES, this.payloadLeft);
        this.frameHeader(FRAME.DATA, this.frameLeft);
      }
      const count = Math.min(bytes - at, this.frameLeft);
      put(at, count);
      at += count;
      this.frameLeft -= count;
      this.payloadLeft -= count;
      if (this.payloadLeft === 0 && !this.checked) {
        this.message(FRAME.CHECK, MESSAGES.check, { crc32: this.sum.crc32 });
        this.nextRuns();
      }
    }
  }

  private check(record: CheckRecord): void {
    if (this.checksBatch) {
      this.batchCheck.end(record, this.pagemap);
      this.checksBatch = false;
    } else {
      invariant(this.payloadLeft === 0, 'a check follows its payload');
      this.message(FRAME.CHECK, MESSAGES.check, { crc32: record.crc32 });
    }
  }

  private message(type: number, message: MessageDescriptor, fields: MessageObject): void {
    this.frame(type, encodeObject(message, fields));
  }

  private frame(type: number, body: Uint8Array): void {
    this.frameHeader(type, body.length);
    this.crc = crc32(body, this.crc);
    this.emit(body);
  }

  private frameHeader(type: number, length: number): void {
    const header = new Uint8Array(FRAME_HEADER_BYTES);
    const view = new DataView(header.buffer);
    view.setUint32(0, type, true);
    view.setUint32(4, length, true);
    if (type !== FRAME.END) this.crc = crc32(header, this.crc);
    this.emit(header);
  }
}

/** Parts of a batch that fit a frame each. */
function cutBatch(runs: RunBatch, pageSize: number): RunBatch[] {
  const count = runs.bits.length;
  if (count <= RUNS_PER_FRAME && !runs.details) return [runs];
  const parts: RunBatch[] = [];
  for (let from = 0; from < count; ) {
    let to = from;
    for (let bytes = 0; to < count && to - from < RUNS_PER_FRAME; to++) {
      bytes += detailBytes(runs.details?.get(to));
      if (bytes > DETAIL_BYTES_PER_FRAME && to > from) break;
    }
    parts.push(from === 0 && to === count ? runs : sliceRuns(runs, from, to, pageSize));
    from = to;
  }
  return parts;
}

/** At most what a detail takes in a frame. */
const detailBytes = (detail: RunDetail | undefined): number =>
  detail ? 32 + (detail.verbatim?.length ?? 0) + 4 * (detail.compressed?.blockBytes.length ?? 0) : 0;
