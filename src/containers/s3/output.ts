/**
 * An object that is being written. Nothing of it is to be seen before {@link S3Output.commit}: a small one waits in memory and
 * is put by one request; a large one is uploaded in parts, several at a time, and completed.
 *
 * An answer may get lost. If a write fails, or says that an object is there already, the object may be this one: so the store
 * is asked whether it is there, with the ETag that it must have.
 */
import { createHash } from 'node:crypto';
import { setTimeout } from 'node:timers/promises';
import { DumpError } from '../../errors.js';
import type { ByteOutput } from '../../io/byte-output.js';
import { type ObjectAddress, s3Name } from './address.js';
import type { S3Bridge } from './bridge.js';
import type { PartQueue } from './parts.js';
import type { Upload, UploadedPart } from './protocol.js';

const MIB = 2 ** 20;

/**
 * Parts grow, because there can only be so many: an object of 40 GiB has parts of 8 MiB, and one of 2.6 TiB is possible. Source
 * of the limits, 10,000 parts of 5 MiB at least: the Amazon S3 user guide, "multipart upload limits".
 */
const PART_SIZES: readonly [parts: number, bytes: number][] = [
  [5000, 8 * MIB],
  [2000, 32 * MIB],
  [2000, 256 * MIB],
  [1000, 2048 * MIB],
];

/** Bytes of a part. @param number from 1 */
export function partBytes(number: number): number | undefined {
  let last = 0;
  for (const [parts, bytes] of PART_SIZES) {
    last += parts;
    if (number <= last) return bytes;
  }
  return undefined;
}

/** How long parts may take that are on their way when all is given up, in ms. */
const MAX_LATE_MS = 10_000;

/** What the memory for a small object begins with. */
const FIRST_BYTES = 16 * 1024;

export class S3Output implements ByteOutput {
  /** So far. */
  bytes = 0;
  private buffer: Uint8Array = new Uint8Array(0);
  private filled = 0;
  private upload: Promise<Upload> | undefined;
  private readonly parts: Promise<UploadedPart>[] = [];
  private isEnded = false;

  /** @param ifAbsent whether an object that is there must stay */
  constructor(
    private readonly bridge: S3Bridge,
    private readonly queue: PartQueue,
    private readonly address: ObjectAddress,
    private readonly ifAbsent: boolean,
  ) {}

  readonly write = (bytes: Uint8Array): void => {
    for (let at = 0; at < bytes.length; ) {
      const piece = bytes.subarray(at, at + this.room(bytes.length - at));
      this.buffer.set(piece, this.filled);
      this.filled += piece.length;
      this.bytes += piece.length;
      at += piece.length;
    }
  };

  drain(): void | Promise<void> {
    return this.queue.drain();
  }

  /** Bytes that wait in memory, if none is on its way. */
  get heldBytes(): number {
    return this.upload ? 0 : this.filled;
  }

  /** A copy of all bytes of an object that is held. */
  get held(): Uint8Array {
    return this.buffer.slice(0, this.filled);
  }

  /** After the last byte. A part of an object that is in parts already is sent; @param sendsAll also a small object */
  end(sendsAll = false): void {
    if (this.upload || sendsAll) this.sendPart();
    this.isEnded = true;
  }

  /** Resolves when all parts are there. */
  async sent(): Promise<void> {
    await this.queue.wait(Promise.all(this.parts));
  }

  /** Makes the object appear. Throws {@link DumpError} OUTPUT_EXISTS, SYSTEM, UNAVAILABLE. */
  async commit(): Promise<void> {
    if (!this.isEnded) this.end();
    await this.sent();
    const { bridge, ifAbsent, address } = this;
    if (!this.upload) {
      const bytes = this.buffer.subarray(0, this.filled);
      const put = bridge.start('put', { ...address, bytes, ifAbsent }).settled();
      await this.unlessOurs(put, () => md5(bytes).toString('hex'));
      return;
    }
    const [upload, parts] = await Promise.all([this.upload, Promise.all(this.parts)]);
    const completed = bridge.start('completeUpload', { upload, parts, ifAbsent }).settled();
    await this.unlessOurs(completed, () => etagOf(parts));
    this.upload = undefined;
  }

  /** Removes what was sent. Parts that arrive later would stay, so it waits for them. */
  async discard(): Promise<void> {
    const upload = await this.upload?.catch(() => undefined);
    if (!upload) return;
    const abort = () => this.bridge.start('abortUpload', upload).settled();
    await abort();
    if (this.parts.length === 0) return;
    await Promise.race([Promise.allSettled(this.parts), setTimeout(MAX_LATE_MS)]);
    await abort();
  }

  /** How much goes into the memory that is there, or that is made. */
  private room(wanted: number): number {
    const full = partBytes(this.parts.length + 1);
    if (full === undefined) {
      throw new DumpError('LIMIT', `expected at most ${this.bytes} bytes, found more`, { file: s3Name(this.address) });
    }
    if (this.filled === full) {
      this.sendPart();
      return this.room(wanted);
    }
    if (this.filled === this.buffer.length) this.grow(Math.min(full, Math.max(FIRST_BYTES, 2 * this.filled)), full);
    return Math.min(wanted, this.buffer.length - this.filled);
  }

  private grow(bytes: number, full: number): void {
    const larger = this.upload || bytes === full ? this.queue.room(full) : new Uint8Array(bytes);
    larger.set(this.buffer.subarray(0, this.filled));
    this.buffer = larger;
  }

  private sendPart(): void {
    this.upload ??= this.bridge.start('createUpload', this.address).settled();
    if (this.filled === 0 && this.parts.length > 0) return;
    const part = this.queue.send(this.upload, this.parts.length + 1, this.buffer.subarray(0, this.filled));
    part.catch(() => {}); // Those who wait for it throw.
    this.parts.push(part);
    this.buffer = new Uint8Array(0);
    this.filled = 0;
  }

  /** @param etag that the object has if it is this one */
  private async unlessOurs(written: Promise<unknown>, etag: () => string): Promise<void> {
    try {
      await written;
    } catch (error) {
      const asked = this.bridge.start('head', this.address).settled();
      const found = await asked.catch(() => undefined);
      if (found?.etag.replaceAll('"', '') !== etag()) throw error;
      await this.discard();
    }
  }
}

const md5 = (bytes: Uint8Array): Buffer => createHash('md5').update(bytes).digest();

/** The ETag of an object in parts: a sum of their sums. Stores that encrypt by keys of their own have others. */
function etagOf(parts: readonly UploadedPart[]): string {
  const sums = parts.map(({ etag }) => Buffer.from(etag.replaceAll('"', ''), 'hex'));
  return `${md5(Buffer.concat(sums)).toString('hex')}-${parts.length}`;
}
