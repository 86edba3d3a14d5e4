/**
 * System calls that Node does not have, through koffi. No other file makes such calls. koffi is an optional dependency, loaded
 * only when there is enough to move. Without it, or if the kernel refuses, bytes are read and written. The output is the same.
 *
 * Source: the manual pages copy_file_range(2), splice(2), fcntl(2) and lseek(2), and the constants of Linux's user API.
 */
import { createRequire } from 'node:module';

/** A negative result is a negated errno. */
export interface Linux {
  /**
   * Copies inside the kernel. On a file system with reflinks the blocks are shared.
   * @param from descriptor of a file; `position` in it is in bytes
   * @returns bytes, possibly fewer than asked for; 0 at the end of the file
   */
  copyFileRange(from: number, position: number, to: number, toPosition: number, bytes: number): number;
  /**
   * Moves bytes between two descriptors, one of which is a pipe, without reading them.
   * @returns bytes, possibly fewer than asked for; 0 at the end of the input
   */
  splice(from: number, to: number, bytes: number): number;
  /** Sets the capacity of a pipe, which the kernel may limit. Returns it in bytes. */
  setPipeSize(fd: number, bytes: number): number;
  /** Position of the next data at or after a position; -ENXIO if only a hole follows. Moves the file offset. */
  seekData(fd: number, position: number): number;
  /** Position of the next hole at or after a position; the end of the file counts as one. Moves the file offset. */
  seekHole(fd: number, position: number): number;
}

/** `0`: never, as on a system that forbids them. `always`: also for few bytes. Both are for tests. */
const SETTING = process.env['PAGEPIPE_SYSCALLS'];
/** Loading koffi takes time, so it is worth it only beyond this many bytes. */
export const LOAD_AFTER_BYTES = SETTING === 'always' ? 0 : 32 * 1024 * 1024;
/** Capacity of a pipe for large amounts: the most that an unprivileged user may ask for. */
const LARGE_PIPE_BYTES = 1024 * 1024;

/** Gives a pipe its largest capacity. Does nothing for anything else. */
export function enlargePipe(fd: number): void {
  linux()?.setPipeSize(fd, LARGE_PIPE_BYTES);
}

const SPLICE_F_MOVE = 1;
const F_SETPIPE_SZ = 1031;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

let loaded: Linux | null | undefined;

/** The system calls; undefined if they are not available. */
export function linux(): Linux | undefined {
  loaded ??= load();
  return loaded ?? undefined;
}

function load(): Linux | null {
  // The declarations below need a long of 64 bits.
  if (process.platform !== 'linux' || !/64$|^s390x$/.test(process.arch) || SETTING === '0') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    // The symbols of this process, and so of the C library that it is linked with.
    const library = koffi.load(null);
    const copyFileRange = library.func('long copy_file_range(int, int64_t *, int, int64_t *, size_t, unsigned int)');
    const splice = library.func('long splice(int, int64_t *, int, int64_t *, size_t, unsigned int)');
    const fcntl = library.func('int fcntl(int, int, int)');
    const lseek = library.func('long lseek(int, int64_t, int)');
    const fromAt = new BigInt64Array(1);
    const toAt = new BigInt64Array(1);
    const result = (value: number): number => (value < 0 ? -koffi.errno() : value);
    return {
      copyFileRange(fd, position, toFd, toPosition, bytes) {
        fromAt[0] = BigInt(position);
        toAt[0] = BigInt(toPosition);
        return result(copyFileRange(fd, fromAt, toFd, toAt, bytes, 0));
      },
      splice: (from, to, bytes) => result(splice(from, null, to, null, bytes, SPLICE_F_MOVE)),
      setPipeSize: (fd, bytes) => result(fcntl(fd, F_SETPIPE_SZ, bytes)),
      seekData: (fd, position) => result(lseek(fd, position, SEEK_DATA)),
      seekHole: (fd, position) => result(lseek(fd, position, SEEK_HOLE)),
    };
  } catch {
    return null;
  }
}
