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
const SO_PEERCRED = 17;
const SCM_RIGHTS = 1;
/** `sun_path`, with its NUL. */
const MAX_PATH_BYTES = 108;
const BACKLOG = 128;

/** Descriptors in one message; the kernel allows 253. */
const MAX_DESCRIPTORS = 16;
const CONTROL_HEADER_BYTES = 16;
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

/** A connection. Bytes and descriptors come in the order in which they were sent. */
export class DescriptorSocket {
  private readonly buffer = Buffer.allocUnsafeSlow(BUFFER_BYTES);
  private readonly control = Buffer.allocUnsafeSlow(CONTROL_HEADER_BYTES + 4 * MAX_DESCRIPTORS);
  /** iovec and msghdr. */
  private readonly header = Buffer.allocUnsafeSlow(16 + 56);

  constructor(
    readonly fd: number,
    private readonly calls: DaemonCalls,
  ) {}

  /**
   * Receives once. One message never has bytes from behind a descriptor that comes later.
   * @returns undefined if nothing waits; no bytes at the end
   * @throws {DumpError} SYSTEM
   */
  receive(): { bytes: Uint8Array; descriptors: number[] } | undefined {
    const { buffer, control, header, calls } = this;
    header.fill(0);
    writeNumbers(header, 0, calls.addressOf(buffer), buffer.length);
    const message = header.subarray(16);
    writeNumbers(message, 16, calls.addressOf(header), 1, calls.addressOf(control), control.length);
    const count = calls.receiveMessage(this.fd, message);
    if (count === -EAGAIN || count === -EINTR) return undefined;
    const bytes = buffer.subarray(0, checked(count, 'recvmsg'));
    const controlBytes = Number(message.readBigUInt64LE(40));
    return { bytes, descriptors: descriptorsIn(control.subarray(0, controlBytes)) };
  }

  /** The pid of the process that connected, as it is seen here; 0 if it is not. */
  peerPid(): number {
    const credentials = Buffer.allocUnsafeSlow(12).fill(0);
    const length = Buffer.from(new Uint32Array([credentials.length]).buffer);
    const done = this.calls.getSocketOption(this.fd, SOL_SOCKET, SO_PEERCRED, credentials, length);
    return done < 0 ? 0 : credentials.readInt32LE(0);
  }

  close(): void {
    this.calls.close(this.fd);
  }
}

const writeNumbers = (buffer: Buffer, at: number, ...numbers: number[]): void =>
  numbers.forEach((number, i) => void buffer.writeBigUInt64LE(BigInt(number), at + 8 * i));

function descriptorsIn(control: Buffer): number[] {
  const descriptors: number[] = [];
  for (let at = 0; at + CONTROL_HEADER_BYTES <= control.length; ) {
    const length = Number(control.readBigUInt64LE(at));
    if (length < CONTROL_HEADER_BYTES) break;
    const isRights = control.readInt32LE(at + 8) === SOL_SOCKET && control.readInt32LE(at + 12) === SCM_RIGHTS;
    const end = Math.min(at + length, control.length);
    for (let data = at + CONTROL_HEADER_BYTES; isRights && data + 4 <= end; data += 4) {
      descriptors.push(control.readInt32LE(data));
    }
    at += Math.ceil(length / 8) * 8;
  }
  return descriptors;
}
