/**
 * A file that appears complete or not at all: it is written under a temporary name next to its place, synced, and renamed.
 * Anything but a regular file (a pipe, /dev/stdout) is written in place.
 */
import {
  closeSync,
  fchmodSync,
  fsyncSync,
  ftruncateSync,
  openSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from 'node:fs';
import { dirname } from 'node:path';
import type { FilePlace } from '../bytes.js';
import { onFile } from '../errors.js';
import { checkIsLocal, checkIsNoLink, syncPath } from './atomic-directory.js';
import { BackgroundSync } from './background-sync.js';
import { FdWriter } from './fd.js';
import { permitted } from './mode.js';
import { temporaryName } from './temporary-name.js';

/** Nobody reads it yet, so pieces as small as the headers of an archive may wait until they are many. */
const GATHER_BYTES = 32 * 1024;
/** Dumps hold secrets. */
const PRIVATE_MODE = 0o600;

export class AtomicFile {
  readonly fd: number;
  private readonly writer: FdWriter;
  private readonly sync: BackgroundSync | undefined;
  private readonly place: string;
  /** Undefined if the place itself is written. */
  private readonly temporary: string | undefined;
  private readonly mode: number;
  private isOpen = true;
  /** Whether the file is in its place, or was written there. */
  private isDone = false;

  /**
   * @param options mode: permission bits of a new file; one that is replaced keeps its own. syncsMeanwhile: whether a large
   *   file is synced in the background; it needs {@link finish} and {@link abandon} in place of `commit` and `discard`
   * @throws {DumpError} SYSTEM
   */
  constructor(
    private readonly path: string,
    { mode = PRIVATE_MODE, syncsMeanwhile = false }: { mode?: number | undefined; syncsMeanwhile?: boolean } = {},
  ) {
    checkIsLocal(path);
    const found = onFile(path, () => statSync(path, { throwIfNoEntry: false }));
    if (!found) onFile(path, () => checkIsNoLink(path, path));
    this.mode = found ? found.mode & 0o777 : permitted(mode);
    this.place = found ? onFile(path, () => realpathSync(path)) : path;
    if (!found || found.isFile()) this.temporary = temporaryName(this.place);
    const { temporary } = this;
    this.fd = onFile(path, () =>
      temporary === undefined ? openSync(path, 'w') : openSync(temporary, 'wx', PRIVATE_MODE),
    );
    this.writer = new FdWriter(this.fd, path, this.isNew ? GATHER_BYTES : undefined);
    if (syncsMeanwhile && temporary !== undefined) this.sync = new BackgroundSync(this.fd, path);
  }

  /** The bytes may change after the call. */
  readonly write = (bytes: Uint8Array): void => {
    this.writer.write(bytes);
    this.sync?.wrote(bytes.length);
  };

  /** Whether it is a new file, and so can be written at any position. */
  get isNew(): boolean {
    return this.temporary !== undefined;
  }

  /** Writes into a new file at a position, which leaves a hole before it. Not to be mixed with {@link write}. */
  writeAt(bytes: Uint8Array, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const [from, left] = [done, bytes.length - done];
      done += onFile(this.path, () => writeSync(this.fd, bytes, from, left, position + from), position + from);
    }
    this.sync?.wrote(bytes.length);
  }

  /** Makes a new file as long as this, with a hole at its end. */
  extend(bytes: number): void {
    onFile(this.path, () => ftruncateSync(this.fd, bytes));
  }

  readonly copyFrom = (place: FilePlace, position: number, bytes: number): number => {
    const copied = this.writer.copyFrom(place, position, bytes);
    this.sync?.wrote(copied);
    return copied;
  };

  /** Writes what was gathered: for pipes, whose reader waits for it. */
  flush(): void {
    this.writer.flush();
  }

  /** Puts the file in its place. */
  commit(): void {
    this.writer.flush();
    const { temporary } = this;
    onFile(this.path, () => {
      if (temporary !== undefined) {
        fchmodSync(this.fd, this.mode);
        fsyncSync(this.fd);
      }
      this.close();
      if (temporary !== undefined) renameSync(temporary, this.place);
      this.isDone = true;
      if (temporary !== undefined) syncPath(dirname(this.place));
    });
  }

  /** Removes what was written. Does nothing after {@link commit}. */
  discard(): void {
    if (this.isOpen) this.close();
    if (!this.isDone && this.temporary !== undefined) rmSync(this.temporary, { force: true });
  }

  /** Commits, after a sync in the background. */
  finish(): void | Promise<void> {
    const settled = this.sync?.settled();
    return settled ? settled.then(() => this.commit()) : this.commit();
  }

  /** Discards, after a sync in the background. */
  abandon(): void | Promise<void> {
    const idle = this.sync?.idle();
    return idle ? idle.then(() => this.discard()) : this.discard();
  }

  private close(): void {
    this.isOpen = false;
    closeSync(this.fd);
  }
}
