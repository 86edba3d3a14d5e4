/**
 * The client's end of CRIU's page-server protocol, put together by hand: shares no code with what is under test.
 *
 *     const client = new PageClient(connect(port), 32);
 *     client.get(15, 0x10000n, 4);
 *     await client.answer();     // { command, flags, pages, vaddr, dstId, bytes }
 *     await client.close();      // the status, 0
 */
import { connect, type Socket } from 'node:net';
import { Duplex, type Readable, type Writable } from 'node:stream';
import { onTestFinished } from 'vitest';

/** Bytes of a message. */
export type Form = 24 | 32;
export const FORMS = [24, 32] as const;

export const GET = 7;
export const ADD_F = 6;
export const CLOSE = 0x1023;
export const FORCE_CLOSE = 0x1024;
export const PE_PRESENT = 4;

export interface Fields {
  command: number;
  flags?: number;
  pages?: number | bigint;
  vaddr?: bigint;
  dstId?: number | bigint;
  /** Of the longer form. */
  padding?: number;
}

export function message(form: Form, fields: Fields): Buffer {
  const { command, flags = 0, pages = 0, vaddr = 0n, dstId = 0, padding = 0 } = fields;
  const bytes = Buffer.alloc(form);
  bytes.writeUInt16LE(command, 0);
  bytes.writeUInt16LE(flags, 2);
  if (form === 24) {
    bytes.writeUInt32LE(Number(pages), 4);
    bytes.writeBigUInt64LE(vaddr, 8);
    bytes.writeBigUInt64LE(BigInt(dstId), 16);
  } else {
    bytes.writeUInt32LE(padding, 4);
    bytes.writeBigUInt64LE(BigInt(pages), 8);
    bytes.writeBigUInt64LE(vaddr, 16);
    bytes.writeBigUInt64LE(BigInt(dstId), 24);
  }
  return bytes;
}

export interface Answer {
  command: number;
  flags: number;
  pages: number;
  vaddr: bigint;
  dstId: number;
  bytes: Buffer;
}

export class PageClient {
  private readonly input: Readable;
  private readonly output: Writable;

  /** @param stream a socket, or the two ends of a process */
  constructor(
    stream: Duplex | { stdout: Readable; stdin: Writable },
    readonly form: Form = 32,
    readonly pageSize = 4096,
  ) {
    this.input = 'stdout' in stream ? stream.stdout : stream;
    this.output = 'stdin' in stream ? stream.stdin : stream;
    for (const end of [this.input, this.output]) end.on('error', () => {});
  }

  send(fields: Fields): void {
    this.output.write(message(this.form, fields));
  }

  get(pid: number, vaddr: bigint, pages: number | bigint): void {
    this.send({ command: GET, pages, vaddr, dstId: pid });
  }

  /** The next answer with its pages; undefined at the end. Throws if it ends inside an answer. */
  async answer(): Promise<Answer | undefined> {
    const header = await this.read(this.form);
    if (header.length === 0) return undefined;
    if (header.length < this.form) throw new Error(`an answer of ${header.length} bytes`);
    const pages = this.form === 24 ? header.readUInt32LE(4) : Number(header.readBigUInt64LE(8));
    const bytes = await this.read(pages * this.pageSize);
    if (bytes.length < pages * this.pageSize) throw new Error(`the end after ${bytes.length} bytes of ${pages} pages`);
    return {
      command: header.readUInt16LE(0),
      flags: header.readUInt16LE(2),
      pages,
      vaddr: header.readBigUInt64LE(this.form - 16),
      dstId: Number(header.readBigUInt64LE(this.form - 8)),
      bytes,
    };
  }

  /** Ends the session as CRIU does; resolves to the status. */
  async close(): Promise<number> {
    this.send({ command: CLOSE });
    const status = await this.read(4);
    if (status.length < 4) throw new Error(`a status of ${status.length} bytes`);
    this.output.end();
    return status.readUInt32LE(0);
  }

