/** Syncs a file in the background while it is being written: the disk works meanwhile, and the last sync has little left to do. */
import { fdatasync } from 'node:fs';
import { promisify } from 'node:util';
import { systemError } from '../errors.js';

const fdatasyncAsync = promisify(fdatasync);

/** A sync begins after this many bytes. */
const EVERY_BYTES = 64 * 1024 * 1024;

export class BackgroundSync {
  private unsynced = 0;
  private syncing: Promise<void> | undefined;
  private error: unknown;

  /**
   * @param fd must stay open until {@link idle}
   * @param name for errors
   */
  constructor(
    private readonly fd: number,
    private readonly name: string,
    private readonly everyBytes = EVERY_BYTES,
  ) {}

  /** To be called after so many bytes were written. */
  wrote(bytes: number): void {
    this.unsynced += bytes;
    if (this.unsynced < this.everyBytes || this.syncing) return;
    this.unsynced = 0;
    // The system reports a failure only once, so it is kept for settled().
    this.syncing = fdatasyncAsync(this.fd)
      .catch((error) => {
        this.error ??= systemError(error, this.name);
      })
      .finally(() => {
        this.syncing = undefined;
      });
  }

  /** Waits for the current sync, if there is one. */
  idle(): Promise<void> | undefined {
    return this.syncing;
  }

  /** The same. The promise rejects with the first failure of any sync. */
  settled(): Promise<void> | undefined {
    return this.syncing === undefined && this.error === undefined ? undefined : this.throwError();
  }

  private async throwError(): Promise<void> {
    await this.syncing;
    if (this.error !== undefined) throw this.error;
  }
}
