/**
 * System calls that fail when a test says so. Whoever imports them by name from `node:fs` has wrapped ones until the test
 * ends. Node itself is not affected, nor is what it builds of these calls, such as readFileSync.
 */
import fs from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { onTestFinished } from 'vitest';

type Fs = typeof fs;

/** The calls that can be made to fail. Those that clean up are not among them: there is nobody to help then. */
export const CALLS = [
  'openSync',
  'readSync',
  'writeSync',
  'writevSync',
  'fsyncSync',
  'fsync',
  'renameSync',
  'mkdirSync',
  'symlinkSync',
  'fchmodSync',
  'chmodSync',
  'statSync',
  'fstatSync',
  'lstatSync',
  'readdirSync',
  'readlinkSync',
  'realpathSync',
] as const;
export type Call = (typeof CALLS)[number];

class Faults {
  /** The calls as they are, whatever is armed. */
  readonly real: Fs = { ...fs };
  /** Call and first argument of the last failure. */
  lastFailure = '';
  private call: Call | undefined;
  private nth = 0;
  private code = 'EIO';
  private seen = 0;
  private limit = Number.POSITIVE_INFINITY;
  private isArmed = false;

  /** Counts a call. */
  count(call: Call): void {
    this.fail(call, 0);
  }

  /** Makes the nth of a call fail, from 1. */
  fail(call: Call, nth: number, code = 'EIO'): void {
    this.arm();
    Object.assign(this, { call, nth, code, seen: 0, lastFailure: '' });
  }

  /** Lets no read or write do more than so many bytes. */
  shorten(bytes: number): void {
    this.arm();
    this.limit = bytes;
  }

  private arm(): void {
    if (this.isArmed) return;
    this.isArmed = true;
    replaceInFs(wrap(this.real));
    onTestFinished(() => {
      this.disarm();
      this.isArmed = false;
    });
  }

  /** Back to normal; returns how many calls there were. */
  disarm(): number {
    this.call = undefined;
    this.limit = Number.POSITIVE_INFINITY;
    return this.seen;
  }

  /** An error for this call, if it is its turn. */
  meet(call: Call, first: unknown): NodeJS.ErrnoException | undefined {
    if (call !== this.call || ++this.seen !== this.nth) return undefined;
    this.lastFailure = `${call} ${String(first)}`;
    const error = new Error(`${this.code}: made to fail, ${call}`);
    return Object.assign(error, { code: this.code, errno: -5, syscall: call.replace('Sync', '') });
  }

  /** How many of these bytes may be done. */
  atMost(bytes: number): number {
    return Math.min(bytes, this.limit);
  }
}

export const faults = new Faults();

/** Until the test ends, whoever imports these calls by name from `node:fs` has these. */
export function replaceInFs(calls: Partial<Fs>): void {
  const real = Object.fromEntries(Object.keys(calls).map((name) => [name, fs[name as keyof Fs]]));
  Object.assign(fs, calls);
  syncBuiltinESMExports();
  // The default export is what Node itself uses.
  Object.assign(fs, real);
  onTestFinished(syncBuiltinESMExports);
}

/** The calls that can fail. */
function wrap(real: Fs): Partial<Fs> {
  const wrapped: Record<string, unknown> = {};
  for (const call of CALLS) {
    if (call === 'fsync') continue;
    const original = real[call] as (...words: unknown[]) => unknown;
    wrapped[call] = Object.assign((...words: unknown[]) => {
      const error = faults.meet(call, words[0]);
      if (error) throw error;
      return original(...words);
    }, original);
  }
  wrapped['fsync'] = (fd: number, done: (error: NodeJS.ErrnoException | null) => void) => {
    const error = faults.meet('fsync', fd);
    if (error) setImmediate(done, error);
    else real.fsync(fd, done);
  };
  const readSync = wrapped['readSync'] as (...words: unknown[]) => number;
  wrapped['readSync'] = (fd: number, buffer: Uint8Array, offset: number, length: number, position: number | null) =>
    readSync(fd, buffer, offset, faults.atMost(length), position);
  const writeSync = wrapped['writeSync'] as (...words: unknown[]) => number;
  wrapped['writeSync'] = (fd: number, buffer: Uint8Array | string, offset = 0, length?: number, position?: number) => {
    if (typeof buffer === 'string') return writeSync(fd, buffer);
    return writeSync(fd, buffer, offset, faults.atMost(length ?? buffer.length - offset), position);
  };
  const writevSync = wrapped['writevSync'] as (...words: unknown[]) => number;
  wrapped['writevSync'] = (fd: number, pieces: Uint8Array[]) => {
    let left = faults.atMost(pieces.reduce((sum, piece) => sum + piece.length, 0));
    const shorter = pieces.map((piece) => {
      const part = piece.subarray(0, left);
      left -= part.length;
      return part;
    });
    return writevSync(fd, shorter);
  };
  return wrapped;
}
