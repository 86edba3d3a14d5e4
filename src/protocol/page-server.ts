/**
 * CRIU's page-server protocol: messages of one size in both directions, little endian, some followed by pages.
 *
 *     up to CRIU 4.1, 24 bytes:   cmd:u32, nr_pages:u32, vaddr:u64, dst_id:u64
 *     CRIU 4.2 on, 32 bytes:      cmd:u32, padding:u32, nr_pages:u64, vaddr:u64, dst_id:u64
 *
 * The low half of `cmd` is the command, the high half has pagemap flags (PE_*). Nothing in the stream names the form, and the
 * padding may have any value. {@link MessageReader} finds the form from the first message of a connection.
 *
 * Source: CRIU 4.1.1 and 4.2.1, page-xfer.c, and the messages that they were observed to send.
 */

export const COMMAND = {
  ADD: 1,
  HOLE: 2,
  OPEN: 3,
  OPEN2: 4,
  PARENT: 5,
  ADD_F: 6,
  GET: 7,
  CLOSE: 0x1023,
  FORCE_CLOSE: 0x1024,
} as const;

const COMMAND_NAMES = new Map<number, string>(Object.entries(COMMAND).map(([name, value]) => [value, name]));

/** The name of a command, for messages. */
export const commandName = (command: number): string => COMMAND_NAMES.get(command) ?? `0x${command.toString(16)}`;

/** Bytes of a message: the two forms. */
export type MessageForm = 24 | 32;

export interface Message {
  /** One of {@link COMMAND}, or something unknown. */
  command: number;
  /** PE_* bits. */
  flags: number;
  /** Up to 2^64, rounded beyond 2^53. */
  pages: number;
  /** Address in bytes. */
  vaddr: bigint;
  /** In a GET the pid. In others an id, shifted by 8, with the kind in the low byte. */
  dstId: bigint;
}

/** Writes a message to the beginning of `bytes`. */
export function putMessage(
  bytes: Uint8Array,
  { command, flags, pages, vaddr, dstId }: Message,
  form: MessageForm,
): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  view.setUint32(0, ((flags << 16) | command) >>> 0, true);
  if (form === 24) {
    view.setUint32(4, pages, true);
  } else {
    view.setUint32(4, 0, true);
    view.setUint32(8, pages, true);
    view.setUint32(12, pages / 2 ** 32, true);
  }
  view.setBigUint64(form - 16, vaddr, true);
  view.setBigUint64(form - 8, dstId, true);
}

export function decodeMessage(view: DataView, form: MessageForm): Message {
  const word = view.getUint32(0, true);
  return {
    command: word & 0xffff,
    flags: word >>> 16,
    pages: form === 24 ? view.getUint32(4, true) : Number(view.getBigUint64(8, true)),
    vaddr: view.getBigUint64(form - 16, true),
    dstId: view.getBigUint64(form - 8, true),
  };
}

/** Whether a message makes sense to its receiver. */
export type IsPlausible = (message: Message) => boolean;

/** Smallest page of any machine that CRIU runs on. */
const MIN_PAGE_BYTES = 4096n;
/** No pid of Linux reaches this. */
const PID_LIMIT = 1n << 22n;

/** Whether a message that makes no sense has at least an address and a pid where the shorter form has them. */
const looksShort = ({ vaddr, dstId }: Message): boolean =>
  vaddr !== 0n && vaddr % MIN_PAGE_BYTES === 0n && dstId < PID_LIMIT;

/**
 * Reads messages from the bytes of a connection, however they are split.
 *
 * The form is found from the first message. Read in the wrong form, an address takes the place of `dst_id` and the number
 * of pages that of the address: the one is hardly a pid, the other hardly aligned. So the receiver decides whether the shorter
 * form makes sense, then whether the longer one does, if it has arrived. If neither does, and the shorter one does not look
 * right, the reader waits for eight more bytes.
 */
export class MessageReader {
  /** Undefined until the first message is complete. */
  form: MessageForm | undefined;
  private readonly partial = new Uint8Array(32);
  private readonly partialView = new DataView(this.partial.buffer);
  private partialBytes = 0;
  private chunk: Uint8Array = new Uint8Array(0);
  private at = 0;

  constructor(private readonly isPlausible: IsPlausible) {}

  /** Bytes of an incomplete message. */
  get pending(): number {
    return this.partialBytes;
  }

  /** Adds what has arrived; the chunk before it must be used up. */
  push(chunk: Uint8Array): void {
    this.chunk = chunk;
    this.at = 0;
  }

  /** The next message, if it is complete. */
  next(): Message | undefined {
    if (this.form === undefined) this.findForm();
    return this.form !== undefined && this.gather(this.form) ? this.take(this.form) : undefined;
  }

  /** Up to `most` bytes that follow a message: a view of the chunk, empty if it is used up. */
  payload(most: number): Uint8Array {
    const bytes = this.chunk.subarray(this.at, this.at + most);
    this.at += bytes.length;
    return bytes;
  }

  private findForm(): void {
    if (!this.gather(24)) return;
    const short = decodeMessage(this.partialView, 24);
    if (this.isPlausible(short)) {
      this.form = 24;
      return;
    }
    const long = this.peekLong();
    if (long && this.isPlausible(long)) this.form = 32;
    else if (looksShort(short)) this.form = 24;
    else if (long || this.gather(32)) this.form = 32;
  }

  /** The message in the longer form, if all of it has arrived. */
  private peekLong(): Message | undefined {
    const missing = 32 - this.partialBytes;
    if (this.chunk.length - this.at < missing) return undefined;
    const bytes = new Uint8Array(32);
    bytes.set(this.partial.subarray(0, this.partialBytes));
    bytes.set(this.chunk.subarray(this.at, this.at + missing), this.partialBytes);
    return decodeMessage(new DataView(bytes.buffer), 32);
  }

  private gather(count: number): boolean {
    // There may be more bytes already, of a first message whose form is unknown.
    const missing = count - this.partialBytes;
    if (missing > 0 && this.at < this.chunk.length) {
      const isAll = this.at === 0 && this.chunk.length <= missing;
      const bytes = isAll ? this.chunk : this.chunk.subarray(this.at, this.at + missing);
      this.partial.set(bytes, this.partialBytes);
      this.partialBytes += bytes.length;
      this.at += bytes.length;
    }
    return this.partialBytes >= count;
  }

  private take(form: MessageForm): Message {
    this.partialBytes = 0;
    return decodeMessage(this.partialView, form);
  }
}
