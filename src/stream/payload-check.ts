/** Payload against the checksum that came with it, from where it was read first. */
import { crc32 } from '../crc.js';
import { DumpError } from '../errors.js';
import type { CheckRecord } from '../records.js';

export class PayloadCheck {
  private crc = 0;

  /** Begins with the payload of another file or another batch of runs. */
  start(): void {
    this.crc = 0;
  }

  add(bytes: Uint8Array): void {
    this.crc = crc32(bytes, this.crc);
  }

  /**
   * Compares what came with what was sent.
   * @param file that the payload belongs to
   * @throws {DumpError} STREAM_DAMAGED
   */
  end({ crc32: expected }: CheckRecord, file: string): void {
    if (this.crc === expected) return;
    throw new DumpError('STREAM_DAMAGED', 'the payload does not match its checksum', { file });
  }
}