  /** So many bytes, fewer at the end. */
  async read(count: number): Promise<Buffer> {
    const { input } = this;
    const parts: Buffer[] = [];
    let left = count;
    while (left > 0) {
      // Small portions: what is asked for at once must fit the buffer of the stream.
      const part = input.read(Math.min(left, input.readableLength || left)) as Buffer | null;
      if (part) {
        parts.push(part);
        left -= part.length;
      } else if (input.readableEnded || input.destroyed) {
        // Who is sent away goes.
        this.output.end();
        break;
      } else {
        await readableOrEnd(input);
      }
    }
    return Buffer.concat(parts);
  }

  /** Resolves when the other side has ended; to what it sent before. */
  async rest(): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (let part = await this.read(65536); part.length > 0; part = await this.read(65536)) parts.push(part);
    return Buffer.concat(parts);
  }
}

const readableOrEnd = (stream: Readable): Promise<void> =>
  new Promise((resolve) => {
    const events = ['readable', 'end', 'close', 'error'];
    const done = () => {
      for (const event of events) stream.off(event, done);
      resolve();
    };
    for (const event of events) stream.on(event, done);
  });

/** A connection that ends with the test. */
export function connection(port: number): Socket {
  const socket = connect({ port, host: '127.0.0.1', allowHalfOpen: true, noDelay: true });
  socket.on('error', () => {});
  onTestFinished(() => {
    socket.destroy();
  });
  return socket;
}

/**
 * A stream for a session without a network. What the session writes is looked at only when it is taken, as a kernel does
 * it that has no room at the moment; while `held`, nothing is taken.
 */
export class Wire extends Duplex {
  readonly taken: Buffer[] = [];
  private waiting: (() => void) | undefined;
  private isHeld = false;
  private readonly watchers = new Set<() => void>();

  override _read(): void {}

  override _write(chunk: Buffer, _encoding: string, done: () => void): void {
    const take = () => {
      this.taken.push(Buffer.from(chunk));
      done();
      this.changed();
    };
    if (!this.isHeld) {
      setImmediate(take);
      return;
    }
    this.waiting = take;
    this.changed();
  }

  /** What the client sends. */
  receive(bytes: Uint8Array): void {
    this.push(Buffer.from(bytes));
  }

  hold(): void {
    this.isHeld = true;
  }

  /** Resolves when the session waits for what is held. */
  stalled(): Promise<void> {
    return this.until(() => this.waiting !== undefined);
  }

  /** Resolves when so many bytes were taken. */
  hasTaken(count: number): Promise<void> {
    return this.until(() => this.bytesTaken >= count);
  }

  get bytesTaken(): number {
    return this.taken.reduce((sum, { length }) => sum + length, 0);
  }

  release(): void {
    this.isHeld = false;
    const { waiting } = this;
    this.waiting = undefined;
    waiting?.();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.taken);
  }

  private changed(): void {
    for (const watcher of this.watchers) watcher();
  }

  private until(condition: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const check = () => {
        if (!condition()) return;
        this.watchers.delete(check);
        resolve();
      };
      this.watchers.add(check);
      check();
    });
  }
}

/** The answers in what a session has sent, and what is left over, such as a status. */
export function takeAnswers(sent: Buffer, form: Form, pageSize = 4096): { answers: Answer[]; rest: Buffer } {
  const answers: Answer[] = [];
  let at = 0;
  while (sent.length - at >= form) {
    const pages = form === 24 ? sent.readUInt32LE(at + 4) : Number(sent.readBigUInt64LE(at + 8));
    const start = at + form;
    const bytes = sent.subarray(start, start + pages * pageSize);
    if (bytes.length < pages * pageSize) throw new Error(`the end after ${bytes.length} bytes of ${pages} pages`);
    answers.push({
      command: sent.readUInt16LE(at),
      flags: sent.readUInt16LE(at + 2),
      pages,
      vaddr: sent.readBigUInt64LE(start - 16),
      dstId: Number(sent.readBigUInt64LE(start - 8)),
      bytes,
    });
    at = start + bytes.length;
  }
  return { answers, rest: sent.subarray(at) };
}
