/** Records to page stream: synchronous, no I/O; {@link PageStreamEncoder} hands out the bytes in order. */
import type protobuf from 'protobufjs/light.js';
import type { Emit } from '../bytes.js';
import { crc32 } from '../crc.js';
import { DumpError, invariant } from '../errors.js';
import { type RunBatch, type RunDetail, sliceRuns } from '../memory/runs.js';
import type { AreaTable } from '../memory/vma.js';
import type { BytesRecord, DumpRecord, FileRecord, Space } from '../records.js';
import { messageType } from '../schema.js';
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
  header: messageType('pagepipe.Header'),
  file: messageType('pagepipe.File'),
  space: messageType('pagepipe.Space'),
  check: messageType('pagepipe.Check'),
  end: messageType('pagepipe.End'),
};

const FILE_KIND = { regular: 1, link: 2, directory: 3 } as const;

/** One frame of runs that waits for its turn: a large batch crosses in several. */
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

  /** Payload that is to come in the current frame of runs or file. */
  private payloadLeft = 0;
  /** Payload that is to come in the current data frame. */
  private frameLeft = 0;
  private payloadCrc = 0;
  /** Whether the check comes with the records, so that no checksum is computed here. */
  private checked = false;
  /** With `checked`, in a batch that is cut into several frames: checksum over all of them. */
  private batchCrc: number | undefined;
  private pending: PendingRuns[] = [];

  constructor(private readonly emit: Emit) {}

  write(record: Exclude<DumpRecord, { type: 'extents' }>): void {
    if (record.type === 'bytes') {
      this.payload(record);
      return;
    }
    if (record.type === 'check') {
      this.check(record.crc32);
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
    // A task without areas says so in a frame of its own.
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
    this.batchCrc = split && checked ? 0 : undefined;
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
    this.payloadCrc = 0;
    this.checked = checked;
  }

  private payload({ bytes }: BytesRecord): void {
    if (this.batchCrc !== undefined) this.batchCrc = crc32(bytes, this.batchCrc);
    let rest = bytes;
    while (rest.length > 0) {
      invariant(this.payloadLeft > 0, 'no more payload than was announced');
      if (this.frameLeft === 0) {
        this.frameLeft = Math.min(DATA_BYTES, this.payloadLeft);
        this.frameHeader(FRAME.DATA, this.frameLeft);
      }
      const piece = rest.subarray(0, this.frameLeft);
      if (!this.checked) this.payloadCrc = crc32(piece, this.payloadCrc);
      this.emit(piece);
      this.frameLeft -= piece.length;
      this.payloadLeft -= piece.length;
      rest = rest.subarray(piece.length);
      if (this.payloadLeft === 0 && !this.checked) {
        this.message(FRAME.CHECK, MESSAGES.check, { crc32: this.payloadCrc });
        this.nextRuns();
      }
    }
  }

  private check(crc: number): void {
    if (this.batchCrc === undefined) {
      invariant(this.payloadLeft === 0, 'a check follows its payload');
      this.message(FRAME.CHECK, MESSAGES.check, { crc32: crc });
    } else if (this.batchCrc !== crc) {
      throw new DumpError('STREAM_DAMAGED', 'the payload does not match its checksum');
    }
    this.batchCrc = undefined;
  }

  private message(type: number, message: protobuf.Type, fields: object): void {
    this.frame(type, message.encode(message.create(fields)).finish());
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
