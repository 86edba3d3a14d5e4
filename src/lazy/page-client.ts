/**
 * The asking side of a page server, over any stream. Requests are sent without waiting for the answers to those before. The
 * answers come in order; one may have fewer pages than were asked for, and the rest is then asked for again.
 */
import type { Duplex } from 'node:stream';
import { DumpError } from '../errors.js';
import { addressHex } from '../memory/runs.js';
import { COMMAND, decodeMessage, type MessageForm, putMessage } from '../protocol/page-server.js';

/** Pages that were asked for. */
export interface Wanted {
  pid: number;
  /** Page number. */
  page: number;
  pages: number;
}

/** Takes pages that have come; the bytes are overwritten by the next ones. */
export type TakePages = (pid: number, page: number, bytes: Uint8Array) => void;

/** Time limit for the server to end the connection. */
const LINGER_MS = 1000;
/** Most that is passed on at a time, in bytes. */
const PIECE_BYTES = 256 * 1024;

export class PageClient {
  /** Requests without their answers, oldest first. */
  private readonly asked: Wanted[] = [];
  private isClosed = false;
  /** Pages whose answers have not come. */
  pendingPages = 0;

  /** @param name of the server, for errors */
  constructor(
    private readonly stream: Duplex,
    private readonly form: MessageForm,
    private readonly pageSize: number,
    private readonly name: string,
  ) {}

  ask(wanted: Wanted): void {
    const { form, pageSize } = this;
    const message = Buffer.allocUnsafe(form);
    const vaddr = BigInt(wanted.page) * BigInt(pageSize);
    const dstId = BigInt(wanted.pid);
    putMessage(message, { command: COMMAND.GET, flags: 0, pages: wanted.pages, vaddr, dstId }, form);
    this.asked.push(wanted);
    this.pendingPages += wanted.pages;
    this.stream.write(message);
  }

  /**
   * Takes the answers, until {@link close}.
   * @throws {DumpError} PROTOCOL, SYSTEM if the connection ends or the server does not have a page
   */
  async run(take: TakePages): Promise<void> {
    try {
      await this.readAnswers(take);
    } catch (error) {
      if (this.isClosed) return;
      if (error instanceof DumpError) throw error;
      throw new DumpError('PROTOCOL', (error as Error).message, { file: this.name, cause: error });
    }
    if (!this.isClosed) {
      const place = { file: this.name, temporary: true };
      throw new DumpError('PROTOCOL', 'the page server has ended the connection', place);
    }
  }

  private async readAnswers(take: TakePages): Promise<void> {
    const { form, pageSize, stream } = this;
    const header = Buffer.alloc(form);
    const piece = Buffer.allocUnsafeSlow(Math.max(PIECE_BYTES, pageSize));
    /** Bytes of the header that are there; bytes of pages that are to come, and that are in the piece. */
    let headerBytes = 0;
    let payload = 0;
    let filled = 0;
    for await (const chunk of stream.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
      for (let at = 0; at < chunk.length; ) {
        if (payload === 0) {
          const bytes = chunk.subarray(at, at + form - headerBytes);
          header.set(bytes, headerBytes);
          headerBytes += bytes.length;
          at += bytes.length;
          if (headerBytes < form) break;
          headerBytes = 0;
          payload = this.answerBytes(decodeMessage(new DataView(header.buffer, header.byteOffset), form));
          continue;
        }
        const bytes = chunk.subarray(at, at + Math.min(payload, piece.length - filled));
        piece.set(bytes, filled);
        filled += bytes.length;
        payload -= bytes.length;
        at += bytes.length;
        if (payload > 0 && filled < piece.length) continue;
        this.pass(piece.subarray(0, filled), payload === 0, take);
        filled = 0;
      }
    }
  }

  /** Bytes of the pages behind the header of an answer. */
  private answerBytes({ pages, vaddr, dstId }: { pages: number; vaddr: bigint; dstId: bigint }): number {
    const wanted = this.asked[0];
    const isAnswer =
      wanted !== undefined &&
      vaddr === BigInt(wanted.page) * BigInt(this.pageSize) &&
      dstId === BigInt(wanted.pid) &&
      pages <= wanted.pages;
    if (!isAnswer) throw new DumpError('PROTOCOL', 'expected an answer, found something else', { file: this.name });
    if (pages === 0) {
      const address = addressHex(wanted.page, this.pageSize);
      throw new DumpError('PROTOCOL', `the page server has no page at 0x${address} of process ${wanted.pid}`, {
        file: this.name,
      });
    }
    return pages * this.pageSize;
  }

  private pass(bytes: Buffer, isLast: boolean, take: TakePages): void {
    const wanted = this.asked[0] as Wanted;
    const pages = bytes.length / this.pageSize;
    take(wanted.pid, wanted.page, bytes);
    this.pendingPages -= pages;
    const rest = { pid: wanted.pid, page: wanted.page + pages, pages: wanted.pages - pages };
    if (!isLast) {
      this.asked[0] = rest;
      return;
    }
    this.asked.shift();
    if (rest.pages === 0) return;
    // The server stopped early, for instance where one of its runs ends.
    this.pendingPages -= rest.pages;
    this.ask(rest);
  }

  get unanswered(): readonly Wanted[] {
    return this.asked;
  }

  /** Ends the session. The server then ends the connection. */
  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    const message = Buffer.alloc(this.form);
    putMessage(message, { command: COMMAND.CLOSE, flags: 0, pages: 0, vaddr: 0n, dstId: 0n }, this.form);
    this.stream.on('error', () => {});
    this.stream.write(message);
    const linger = setTimeout(() => this.stream.destroy(), LINGER_MS).unref();
    this.stream.once('close', () => clearTimeout(linger));
  }
}
