/**
 * One client of the page server: its requests are answered in order, from positioned reads.
 *
 * One piece is read while the one before it waits for the client, and no third one is read before the kernel has the
 * first. So a client costs two buffers, however much it asks for and however slowly it takes it.
 */
import type { Duplex } from 'node:stream';
import { TLSSocket } from 'node:tls';
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
    let isFirst = true;
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) {
      reader.push(chunk as Buffer);
      for (let message = reader.next(); message; message = reader.next()) {
        if (isFirst) this.observer.began?.();
        isFirst = false;
        if (await this.answer(message, reader.form as MessageForm)) return true;
      }
    }
    await this.inFlight;
    if (reader.pending > 0) throw new RequestError(`${reader.pending} bytes of a message, then the end`);
    return false;
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
  private async answer(message: Message, form: MessageForm): Promise<boolean> {
    switch (message.command) {
      case COMMAND.GET:
        await this.get(message, form);
        return false;
      case COMMAND.CLOSE:
      case COMMAND.FORCE_CLOSE:
        this.room(4).fill(0, 0, 4);
        await this.write(4);
        await this.inFlight;
        return true;
      default:
        throw new RequestError(`a command that is not for lazy pages: ${commandName(message.command)}`);
    }
  }

  private async get(message: Message, form: MessageForm): Promise<void> {
    const begun = performance.now();
    const { pageSize } = this.memory;
    const most = Math.min(message.pages, MAX_ANSWER_BYTES / pageSize);
    const segments = this.locate(message.vaddr, Number(message.dstId), most);
    const pages = segments.reduce((sum, segment) => sum + segment.pages, 0);
    const header = { ...message, command: COMMAND.ADD_F, flags: PE_PRESENT, pages };
    if (pages === 0) {
      // CRIU's own server ends a session like this.
      putMessage(this.room(form), header, form);
      await this.write(form);
      await this.inFlight;
      throw new RequestError(`${describe(message)}: ${this.why(message)}`);
    }
    const capacity = form + Math.min(pages * pageSize, Math.max(PIECE_BYTES, pageSize));
    putMessage(this.room(capacity), header, form);
    let filled: number = form;
    if (this.isTls) {
      await this.write(form);
      this.room(capacity);
      filled = 0;
    }
    for (const segment of segments) {
      for (let done = 0; done < segment.pages; ) {
        const count = Math.min(segment.pages - done, Math.floor((capacity - filled) / pageSize));
        const bytes = this.buffer.subarray(filled, filled + count * pageSize);
        if (segment.at) this.memory.space(Number(message.dstId))?.fill(bytes, segment.pageNumber + done, segment.at);
        done += count;
        filled += bytes.length;
        if (capacity - filled >= pageSize) continue;
        await this.write(filled);
        this.room(capacity);
        filled = 0;
      }
    }
    if (filled > 0) await this.write(filled);
    const milliseconds = performance.now() - begun;
    this.stats.add(message.pages, pages, pages * pageSize, milliseconds);
    this.observer.answered?.(message, pages, milliseconds);
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

  /** Writes the first bytes of the buffer, and switches to the other one, which is free when this resolves. */
  private async write(bytes: number): Promise<void> {
    const { buffer } = this;
    await this.inFlight;
    this.inFlight = new Promise((resolve, reject) => {
      this.stream.write(buffer.subarray(0, bytes), (error) => (error ? reject(error) : resolve()));
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
