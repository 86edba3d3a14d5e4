/**
 * Descriptors over a unix socket (SCM_RIGHTS), by the handle with which Node passes handles between its own processes: its
 * class for pipes, in the mode for that. It is there without any addon, though it is no public interface. Tested with Node 20.
 *
 * A receive ends with each descriptor. So a descriptor belongs to the last byte of what came, and a read is short although
 * more waits: the handle takes a short read and a peer that has closed for the end. Reading goes on until an end comes
 * without bytes before it, or cannot go on: a peer that was killed before it had read an answer has reset the connection.
 *
 * Node ends the process if a peer sends anything but pipes and sockets. So only sockets that are private may be listened at.
 */
import { writeSync } from 'node:fs';
import type { Socket } from 'node:net';
import { onFile } from '../errors.js';

/** Node's handle of a pipe or a unix socket, as far as it is used here. */
interface Handle {
  readonly fd: number;
  onread: ((this: Handle, bytes: ArrayBuffer | undefined) => void) | undefined;
  /** A descriptor that came with the bytes. */
  pendingHandle?: Handle | null | undefined;
  open(fd: number): unknown;
  /** Returns the number of an error; 0 if there is none. */
  readStart(): number;
  readStop(): unknown;
  close(): void;
}

/** `Pipe.IPC`: a handle that receives others. */
const IPC = 2;

/** A descriptor that was received. Its owner closes it. */
export interface ReceivedDescriptor {
  readonly fd: number;
  close(): void;
}

export interface DescriptorObserver {
  /** @param descriptor that came with the last of the bytes */
  received(bytes: Uint8Array, descriptor: ReceivedDescriptor | undefined): void;
  /** The peer has closed. */
  ended(): void;
  /** A call of the observer has thrown. The connection is closed. */
  failed(error: unknown): void;
}

/** A connection over which descriptors come. */
export class DescriptorConnection {
  private readonly handle: Handle;
  private hasNew = false;
  private isOpen = true;

  /** @param socket of a server with `pauseOnConnect`; its descriptor is taken over */
  constructor(
    socket: Socket,
    private readonly observer: DescriptorObserver,
  ) {
    const plain = (socket as unknown as { _handle: Handle })._handle;
    // The socket keeps its handle, which nobody reads: if both were closed, the second would close another file.
    const Pipe = plain.constructor as new (mode: number) => Handle;
    this.handle = new Pipe(IPC);
    this.handle.open(plain.fd);
    const take = (bytes: ArrayBuffer | undefined) => this.take(bytes);
    this.handle.onread = take;
    this.handle.readStart();
  }

  /** Sends a few bytes. Throws {@link DumpError} SYSTEM. */
  send(bytes: Uint8Array): void {
    onFile('criu', () => writeSync(this.handle.fd, bytes));
  }

  close(): void {
    if (!this.isOpen) return;
    this.isOpen = false;
    this.handle.readStop();
    this.handle.close();
  }

  private take(bytes: ArrayBuffer | undefined): void {
    const descriptor = this.handle.pendingHandle ?? undefined;
    this.handle.pendingHandle = null;
    try {
      if (bytes) {
        this.hasNew = true;
        this.observer.received(new Uint8Array(bytes), descriptor);
      } else if (this.hasNew && this.handle.readStart() === 0) {
        this.hasNew = false;
      } else {
        this.close();
        this.observer.ended();
      }
    } catch (error) {
      this.close();
      this.observer.failed(error);
    }
  }
}
