/** Keeps some byte ranges of a payload, as references or views. Nothing is copied or read. */
import { invariant } from '../errors.js';
import type { PayloadRecord } from './records.js';

/** Cuts a piece of payload after its first `bytes`; the second part is undefined if nothing is left. */
export function splitPayload(record: PayloadRecord, bytes: number): [PayloadRecord, PayloadRecord | undefined] {
  const total = payloadLength(record);
  if (bytes >= total) return [record, undefined];
  const part = (from: number, to: number) =>
    new PayloadCutter(Float64Array.of(from, to)).cut(record)[0] as PayloadRecord;
  return [part(0, bytes), part(bytes, total)];
}

/** Bytes of a piece of payload. */
export function payloadLength(record: PayloadRecord): number {
  if (record.type === 'bytes') return record.bytes.length;
  let bytes = 0;
  for (let i = 1; i < record.extents.length; i += 2) bytes += record.extents[i] as number;
  return bytes;
}

export class PayloadCutter {
  private range = 0;
  private at = 0;

  /**
   * @param ranges pairs of start and end in bytes of the payload, ascending
   */
  constructor(private readonly ranges: Float64Array) {}

  /** The parts of the next piece of payload that are in a range. */
  cut(record: PayloadRecord): PayloadRecord[] {
    return record.type === 'bytes' ? this.cutBytes(record.bytes) : this.cutExtents(record);
  }

  private cutBytes(bytes: Uint8Array): PayloadRecord[] {
    const kept: PayloadRecord[] = [];
    this.advance(bytes.length, (from, to) => kept.push({ type: 'bytes', bytes: bytes.subarray(from, to) }));
    return kept;
  }

  private cutExtents(record: PayloadRecord & { type: 'extents' }): PayloadRecord[] {
    const kept: number[] = [];
    for (let i = 0; i < record.extents.length; i += 2) {
      const position = record.extents[i] as number;
      this.advance(record.extents[i + 1] as number, (from, to) => kept.push(position + from, to - from));
    }
    return kept.length === 0 ? [] : [{ type: 'extents', file: record.file, extents: Float64Array.from(kept) }];
  }

  /** Moves over `length` bytes of payload, and calls `keep` for each part of them that is in a range. */
  private advance(length: number, keep: (from: number, to: number) => void): void {
    const start = this.at;
    const end = start + length;
    for (; this.range < this.ranges.length; this.range += 2) {
      const from = Math.max(this.ranges[this.range] as number, start);
      const to = Math.min(this.ranges[this.range + 1] as number, end);
      if (from < to) keep(from - start, to - start);
      if ((this.ranges[this.range + 1] as number) > end) break;
    }
    this.at = end;
    invariant(Number.isSafeInteger(end), 'payload positions are exact');
  }
}
