/**
 * System calls that Node does not have, through koffi. No other file makes such calls. koffi is an optional dependency, loaded
 * only when there is enough to move. Without it, or if the kernel refuses, bytes are read and written. The output is the same.
 * Only the daemon of lazy restores cannot do without.
 *
 * Source: the manual pages copy_file_range(2), splice(2), fcntl(2), lseek(2), syncfs(2), ioctl_ficlonerange(2), poll(2), epoll(7), unix(7), recvmsg(2),
 * pidfd_open(2), PR_SET_CHILD_SUBREAPER(2const), and the constants of Linux's user API.
 */
import { createRequire } from 'node:module';

/** A negative result is a negated errno. */
export interface Linux {
  /**
   * Copies inside the kernel. On a file system with reflinks the blocks are shared.
   * @param from descriptor of a file; `position` in it is in bytes
   * @param toPosition undefined for where the descriptor is, which then moves on
   * @returns bytes, possibly fewer than asked for; 0 at the end of the file
   */
  copyFileRange(from: number, position: number, to: number, toPosition: number | undefined, bytes: number): number;
  /**
   * Has two files share a range of blocks, on a file system with reflinks. Positions are multiples of its block size.
   * @param from descriptor of a file; `position` in it is in bytes
   */
  cloneRange(from: number, position: number, to: number, toPosition: number, bytes: number): number;
  /**
   * Writes all of a file system to the disk, also what other programs have written.
   * @param fd of something in it, opened before what is to be synced was written
   */
  syncFileSystem(fd: number): Promise<number>;
  /**
   * Moves bytes between two descriptors, one of which is a pipe, without reading them.
   * @returns bytes, possibly fewer than asked for; 0 at the end of the input
   */
  splice(from: number, to: number, bytes: number): number;
  /** Moves bytes from a position of a file into a pipe, without reading them. Results are those of {@link splice}. */
  spliceFrom(from: number, position: number, pipe: number, bytes: number): number;
  /** Moves what is in a pipe to a position of a file, without waiting for more; -EAGAIN if nothing is there. */
  spliceReady(pipe: number, to: number, toPosition: number, bytes: number): number;
  /**
   * Waits until a descriptor has something to read, or has ended.
   * @returns 0 if the time is over, -EINTR after a signal
   */
  waitReadable(fd: number, milliseconds: number): number;
  /** The same until a descriptor takes something, or takes nothing any more. */
  waitWritable(fd: number, milliseconds: number): number;
  /** A new pipe, closed at an exec. */
  pipe(): Pipe | number;
  /** Sets the capacity of a pipe, which the kernel may limit. Returns it in bytes. */
  setPipeSize(fd: number, bytes: number): number;
  /** Position of the next data at or after a position; -ENXIO if only a hole follows. Moves the file offset. */
  seekData(fd: number, position: number): number;
  /** Position of the next hole at or after a position; the end of the file counts as one. Moves the file offset. */
  seekHole(fd: number, position: number): number;
  /** From now on the orphans among the descendants of this process become its children. */
  becomeSubreaper(): number;
}

/** `0`: never, as on a system that forbids them. `always`: also for few bytes. Both are for tests. */
const SETTING = process.env['PAGEPIPE_SYSCALLS'];
/** Loading koffi takes time, so it is worth it only beyond this many bytes. */
export const LOAD_AFTER_BYTES = SETTING === 'always' ? 0 : 32 * 1024 * 1024;
/** Capacity of a pipe for large amounts: the most that an unprivileged user may ask for. */
const LARGE_PIPE_BYTES = 1024 * 1024;

/** The two ends of a pipe. */
export interface Pipe {
  readonly from: number;
  readonly to: number;
}

/** A new pipe; undefined without system calls. */
export function openPipe(): Pipe | undefined {
  const ends = linux()?.pipe();
  return typeof ends === 'object' ? ends : undefined;
}

/** Gives a pipe its largest capacity. Does nothing for anything else. */
export function enlargePipe(fd: number): void {
  linux()?.setPipeSize(fd, LARGE_PIPE_BYTES);
}

/** Width of a terminal; undefined if it is not known. */
export function terminalColumns(fd: number): number | undefined {
  const size = Buffer.allocUnsafeSlow(WINSIZE_BYTES).fill(0);
  if (daemonCalls()?.ioctl(fd, TIOCGWINSZ, size) !== 0) return undefined;
  return new Uint16Array(size.buffer)[1] || undefined;
}

/**
 * What a daemon of lazy restores needs besides: descriptors over a socket, events of many descriptors, ioctl with a structure.
 * Buffers are passed as they are, so they must keep their place: those of `Buffer.allocUnsafeSlow` and typed arrays do.
 * A negative result is a negated errno.
 */
