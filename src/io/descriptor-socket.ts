/**
 * Unix sockets over which descriptors come (SCM_RIGHTS), which Node does not give.
 *
 * Source: unix(7), recvmsg(2), cmsg(3). The structures are those of 64-bit machines, little endian.
 */
import { closeSync, lstatSync, openSync, unlinkSync } from 'node:fs';
import { constants } from 'node:os';
import { basename, dirname } from 'node:path';
import { DumpError, onFile } from '../errors.js';
import type { DaemonCalls } from './linux.js';
import { checked } from './poller.js';

const { EAGAIN, EINTR } = constants.errno;

const AF_UNIX = 1;
const SOL_SOCKET = 1;
const SO_PASSCRED = 16;
const SCM_RIGHTS = 1;
const SCM_CREDENTIALS = 2;
/** `sun_path`, with its NUL. */
const MAX_PATH_BYTES = 108;
const BACKLOG = 128;

/** Descriptors in one message; the kernel allows 253. */
const MAX_DESCRIPTORS = 16;
const CONTROL_HEADER_BYTES = 16;
/** Of a message with credentials. */
const CREDENTIALS_BYTES = CONTROL_HEADER_BYTES + 16;
const BUFFER_BYTES = 4096;

/** A socket that listens at a path. A socket that is left there is removed first; anything else is not. */
export class DescriptorListener {
  readonly fd: number;

  /** Throws {@link DumpError} OUTPUT_EXISTS, SYSTEM. */
  constructor(
    private readonly path: string,
    private readonly calls: DaemonCalls,
  ) {
    const old = onFile(path, () => lstatSync(path, { throwIfNoEntry: false }));
    if (old && !old.isSocket()) {
      throw new DumpError('OUTPUT_EXISTS', 'expected no file or a socket, found another file', { file: path });
    }
    if (old) onFile(path, () => unlinkSync(path));
    const directory = onFile(dirname(path), () => openSync(dirname(path), O_PATH));
    try {
      // A path of any length.
      const short = `/proc/self/fd/${directory}/${basename(path)}`;
      this.fd = onFile(path, () => checked(calls.listenUnix(socketAddress(short), BACKLOG), path));
      passCredentials(this.fd, calls);
    } finally {
      closeSync(directory);
    }
  }

  /** The next connection; undefined if none waits. */
  accept(): DescriptorSocket | undefined {
    const fd = this.calls.accept(this.fd);
    return fd < 0 ? undefined : new DescriptorSocket(fd, this.calls);
  }

  /** Removes the socket, too. */
  close(): void {
    this.calls.close(this.fd);
    try {
      unlinkSync(this.path);
    } catch {
      // It has been removed, or replaced by another daemon's, which is not ours to remove.
    }
  }
}

const O_PATH = 0o10000000;

function socketAddress(path: string): Buffer {
  const bytes = Buffer.from(path);
  if (bytes.length >= MAX_PATH_BYTES)
    throw new DumpError('BAD_NAME', 'the name is too long for a socket', { file: path });
  const address = Buffer.allocUnsafeSlow(2 + bytes.length + 1).fill(0);
  new Uint16Array(address.buffer, address.byteOffset, 1)[0] = AF_UNIX;
  bytes.copy(address, 2);
  return address;
}

/** What came at once. */
export interface Received {
  bytes: Uint8Array;
  descriptors: number[];
  /** The process that has sent it, as it is seen here; 0 if it is not visible. */
  pid: number;
}

/** A connection. Bytes and descriptors come in the order in which they were sent. */
export class DescriptorSocket {
  private readonly buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private readonly control = Buffer.allocUnsafeSlow(CREDENTIALS_BYTES + CONTROL_HEADER_BYTES + 4 * MAX_DESCRIPTORS);
  /** iovec and msghdr. */
  private readonly header = Buffer.allocUnsafeSlow(16 + 56);

  constructor(
    readonly fd: number,
    private readonly calls: DaemonCalls,
  ) {
    passCredentials(fd, calls);
  }

  /**
   * Receives once: bytes of one sender, none from behind a descriptor that comes later.
   * @returns undefined if nothing waits; no bytes at the end
   * @throws {DumpError} SYSTEM
   */
  receive(): Received | undefined {
    const { buffer, control, header, calls } = this;
    header.fill(0);
    writeNumbers(header, 0, calls.addressOf(buffer), buffer.length);
    const message = header.subarray(16);
    writeNumbers(message, 16, calls.addressOf(header), 1, calls.addressOf(control), control.length);
    const count = calls.receiveMessage(this.fd, message);
    if (count === -EAGAIN || count === -EINTR) return undefined;
    const bytes = buffer.subarray(0, checked(count, 'recvmsg'));
    const controlBytes = Number(message.readBigUInt64LE(40));
    return { bytes, ...controlOf(control.subarray(0, controlBytes)) };
  }

  /** The other end can send no more, and is told so when it tries. What it has sent before is received first. */
  refuseMore(): void {
    this.calls.shutdownReceiving(this.fd);
  }

  close(): void {
    this.calls.close(this.fd);
  }
}

const writeNumbers = (buffer: Buffer, at: number, ...numbers: number[]): void =>
  numbers.forEach((number, i) => void buffer.writeBigUInt64LE(BigInt(number), at + 8 * i));

/** Asks for the pid of each sender. */
const passCredentials = (fd: number, calls: DaemonCalls): void =>
  void calls.setSocketOption(fd, SOL_SOCKET, SO_PASSCRED, Buffer.from(new Int32Array([1]).buffer));

function controlOf(control: Buffer): Pick<Received, 'descriptors' | 'pid'> {
  const descriptors: number[] = [];
  let pid = 0;
  for (let at = 0; at + CONTROL_HEADER_BYTES <= control.length; ) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < CONTROL_HEADER_BYTES) break;
    const type = control.readInt32LE(at + 8) === SOL_SOCKET ? control.readInt32LE(at + 12) : 0;
    const data = at + CONTROL_HEADER_BYTES;
    const end = Math.min(at + length, control.length);
    if (type === SCM_CREDENTIALS && data + 4 <= end) pid = control.readInt32LE(data);
    for (let i = data; type === SCM_RIGHTS && i + 4 <= end; i += 4) descriptors.push(control.readInt32LE(i));
    at += Math.ceil(length / 8) * 8;
  }
  return { descriptors, pid };
}
