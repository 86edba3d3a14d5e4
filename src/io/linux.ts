/**
 * System calls that Node does not have, through koffi: the only file that knows them. koffi is an optional dependency, and is
 * loaded when there is so much to move that it pays. Without it, or where the kernel refuses, bytes go through this process as
 * they do elsewhere; the output is the same.
 *
 * Source: the manual pages copy_file_range(2) and lseek(2), and the numbers of Linux's user API.
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
  /** Position of the next byte at or after a position that is in no hole; -ENXIO if there is none. Moves the descriptor. */
  seekData(fd: number, position: number): number;
  /** Position of the next hole at or after a position; the end of the file is one. Moves the descriptor. */
  seekHole(fd: number, position: number): number;
}

const SEEK_DATA = 3;
const SEEK_HOLE = 4;

/** Whether an environment variable turns them off: for tests, and for systems that forbid them. */
const isOff = (): boolean => process.env['PAGEPIPE_SYSCALLS'] === '0';

let loaded: Linux | null | undefined;

/** The system calls; undefined if they cannot be had. */
export function linux(): Linux | undefined {
  loaded ??= load();
  return loaded ?? undefined;
}

function load(): Linux | null {
  // A long is 64 bits there.
  if (process.platform !== 'linux' || !/64$|^s390x$/.test(process.arch) || isOff()) return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as typeof import('koffi');
    // The symbols of this process: of whichever C library it is linked with.
    const library = koffi.load(null);
    const copyFileRange = library.func('long copy_file_range(int, int64_t *, int, int64_t *, size_t, unsigned int)');
    const lseek = library.func('long lseek(int, int64_t, int)');
    const from = new BigInt64Array(1);
    const to = new BigInt64Array(1);
    const result = (value: number): number => (value < 0 ? -koffi.errno() : value);
    return {
      copyFileRange(fd, position, toFd, toPosition, bytes) {
        from[0] = BigInt(position);
        to[0] = BigInt(toPosition);
        return result(copyFileRange(fd, from, toFd, to, bytes, 0));
      },
      seekData: (fd, position) => result(lseek(fd, position, SEEK_DATA)),
      seekHole: (fd, position) => result(lseek(fd, position, SEEK_HOLE)),
    };
  } catch {
    return null;
  }
}