export interface DaemonCalls {
  /** Where a buffer is in the memory of this process. */
  addressOf(buffer: Uint8Array): number;
  ioctl(fd: number, request: number, argument: Uint8Array): number;
  /** Bytes read; -EAGAIN without an exception. */
  read(fd: number, buffer: Uint8Array): number;
  /** Reads from a position of a file to an address in this process. */
  readAt(fd: number, address: number, bytes: number, position: number): number;
  write(fd: number, bytes: Uint8Array): number;
  close(fd: number): number;
  eventfd(): number;
  epollCreate(): number;
  epollControl(epoll: number, operation: number, fd: number, event: Uint8Array): number;
  /** Number of events that were written to `events`. */
  epollWait(epoll: number, events: Uint8Array, most: number, milliseconds: number): number;
  /** The same in another thread, for a longer wait. */
  epollWaitAside(epoll: number, events: Uint8Array, most: number, milliseconds: number): Promise<number>;
  /** A non-blocking unix stream socket that listens. `address` is a `sockaddr_un`. */
  listenUnix(address: Uint8Array, backlog: number): number;
  accept(fd: number): number;
  /** `header` is a `msghdr`. Descriptors that come are closed at an exec. */
  receiveMessage(fd: number, header: Uint8Array): number;
  setSocketOption(fd: number, level: number, name: number, value: Uint8Array): number;
  /** From now on the other end cannot send. What it has sent can still be received. */
  shutdownReceiving(fd: number): number;
  pidfdOpen(pid: number): number;
  pidfdSendSignal(pidfd: number, signal: number): number;
}

const SPLICE_F_MOVE = 1;
const SPLICE_F_NONBLOCK = 2;
const F_SETPIPE_SZ = 1031;
const POLLIN = 1;
const POLLOUT = 4;
const SEEK_DATA = 3;
const SEEK_HOLE = 4;
const PR_SET_CHILD_SUBREAPER = 36;
/** Of most machines. Where it is another number, the call is refused. */
const FICLONERANGE = 0x4020940d;

/** Of most machines: where it is another number, the width is not known. It gives rows, columns and two more words. */
const TIOCGWINSZ = 0x5413;
const WINSIZE_BYTES = 8;

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SHUT_RD = 0;
/** SOCK_NONBLOCK | SOCK_CLOEXEC; EFD_* and EPOLL_CLOEXEC are the same numbers. */
const NONBLOCK_CLOEXEC = 0o2004000;
const CLOEXEC = 0o2000000;
const MSG_CMSG_CLOEXEC = 0x40000000;
/** The same on every machine that began after 2011, or was given later calls by common numbers. */
const SYS_PIDFD_SEND_SIGNAL = 424;
const SYS_PIDFD_OPEN = 434;

let loaded: Linux | null | undefined;
let loadedForDaemon: DaemonCalls | null | undefined;

/** The system calls; undefined if they are not available. */
export function linux(): Linux | undefined {
  loaded ??= withLibrary(copyingCalls);
  return loaded ?? undefined;
}

/** Those for a daemon; undefined if they are not available. */
export function daemonCalls(): DaemonCalls | undefined {
  loadedForDaemon ??= withLibrary(callsOfDaemon);
  return loadedForDaemon ?? undefined;
}

type Koffi = typeof import('koffi');
type Library = ReturnType<Koffi['load']>;

function withLibrary<T>(make: (library: Library, koffi: Koffi) => T): T | null {
  // The declarations need a long of 64 bits.
  if (process.platform !== 'linux' || !/64$|^s390x$/.test(process.arch) || SETTING === '0') return null;
  try {
    const koffi = createRequire(import.meta.url)('koffi') as Koffi;
    // The symbols of this process, and so of the C library that it is linked with.
    return make(koffi.load(null), koffi);
  } catch {
    return null;
  }
}

function copyingCalls(library: Library, koffi: Koffi): Linux {
  const copyFileRange = library.func('long copy_file_range(int, int64_t *, int, int64_t *, size_t, unsigned int)');
  const splice = library.func('long splice(int, int64_t *, int, int64_t *, size_t, unsigned int)');
  const poll = library.func('int poll(void *, unsigned long, int)');
  const pipe = library.func('int pipe2(int *, int)');
  const fcntl = library.func('int fcntl(int, int, int)');
  const lseek = library.func('long lseek(int, int64_t, int)');
  const syncfs = library.func('int syncfs(int)');
  const prctl = library.func('int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long)');
  const clone = library.func('int ioctl(int, unsigned long, void *)');
  /** A `file_clone_range`: descriptor, position, bytes, position in the other file. */
  const cloneArgument = new BigInt64Array(4);
  const fromAt = new BigInt64Array(1);
  const toAt = new BigInt64Array(1);
  const ends = new Int32Array(2);
  /** A `pollfd`: the descriptor, then what is waited for and what has happened, in 16 bits each. */
  const polled = new Int32Array(2);
  const awaited = new Int16Array(polled.buffer);
  const result = (value: number): number => (value < 0 ? -koffi.errno() : value);
  const wait = (fd: number, event: number, milliseconds: number): number => {
    polled[0] = fd;
    awaited[2] = event;
    return result(poll(polled, 1, milliseconds));
  };
  return {
    copyFileRange(fd, position, toFd, toPosition, bytes) {
      fromAt[0] = BigInt(position);
      if (toPosition !== undefined) toAt[0] = BigInt(toPosition);
      return result(copyFileRange(fd, fromAt, toFd, toPosition === undefined ? null : toAt, bytes, 0));
    },
    cloneRange(fd, position, toFd, toPosition, bytes) {
      for (const [i, value] of [fd, position, bytes, toPosition].entries()) cloneArgument[i] = BigInt(value);
      return result(clone(toFd, FICLONERANGE, cloneArgument));
    },
    syncFileSystem: (fd) =>
      new Promise((resolve) => syncfs.async(fd, (_error: unknown, value: number) => resolve(value))),
    splice: (from, to, bytes) => result(splice(from, null, to, null, bytes, SPLICE_F_MOVE)),
    spliceFrom(from, position, pipe, bytes) {
      fromAt[0] = BigInt(position);
      return result(splice(from, fromAt, pipe, null, bytes, SPLICE_F_MOVE));
    },
    spliceReady(pipe, to, toPosition, bytes) {
      toAt[0] = BigInt(toPosition);
      return result(splice(pipe, null, to, toAt, bytes, SPLICE_F_MOVE | SPLICE_F_NONBLOCK));
    },
    waitReadable: (fd, milliseconds) => wait(fd, POLLIN, milliseconds),
    waitWritable: (fd, milliseconds) => wait(fd, POLLOUT, milliseconds),
    pipe() {
      if (pipe(ends, CLOEXEC) !== 0) return -koffi.errno();
      const [from = 0, to = 0] = ends;
      return { from, to };
    },
    setPipeSize: (fd, bytes) => result(fcntl(fd, F_SETPIPE_SZ, bytes)),
    seekData: (fd, position) => result(lseek(fd, position, SEEK_DATA)),
    seekHole: (fd, position) => result(lseek(fd, position, SEEK_HOLE)),
    becomeSubreaper: () => result(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)),
  };
}

