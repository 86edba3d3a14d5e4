/**
 * One client of the page server: its requests are answered in order, from positioned reads.
 *
 * One piece is read while the one before it waits for the client, and no third one is read before the kernel has the
 * first. So a client costs two buffers, however much it asks for and however slowly it takes it.
 */
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
import { DirectSocket } from '../io/direct-socket.js';
import { PE_PRESENT } from '../memory/runs.js';
import type { PageSpan } from '../memory/space.js';
import { counted } from '../printable.js';
import {
  COMMAND,
  commandName,
  type Message,
  type MessageForm,
  MessageReader,
  putMessage,
} from '../protocol/page-server.js';
import type { DumpMemory } from './memory.js';
import { ClientStats } from './stats.js';

/** Read and written at a time. Larger pieces cost less CPU time, but memory for every client. */
const PIECE_BYTES = 512 * 1024;
/** The largest answer, which may be less than was asked for. CRIU asks for 4 MiB at most. */
const MAX_ANSWER_BYTES = 64 * 1024 * 1024;
/** The longer message form. */
const HEADER_BYTES = 32;

/** A request that cannot be answered: the connection ends, others go on. */
class RequestError extends Error {
  override readonly name = 'RequestError';
}

export interface SessionObserver {
  /** The first message is here. */
  began?(): void;
  /** A GET was answered. */
  answered?(request: Message, pages: number, milliseconds: number): void;
}

export class Session {
  readonly stats = new ClientStats();
  private buffer = Buffer.alloc(0);
  /** The buffer that is being written, until {@link inFlight} resolves. */
  private other = Buffer.alloc(0);
  private inFlight: Promise<void> = Promise.resolve();
  private hasBegun = false;
  private readonly reader: MessageReader;
  /**
   * CRIU reads the header of an answer, and waits for the socket before it reads the pages: if both are in one record of
   * TLS, it has the pages already and waits forever. So they go in separate records. Measured with CRIU 4.1.1 and 4.2.1.
   */
  private readonly isTls: boolean;

  constructor(
    private readonly memory: DumpMemory,
    private readonly stream: Duplex,
    private readonly observer: SessionObserver = {},
  ) {
    this.reader = new MessageReader((message) => this.isPlausible(message));
    this.isTls = stream instanceof TLSSocket;
  }

  /**
   * Serves until the client says CLOSE (true) or leaves without it (false).
   * @throws {RequestError} for a request that cannot be answered
   * @throws {DumpError} for a dump that cannot be read
   */
  async run(): Promise<boolean> {
    const { reader, stream } = this;
    const isClosed =
      stream instanceof DirectSocket ? await stream.drain((chunk) => this.take(chunk)) : await this.iterate(stream);
    if (isClosed) return true;
    await this.inFlight;
    if (reader.pending > 0) throw new RequestError(`${reader.pending} bytes of a message, then the end`);
    return false;
  }

