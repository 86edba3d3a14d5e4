/**
 * System calls that Node does not have, through koffi: the only file that knows them. koffi is an optional dependency, and is
 * loaded when there is so much to move that it pays. Without it, or where the kernel refuses, bytes go through this process as
 * they do elsewhere; the output is the same.
 *
 * Source: the manual pages copy_file_range(2), splice(2), fcntl(2) and lseek(2), and the numbers of Linux's user API.
 */
import { createRequire } from 'node:module';

/** A result below zero is an error number of the system with its sign turned. */
export interface Linux {
  /**
   * Copies inside the kernel; on a file system that can, without a copy.
   * @param from descriptor of a file, and the position there in bytes
   * @returns bytes, fewer than asked for where the kernel likes; 0 at the end of the file
   */
  copyFileRange(from: number, position: number, to: number, toPosition: number, bytes: number): number;
  /**
   * Moves bytes between two descriptors of which one is a pipe, without reading them.
   * @returns bytes, fewer than asked for where the kernel likes; 0 at the end of the input
   */
  splice(from: number, to: number, bytes: number): number;
  /** Sets the capacity of a pipe; a pipe of several users may have less than that. Returns it in bytes. */
  setPipeSize(fd: number, bytes: number): number;
  /** Position of the next byte at or after a position that is in no hole; -ENXIO if there is none. Moves the descriptor. */
  seekData(fd: number, position: number): number;
  /** Position of the next hole at or after a position; the end of the file is one. Moves the descriptor. */
  seekHole(fd: number, position: number): number;
}

/** `0`: never, as on a system that forbids them; `always`: for few bytes too. Both are for tests. */
const SETTING = process.env['PAGEPIPE_SYSCALLS'];
/** They take a while to load: only for more bytes than this it is worth it. */
export const LOAD_AFTER_BYTES = SETTING === 'always' ? 0 : 32 * 1024 * 1024;
/** Of a pipe through which much goes: what an unprivileged user may ask for. */
const LARGE_PIPE_BYTES = 1024 * 1024;

/** Gives a pipe its largest size; for anything else nothing happens. */
export function enlargePipe(fd: number): void {
  linux()?.setPipeSize(fd, LARGE_PIPE_BYTES);
}

const SPLICE_F_MOVE = 1;
const F_SETPIPE_SZ = 1031;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;

let loaded: Linux | null | undefined;

/** The system calls; undefined if they cannot be had. */
export function linux(): Linux | undefined {
  loaded ??= load();
  return loaded ?? undefined;
}

function load(): Linux | null {
  // A long is 64 bits there.
  if (process.platform !== 'linux' || !/64$|^s390x$/.test(process.arch) || SETTING === '0') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    // The symbols of this process: of whichever C library it is linked with.
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