function callsOfDaemon(library: Library, koffi: Koffi): DaemonCalls {
  const ioctl = library.func('int ioctl(int, unsigned long, void *)');
  const read = library.func('long read(int, void *, size_t)');
  const pread = library.func('long pread(int, size_t, size_t, int64_t)');
  const write = library.func('long write(int, void *, size_t)');
  const close = library.func('int close(int)');
  const eventfd = library.func('int eventfd(unsigned int, int)');
  const epollCreate = library.func('int epoll_create1(int)');
  const epollControl = library.func('int epoll_ctl(int, int, int, void *)');
  const epollWait = library.func('int epoll_wait(int, void *, int, int)');
  const socket = library.func('int socket(int, int, int)');
  const bind = library.func('int bind(int, void *, unsigned int)');
  const listen = library.func('int listen(int, int)');
  const accept = library.func('int accept4(int, void *, void *, int)');
  const receive = library.func('long recvmsg(int, void *, int)');
  const setOption = library.func('int setsockopt(int, int, int, void *, unsigned int)');
  const shutdown = library.func('int shutdown(int, int)');
  const call = library.func('long syscall(long, long, long, long, long)');
  const result = (value: number): number => (value < 0 ? -koffi.errno() : value);
  return {
    addressOf: (buffer) => Number(koffi.address(buffer)),
    ioctl: (fd, request, argument) => result(ioctl(fd, request, argument)),
    read: (fd, buffer) => result(read(fd, buffer, buffer.length)),
    readAt: (fd, address, bytes, position) => result(pread(fd, address, bytes, position)),
    write: (fd, bytes) => result(write(fd, bytes, bytes.length)),
    close: (fd) => result(close(fd)),
    eventfd: () => result(eventfd(0, NONBLOCK_CLOEXEC)),
    epollCreate: () => result(epollCreate(CLOEXEC)),
    epollControl: (epoll, operation, fd, event) => result(epollControl(epoll, operation, fd, event)),
    epollWait: (epoll, events, most, milliseconds) => result(epollWait(epoll, events, most, milliseconds)),
    epollWaitAside: (epoll, events, most, milliseconds) =>
      new Promise((resolve, reject) => {
        epollWait.async(epoll, events, most, milliseconds, (error: Error | null, count: number) => {
          if (error) reject(error);
          // Only a signal ends the wait otherwise.
          else resolve(Math.max(count, 0));
        });
      }),
    listenUnix(address, backlog) {
      const fd = result(socket(AF_UNIX, SOCK_STREAM | NONBLOCK_CLOEXEC, 0));
      if (fd < 0) return fd;
      let done = result(bind(fd, address, address.length));
      if (done === 0) done = result(listen(fd, backlog));
      if (done < 0) close(fd);
      return done < 0 ? done : fd;
    },
    accept: (fd) => result(accept(fd, null, null, NONBLOCK_CLOEXEC)),
    receiveMessage: (fd, header) => result(receive(fd, header, MSG_CMSG_CLOEXEC)),
    setSocketOption: (fd, level, name, value) => result(setOption(fd, level, name, value, value.length)),
    shutdownReceiving: (fd) => result(shutdown(fd, SHUT_RD)),
    pidfdOpen: (pid) => result(call(SYS_PIDFD_OPEN, pid, 0, 0, 0)),
    pidfdSendSignal: (pidfd, signal) => result(call(SYS_PIDFD_SEND_SIGNAL, pidfd, signal, 0, 0)),
  };
}