  private async iterate(stream: Duplex): Promise<boolean> {
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      if (await this.take(chunk as Buffer)) return true;
    }
    return false;
  }

  /** Answers the messages that are complete now: true if one was the last, a promise if the client has to take something first. */
  private take(chunk: Uint8Array): boolean | Promise<boolean> {
    this.reader.push(chunk);
    for (let message = this.next(); message; message = this.next()) {
      const isLast = this.answer(message);
      if (typeof isLast === 'boolean') {
        if (isLast) return true;
      } else {
        return this.takeRest(isLast);
      }
    }
    return false;
  }

  private async takeRest(isLast: Promise<boolean>): Promise<boolean> {
    if (await isLast) return true;
    for (let message = this.next(); message; message = this.next()) {
      if (await this.answer(message)) return true;
    }
    return false;
  }

  private next(): Message | undefined {
    const message = this.reader.next();
    if (message && !this.hasBegun) {
      this.hasBegun = true;
      this.observer.began?.();
    }
    return message;
  }

  /** Of all messages once there is one. */
  private get form(): MessageForm {
    return this.reader.form as MessageForm;
  }

  /** Whether a first message makes sense. An error here appears again when the message is answered. */
  private isPlausible({ command, pages, vaddr, dstId }: Message): boolean {
    if (command === COMMAND.CLOSE || command === COMMAND.FORCE_CLOSE) return vaddr === 0n && dstId === 0n;
    if (command !== COMMAND.GET || pages < 1 || !this.memory.has(Number(dstId))) return false;
    try {
      return this.locate(vaddr, Number(dstId), 1).length > 0;
    } catch {
      return true;
    }
  }

  /** Answers a message; true if it was the last. */
  private answer(message: Message): boolean | Promise<boolean> {
    switch (message.command) {
      case COMMAND.GET:
        return this.get(message);
      case COMMAND.CLOSE:
      case COMMAND.FORCE_CLOSE:
        return this.close();
      default:
        throw new RequestError(`a command that is not for lazy pages: ${commandName(message.command)}`);
    }
  }

  private async close(): Promise<true> {
    this.room(4).fill(0, 0, 4);
    await this.write(4);
    await this.inFlight;
    return true;
  }

  private get(message: Message): false | Promise<false> {
    const begun = performance.now();
    const filled = this.fillPlain(message);
    if (filled > 0) {
      const written = this.writeAtOnce(filled);
      if (written === filled) return this.answered(message, message.pages, begun);
      return this.write(filled, written).then(() => this.answered(message, message.pages, begun));
    }
    const most = Math.min(message.pages, MAX_ANSWER_BYTES / this.memory.pageSize);
    const segments = this.locate(message.vaddr, Number(message.dstId), most);
    let pages = 0;
    for (const segment of segments) pages += segment.pages;
    if (pages === 0) return this.refuse(message);
    const pieces = this.pieces(message, segments, pages);
    // Not `for of`, which ends what it is left with.
    for (let piece = pieces.next(); !piece.done; piece = pieces.next()) {
      const written = this.writeAtOnce(piece.value);
      if (written < piece.value) {
        return this.writeRest(pieces, piece.value, written).then(() => this.answered(message, pages, begun));
      }
    }
    return this.answered(message, pages, begun);
  }

  private answered(message: Message, pages: number, begun: number): false {
    const milliseconds = performance.now() - begun;
    this.stats.add(message.pages, pages, pages * this.memory.pageSize, milliseconds);
    this.observer.answered?.(message, pages, milliseconds);
    return false;
  }

  /**
   * Fills the buffer with an answer of one piece, whose pages follow each other in a file. Faults ask for such pages, one
   * after the other. A generator and objects for each would take longer than reading it, and far longer until V8 has
   * compiled the code.
   * @returns its bytes; 0 if the answer is any other
   */
  private fillPlain(message: Message): number {
    const { pages, vaddr, dstId } = message;
    const { pageSize } = this.memory;
    const bytes = pages * pageSize;
    const address = Number(vaddr);
    if (this.isTls || pages < 1 || bytes > PIECE_BYTES) return 0;
    if (!Number.isSafeInteger(address) || address % pageSize !== 0) return 0;
    const space = this.memory.space(Number(dstId));
    const position = space?.positionOf(address / pageSize, pages) ?? -1;
    if (!space || position < 0) return 0;
    const buffer = this.room(this.form + bytes);
    const start = this.putHeader(message, pages);
    space.file.read(buffer.subarray(start, start + bytes), position);
    return start + bytes;
  }

  /** CRIU's own server ends a session like this. */
  private async refuse(message: Message): Promise<never> {
    await this.write(this.putHeader(message, 0));
    await this.inFlight;
    throw new RequestError(`${describe(message)}: ${this.why(message)}`);
  }

  /** Fills the buffer with an answer, piece after piece, and gives the bytes of each. */
  private *pieces(message: Message, segments: readonly PageSpan[], pages: number): Generator<number, void> {
    const { pageSize } = this.memory;
    const pid = Number(message.dstId);
    const capacity = this.form + Math.min(pages * pageSize, Math.max(PIECE_BYTES, pageSize));
    this.room(capacity);
    let filled = this.putHeader(message, pages);
    if (this.isTls) {
      yield filled;
      this.room(capacity);
      filled = 0;
    }
    for (const segment of segments) {
      for (let done = 0; done < segment.pages; ) {
        const count = Math.min(segment.pages - done, Math.floor((capacity - filled) / pageSize));
        const bytes = this.buffer.subarray(filled, filled + count * pageSize);
        if (segment.at) this.memory.space(pid)?.fill(bytes, segment.pageNumber + done, segment.at);
        done += count;
        filled += bytes.length;
        if (capacity - filled >= pageSize) continue;
        yield filled;
        this.room(capacity);
        filled = 0;
      }
    }
    if (filled > 0) yield filled;
  }

  /** Puts the header of an answer into the buffer. Returns its bytes. */
  private putHeader({ vaddr, dstId }: Message, pages: number): number {
    putMessage(this.room(this.form), { command: COMMAND.ADD_F, flags: PE_PRESENT, pages, vaddr, dstId }, this.form);
    return this.form;
  }

  /** The stored pages at the start of a range; none if its address is not that of a page. */
  private locate(vaddr: bigint, pid: number, most: number): PageSpan[] {
    const pageBytes = BigInt(this.memory.pageSize);
    return vaddr % pageBytes === 0n ? this.memory.storedAt(pid, Number(vaddr / pageBytes), most) : [];
  }

  private why({ vaddr, dstId, pages }: Message): string {
    if (!this.memory.has(Number(dstId))) return 'no such process in the dump';
    if (vaddr % BigInt(this.memory.pageSize) !== 0n) return `not aligned to ${this.memory.pageSize} bytes`;
    return pages < 1 ? 'no pages asked for' : 'no such page in the dump';
  }

  /** The buffer, with room for `bytes`: single pages need little. */
  private room(bytes: number): Buffer {
    if (this.buffer.length < bytes) this.buffer = Buffer.allocUnsafeSlow(Math.max(bytes, HEADER_BYTES));
    return this.buffer;
  }

  /** Writes what the kernel takes at once of the first bytes of the buffer. Returns the number of bytes. */
  private writeAtOnce(bytes: number): number {
    const { stream, buffer } = this;
    return stream instanceof DirectSocket ? stream.writeAtOnce(buffer, bytes) : 0;
  }

  /** Writes the rest of the buffer, and the pieces that follow. */
  private async writeRest(pieces: Generator<number, void>, bytes: number, written: number): Promise<void> {
    await this.write(bytes, written);
    for (const next of pieces) await this.write(next);
  }

  /** Writes bytes of the buffer, and switches to the other one, which is free when this resolves. */
  private async write(bytes: number, from = 0): Promise<void> {
    const { buffer } = this;
    await this.inFlight;
    this.inFlight = new Promise((resolve, reject) => {
      this.stream.write(buffer.subarray(from, bytes), (error) => (error ? reject(error) : resolve()));
    });
    // The next write, or the final wait, sees the rejection.
    this.inFlight.catch(() => {});
    this.buffer = this.other;
    this.other = buffer;
  }
}

/** A request, for the log. */
const describe = ({ command, pages, vaddr, dstId }: Message): string =>
  `${commandName(command)} of ${counted(pages, 'page')} at 0x${vaddr.toString(16)} of pid ${dstId}`;
