/** Checksums of payload: computed where it is first read, and compared with the one that came with it. */
import { crc32 } from '../crc.js';
import { DumpError } from '../errors.js';
import type { CheckRecord } from './records.js';

export class PayloadCheck {
  private crc = 0;

  /** Of what was added since the start. */
  get crc32(): number {
    return this.crc;
  }

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
