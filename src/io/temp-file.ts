/** An unnamed file for what does not fit into memory. It vanishes with the process, however that ends. */
import { closeSync, openSync, readSync, unlinkSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { readFully, type WaitingBytes } from '../bytes.js';
import { DumpError, isErrno, onFile, systemReason } from '../errors.js';
import { uniquePart } from './temporary-name.js';

/** For errors. */
const NAME = 'temporary file';

export class TempFile {
  readonly fd: number;

  /** Throws {@link DumpError} SYSTEM if no file can be made in `directory`. */
  constructor(directory: string) {
    const path = join(directory, `.pagepipe-spill-${uniquePart()}`);
    try {
      this.fd = openSync(path, 'wx+', 0o600);
    } catch (cause) {
      if (!isErrno(cause)) throw cause;
      const hint = 'pages wait in a temporary file; --spill-dir or TMPDIR names another folder for it';
      throw new DumpError('SYSTEM', systemReason(cause), { file: directory, hint, cause });
    }
    try {
      onFile(path, () => unlinkSync(path));
    } catch (error) {
      closeSync(this.fd);
      throw error;
    }
  }

  /** Writes at a position in bytes; gaps read as zeros. Throws {@link DumpError} SYSTEM. */
  write(bytes: Uint8Array, position: number): void {
    for (let done = 0; done < bytes.length; ) {
      const at = done;
      const count = bytes.length - at;
      done += onFile(NAME, () => writeSync(this.fd, bytes, at, count, position + at), position + at);
    }
  }

  /** Takes what waits to a position; returns how many bytes that was. */
  take(waiting: WaitingBytes, position: number): number {
    return onFile(NAME, () => waiting.moveTo(this.fd, position), position);
  }

  /** Fills `buffer` from a position in bytes. Throws {@link DumpError} SYSTEM. */
  read(buffer: Uint8Array, position: number): void {
    const readSome = (part: Uint8Array, at: number) =>
      onFile(NAME, () => readSync(this.fd, part, 0, part.length, at), at);
    if (readFully(readSome, buffer, position) === buffer.length) return;
    throw new DumpError('SYSTEM', 'the file is shorter than what was written to it', { file: NAME });
  }

  close(): void {
    closeSync(this.fd);
  }
}
