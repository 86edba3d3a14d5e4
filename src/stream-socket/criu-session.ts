/** A socket at which CRIU finds its streamer, and the one connection that it makes. */
import { fstatSync } from 'node:fs';
import type { Socket } from 'node:net';
import { DumpError, isErrno } from '../errors.js';
import { DescriptorConnection, type ReceivedDescriptor } from './descriptors.js';
import { PrivateSocket } from './private-socket.js';
import { encodeReply, RequestDecoder } from './protocol.js';

export interface CriuObserver {
  /** Whether CRIU's descriptor for a file is wanted. */
  wants(name: string): boolean;
  /** Whether CRIU is told so. */
  replies?: boolean;
  /** @param pipe that the bytes of the file go through */
  file(name: string, pipe: ReceivedDescriptor): void;
  /** CRIU has closed its connection. */
  ended(): void;
  failed(error: unknown): void;
  warn(message: string): void;
}

export class CriuSession {
  private readonly decoder: RequestDecoder;
  private connection: DescriptorConnection | undefined;
  private socket: PrivateSocket | undefined;

  private constructor(private readonly observer: CriuObserver) {
    this.decoder = new RequestDecoder((name) => {
      const wanted = observer.wants(name);
      if (observer.replies) this.reply(wanted);
      return wanted;
    });
  }

  /** Listens in the images directory. Throws {@link DumpError} BAD_NAME, OUTPUT_EXISTS, SYSTEM. */
  static async listen(directory: string, name: string, observer: CriuObserver): Promise<CriuSession> {
    const session = new CriuSession(observer);
    session.socket = await PrivateSocket.listen(directory, name, (socket) => session.accept(socket));
    return session;
  }

  /** Path of the socket. */
  get path(): string {
    return this.socket?.path ?? '';
  }

  /** Whether CRIU has connected. */
  get hasBegun(): boolean {
    return this.connection !== undefined;
  }

  /** Closes the socket and the connection, but no pipe. */
  close(): void {
    this.socket?.close();
    this.connection?.close();
  }

  private reply(exists: boolean): void {
    try {
      this.connection?.send(encodeReply(exists));
    } catch (error) {
      if (!isErrno((error as Error).cause, 'EPIPE')) throw error;
      throw endedInside();
    }
  }

  private accept(socket: Socket): void {
    if (this.connection) {
      this.observer.warn('a second connection was refused: CRIU makes one');
      socket.destroy();
      return;
    }
    this.connection = new DescriptorConnection(socket, {
      received: (bytes, descriptor) => this.take(bytes, descriptor),
      ended: () => this.end(),
      failed: (error) => this.observer.failed(error),
    });
  }

  private take(bytes: Uint8Array, descriptor: ReceivedDescriptor | undefined): void {
    try {
      const [name, another] = this.decoder.push(bytes);
      if ((name === undefined) !== (descriptor === undefined) || another !== undefined) {
        throw protocolError('a file was announced without its descriptor, or a descriptor came without a file');
      }
      if (name === undefined || !descriptor) return;
      if (!fstatSync(descriptor.fd).isFIFO()) throw protocolError('the descriptor of a file is not a pipe');
      this.observer.file(name, descriptor);
    } catch (error) {
      descriptor?.close();
      throw error;
    }
  }

  private end(): void {
    if (this.decoder.isBetweenRequests) this.observer.ended();
    else this.observer.failed(endedInside());
  }
}

const endedInside = (): DumpError => protocolError('the connection ended inside a request');

const protocolError = (what: string): DumpError => new DumpError('PROTOCOL', what, { file: 'criu' });
