/**
 * A new file that the zstd program writes itself. What it compresses goes through a pipe by plain writes, or is moved there by
 * the kernel. Streams of Node would copy each piece twice, into new memory. Writes block while the program compresses, which
 * waits for nobody else.
 */
import { closeSync } from 'node:fs';
import { type FilePlace, scratch } from '../bytes.js';
import { isErrno } from '../errors.js';
import type { AtomicFile } from './atomic-file.js';
import { FdWriter } from './fd.js';
import { enlargePipe, LOAD_AFTER_BYTES, linux, openPipe } from './linux.js';
import { exitedEarly, type Program, zstdIntoFile } from './zstd-program.js';

/** More than any gap that a full disk still has. */
const PROBE_BYTES = 64 * 1024;

export class ZstdFileOutput {
  private readonly writer: FdWriter;
  private isOpen = true;
  private bytes = 0;
  private isLarge = false;
  /** Whether the program has ended, though it has not got everything. */
  private isBroken = false;

  private constructor(
    private readonly file: AtomicFile,
    private readonly pipe: number,
    private readonly program: Program,
  ) {
    this.writer = new FdWriter(pipe, 'zstd');
  }

  /** Undefined without system calls. Throws DumpError UNSUPPORTED without the program. */
  static open(file: AtomicFile): ZstdFileOutput | undefined {
    const pipe = openPipe();
    if (!pipe) return undefined;
    try {
      return new ZstdFileOutput(file, pipe.to, zstdIntoFile(pipe.from, file.fd));
    } catch (error) {
      closeSync(pipe.to);
      throw error;
    }
  }

  readonly write = (bytes: Uint8Array): void => {
    this.unlessBroken(() => this.writer.write(bytes));
    this.wrote(bytes.length);
  };

  readonly copyFrom = ({ fd, offset }: FilePlace, position: number, bytes: number): number => {
    const system = linux();
    this.unlessBroken(() => this.writer.flush());
    let done = 0;
    for (let count = 1; system && count > 0 && done < bytes && !this.isBroken; done += Math.max(count, 0)) {
      count = system.spliceFrom(fd, offset + position + done, this.pipe, bytes - done);
    }
    this.wrote(done);
    return done;
  };

  /** Only a failure is to be waited for. */
  drain(): void | Promise<void> {
    if (this.isBroken) return this.ended();
  }

  async commit(): Promise<void> {
    this.unlessBroken(() => this.writer.flush());
    this.close();
    await this.ended();
    this.file.commit();
  }

  async discard(): Promise<void> {
    this.close();
    this.program.child.kill();
    this.file.discard();
  }

  /** For large amounts: a larger pipe takes fewer turns of the two programs. */
  private wrote(bytes: number): void {
    this.bytes += bytes;
    if (this.isLarge || this.bytes < LOAD_AFTER_BYTES) return;
    this.isLarge = true;
    enlargePipe(this.pipe);
  }

  private unlessBroken(action: () => void): void {
    if (this.isBroken) return;
    try {
      action();
    } catch (error) {
      if (!isErrno(error, 'EPIPE')) throw error;
      this.isBroken = true;
    }
  }

  /** Waits for the end of the program, which must have taken everything. */
  private async ended(): Promise<void> {
    try {
      await this.program.exit();
    } catch (cause) {
      // If it cannot write the file, a write of our own says why.
      this.file.write(scratch(PROBE_BYTES));
      throw exitedEarly((cause as Error).message, cause);
    }
    if (this.isBroken) throw exitedEarly('it has not read everything');
  }

  private close(): void {
    if (this.isOpen) closeSync(this.pipe);
    this.isOpen = false;
  }
}
