/**
 * The parts that are on their way to the store, of all objects that are being written. Their number is limited, and with it
 * the memory: who writes waits until there is room. A part that could not be written fails everything.
 */
import type { S3Bridge } from './bridge.js';
import type { Upload, UploadedPart } from './protocol.js';

/** On their way at a time, in bytes; two parts may be, however large they are. */
const MAX_BYTES = 32 * 2 ** 20;
const LEAST_PARTS = 2;

/** Memory that is kept for another part. */
const LEAST_SPARE_BYTES = 2 ** 20;
const MAX_SPARE = 4;

export class PartQueue {
  private bytes = 0;
  private count = 0;
  private failure: unknown;
  private wake: (() => void) | undefined;
  private readonly spare: ArrayBuffer[] = [];

  /** Rejects when the signal comes. */
  private readonly aborted: Promise<never> | undefined;

  /** @param signal ends every wait */
  constructor(
    private readonly bridge: S3Bridge,
    private readonly signal?: AbortSignal,
  ) {
    if (!signal) return;
    this.aborted = new Promise((_, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    });
    this.aborted.catch(() => this.wake?.());
  }

  /** Memory for a part. */
  room(bytes: number): Uint8Array {
    const at = this.spare.findIndex(({ byteLength }) => byteLength === bytes);
    return new Uint8Array(at < 0 ? new ArrayBuffer(bytes) : (this.spare.splice(at, 1)[0] as ArrayBuffer));
  }

  /** Sends a part. Its memory must be of {@link room}. */
  send(upload: Promise<Upload>, number: number, bytes: Uint8Array): Promise<UploadedPart> {
    this.bytes += bytes.length;
    this.count++;
    const sent = this.sendPart(upload, number, bytes);
    sent
      .catch((error) => {
        this.failure ??= { error };
      })
      .finally(() => {
        this.bytes -= bytes.length;
        this.count--;
        this.wake?.();
      });
    return sent;
  }

  /** If there is no room for another part, resolves when there is. Throws what failed, or `signal.reason`. */
  drain(): void | Promise<void> {
    this.check();
    if (this.count >= LEAST_PARTS && this.bytes > MAX_BYTES) return this.untilRoom();
  }

  /** Resolves when the action does; the signal ends the wait. */
  async wait<T>(action: Promise<T>): Promise<T> {
    this.check();
    return this.aborted ? Promise.race([action, this.aborted]) : action;
  }

  private async untilRoom(): Promise<void> {
    while (this.count >= LEAST_PARTS && this.bytes > MAX_BYTES) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
      this.wake = undefined;
      this.check();
    }
  }

  private check(): void {
    this.signal?.throwIfAborted();
    if (this.failure) throw (this.failure as { error: unknown }).error;
  }

  private async sendPart(upload: Promise<Upload>, number: number, bytes: Uint8Array): Promise<UploadedPart> {
    const pending = this.bridge.startPart({ upload: await upload, number, bytes });
    const part = await pending.settled();
    const { memory } = pending;
    if (memory && memory.byteLength >= LEAST_SPARE_BYTES && this.spare.push(memory) > MAX_SPARE) this.spare.shift();
    return part;
  }
}
