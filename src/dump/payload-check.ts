/** Checksums of payload: computed where it is first read, and compared where it arrives. */
import { crc32 } from '../crc.js';
import { DumpError } from '../errors.js';
import type { CheckRecord } from './records.js';

export class PayloadCheck {
  private crc = 0;

  /** Checksum of the bytes since the start. */
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
   * Compares the checksum of the received bytes with the one that was sent.
   * @param file that the payload belongs to
   * @throws {DumpError} STREAM_DAMAGED
   */
  end({ crc32: expected }: CheckRecord, file: string): void {
    if (this.crc === expected) return;
    throw new DumpError('STREAM_DAMAGED', 'the payload does not match its checksum', { file });
  }
}
