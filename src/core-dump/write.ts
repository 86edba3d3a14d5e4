/** Writes a core: the kernel copies large ranges of memory where it can, the rest is read and written. */
import type { Emit, FilePlace } from '../bytes.js';
import { ExtentReader, FILE_PIECE_BYTES, portions } from '../dump/extents.js';
import { payloadLength } from '../dump/payload-cutter.js';
import type { PayloadRecord } from '../dump/records.js';
import { Breather } from '../io/breathe.js';
import type { Core } from './core.js';

/** Where a core goes, from front to back. */
export interface CoreOutput {
  write: Emit;
  copyFrom?(place: FilePlace, position: number, bytes: number): number;
  /** If the buffer is full, resolves when it takes more. */
  drain?(): void | Promise<void>;
}

export interface WriteOptions {
  /** Told of the bytes that were written. */
  progress?: ((bytes: number) => void) | undefined;
  /** Ends the writing early. */
  signal?: AbortSignal | undefined;
}

/** @throws {DumpError} for pages that cannot be read; what the output throws; the reason of the signal */
export async function writeCore(
  core: Core,
  output: CoreOutput,
  { progress, signal }: WriteOptions = {},
): Promise<void> {
  const breather = new Breather();
  const reader = new ExtentReader(FILE_PIECE_BYTES);
  reader.expect(core.amounts.stored);
  const copy = output.copyFrom ?? (() => 0);
  for (const record of inPortions(core.records())) {
    if (record.type === 'bytes') output.write(record.bytes);
    else for (const piece of reader.readOrCopy(record, copy)) output.write(piece);
    progress?.(payloadLength(record));
    await output.drain?.();
    await breather.due();
    signal?.throwIfAborted();
  }
}

function* inPortions(records: Iterable<PayloadRecord>): Generator<PayloadRecord> {
  for (const record of records) {
    if (record.type === 'extents') yield* portions(record);
    else yield record;
  }
}
