/**
 * A dump as CRIU sends it to a page server: messages, most of them with pages behind them, to records.
 *
 *     OPEN2    what follows is of this pagemap; answered with a byte: whether the parent dump has it
 *     ADD_F    an entry of the pagemap, with its flags; its pages follow if they say PRESENT
 *     PARENT   answered with a u32: whether the parent dump has this pagemap
 *     CLOSE    the end, as is FORCE_CLOSE; answered with a u32, which is 0 when everything is in place
 *     OPEN, ADD, HOLE   older forms: OPEN2 without an answer, ADD_F with PRESENT, ADD_F with PARENT
 *
 * Messages that no CRIU sends are refused if the pagemap could not be read afterwards: entries that do not ascend, pages
 * of a pagemap that is not open, a pagemap that is opened twice. CRIU's own server does not check them.
 *
 * Source: the observed behavior of the page servers of CRIU 4.1.1 and 4.2.1; see docs/page-server.md.
 */
import type { Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { plainBytes } from '../bytes.js';
import type { DumpFiles } from '../dump/files.js';
import { openAddressSpace } from '../dump/pagemap.js';
import { pump, type RecordSink } from '../dump/pump.js';
import type { DumpRecord, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import {
  addressHex,
  CLASS_EAGER,
  CLASS_LAZY,
  COUNT_IN_FIELD_2,
  HAS_FIELD_5,
  HAS_FLAGS,
  KIND_SHIFT,
  PE_LAZY,
  PE_MASK,
  PE_PARENT,
  PE_PRESENT,
  pageNumberLimit,
  RunBuilder,
} from '../memory/runs.js';
import type { AddressSpace } from '../memory/space.js';
import { kindIndex } from '../memory/vma.js';
import { messageDescriptor } from '../protobuf/descriptor.js';
import { encodeObject } from '../protobuf/write-object.js';
import { COMMAND, commandName, type Message, type MessageForm, MessageReader } from '../protocol/page-server.js';

/** Types in the low byte of `dst_id`: the current one, then those of older CRIUs, which 4.2.1 still takes. */
const TASK_TYPES = [1, 10, 11, 16, 17];
const SHMEM_TYPES = [2, 27, 28, 29, 32, 33, 34];

/** No pid of Linux reaches this. */
const PID_LIMIT = 2n ** 22n;

/** Ids of pages files begin here, so that they differ from those that the dumping side assigns. */
const FIRST_PAGES_ID = 0x10001;

/** Dumps hold secrets. */
const PRIVATE_FILE = 0o600;
const PRIVATE_DIRECTORY = 0o700;

/** The form of pagemap entries that goes with each form of the protocol: CRIU up to 4.1, and from 4.2. */
const SHAPE: Record<MessageForm, number> = {
  24: COUNT_IN_FIELD_2 | HAS_FLAGS,
  32: HAS_FLAGS | HAS_FIELD_5,
};

/** The dump that the received one builds on. */
export interface ParentDump {
  /** Target of the link to it. */
  readonly link: string;
  has(pagemap: string): boolean;
  open(pagemap: string): AddressSpace;
}

export interface ReceiveOptions {
  /** Bytes. */
  pageSize: number;
  parent?: ParentDump;
}

export interface ReceiveDumpOptions extends ReceiveOptions {
  client?: string;
  out?: string;
  signal?: AbortSignal;
  /** Called when the first message begins a dump. The sink is not touched before. */
  begun?: () => void;
}

/** What was received. */
export interface ReceivedStats {
  spaces: number;
  runs: number;
  /** Pages that came with their bytes, and the number of bytes. */
  pages: number;
  bytes: number;
}

export class DumpReceiver {
  readonly stats: ReceivedStats = { spaces: 0, runs: 0, pages: 0, bytes: 0 };
  private readonly reader = new MessageReader((message) => this.isPlausible(message));
  private readonly names = new Set<string>();
  /** The open pagemap, and where its last run ends. */
  private space: Space | undefined;
  private nextPage = 0;
  /** The same pagemap in the parent dump, once its pages are needed. */
  private parentSpace: AddressSpace | undefined;
  private payloadLeft = 0;
  private answer: Uint8Array | undefined;
  private isComplete = false;
  private readonly chunks: AsyncIterator<Uint8Array>;
  /** The first message, between its arrival and its use. */
  private first: Message | undefined;
  private hasBegun = false;

  /** @param client for errors */
  constructor(
    private readonly stream: Duplex,
    private readonly client: string,
    private readonly options: ReceiveOptions,
  ) {
    this.chunks = stream.iterator({ destroyOnReturn: false });
  }

  /**
   * Waits for the first message.
   * @throws {DumpError} PROTOCOL if it does not begin a dump
   */
  async begin(): Promise<void> {
    if (this.hasBegun) return;
    this.hasBegun = true;
    while (!this.first) {
      if (!(await this.more())) throw this.complaint(this.missing(), 'the end of the connection');
      this.first = this.reader.next();
    }
    if (!this.isPlausible(this.first)) throw this.complaint('OPEN2 or CLOSE', describe(this.first));
  }

  /**
   * The records of the dump, for `pump`: a batch for each chunk that arrives. Runs are marked lazy or eager by their
   * flags. Payload is views of the chunks, and nothing is read ahead.
   * @throws {DumpError} PROTOCOL, also where the client leaves; MALFORMED, UNSUPPORTED, ORDER, NO_PARENT for what it sends
   */
  async *records(): AsyncGenerator<Iterable<DumpRecord>> {
    await this.begin();
    yield this.start();
    try {
      do {
        for (let isUsedUp = false; !isUsedUp; ) {
          yield this.take();
          isUsedUp = !(await this.giveAnswer());
        }
        if (this.isComplete) {
          // The client now waits for us, as long as the disk takes.
          (this.stream as Partial<Socket>).setTimeout?.(0);
          return;
        }
      } while (await this.more());
    } finally {
      await this.chunks.return?.();
    }
    throw this.complaint(this.missing(), 'the end of the connection');
  }

  /** Answers the CLOSE. Call it when the dump is in place: the dumping side then ends its processes. */
  async confirm(): Promise<void> {
    await this.write(new Uint8Array(4));
  }

  /** Takes in the next chunk; false at the end of the connection. */
  private async more(): Promise<boolean> {
    const { value, done } = await this.chunks.next();
    if (done) return false;
    this.reader.push(plainBytes(value));
    return true;
  }

  /** Sends the answer that must come before the next message; false if there is none. */
  private async giveAnswer(): Promise<boolean> {
    const { answer } = this;
    this.answer = undefined;
    if (answer) await this.write(answer);
    return answer !== undefined;
  }

  private *start(): Generator<DumpRecord> {
    const { pageSize, parent } = this.options;
    yield { type: 'header', pageSize, directoryMode: PRIVATE_DIRECTORY };
    if (!parent) return;
    const target = Buffer.from(parent.link);
    yield { type: 'file', kind: 'link', name: 'parent', mode: 0o777, size: 0, target, checked: false };
  }

  /** The records that end in the chunk, up to a message that needs an answer before the next one. */
  private *take(): Generator<DumpRecord> {
    while (!this.isComplete && !this.answer) {
      if (this.payloadLeft > 0) {
        const bytes = this.reader.payload(this.payloadLeft);
        if (bytes.length === 0) return;
        this.payloadLeft -= bytes.length;
        this.stats.bytes += bytes.length;
        yield { type: 'bytes', bytes };
      } else {
        const message = this.first ?? this.reader.next();
        this.first = undefined;
        if (!message) return;
        const record = this.record(message, this.reader.form as MessageForm);
        if (record) yield record;
      }
    }
  }

  private record(message: Message, form: MessageForm): DumpRecord | undefined {
    switch (message.command) {
      case COMMAND.OPEN2:
      case COMMAND.OPEN:
        return this.open(message);
      case COMMAND.PARENT:
        this.answer = new Uint8Array(4);
        this.answer[0] = this.parentHas(this.target(message).pagemap);
        return undefined;
      case COMMAND.ADD_F:
        return this.add(message, message.flags, form);
      case COMMAND.ADD:
        return this.add(message, PE_PRESENT, form);
      case COMMAND.HOLE:
        return this.add(message, PE_PARENT, form);
      case COMMAND.CLOSE:
      case COMMAND.FORCE_CLOSE:
        this.isComplete = true;
        return { type: 'end' };
      default:
        throw this.complaint('a command of a dump', commandName(message.command));
    }
  }

  private open(message: Message): DumpRecord {
    const target = this.target(message);
    if (this.names.has(target.pagemap)) {
      throw this.complaint('each pagemap once', `${target.pagemap} again`);
    }
    this.names.add(target.pagemap);
    this.parentSpace = undefined;
    const index = this.stats.spaces++;
    const pagesId = FIRST_PAGES_ID + index;
    const head = encodeObject(messageDescriptor('pagemap_head'), { pages_id: pagesId });
    this.space = { index, ...target, pagesId, head, pagemapMode: PRIVATE_FILE, pagesMode: PRIVATE_FILE };
    this.nextPage = 0;
    if (message.command === COMMAND.OPEN2) this.answer = Uint8Array.of(this.parentHas(target.pagemap));
    return { type: 'space', space: this.space };
  }

  private add(message: Message, flags: number, form: MessageForm): DumpRecord {
    const { pages, vaddr, command } = message;
    const { pageSize } = this.options;
    const { space } = this;
    const { pagemap } = this.target(message);
    if (space?.pagemap !== pagemap) {
      throw this.complaint(
        `pages of ${space ? space.pagemap : 'a pagemap that was opened'}`,
        `${commandName(command)} of ${pagemap}`,
      );
    }
    const pageNumber = Number(vaddr / BigInt(pageSize));
    if (vaddr % BigInt(pageSize) !== 0n) {
      throw this.wrong('MALFORMED', `an address aligned to ${pageSize} bytes`, `0x${vaddr.toString(16)}`);
    }
    if (pages < 1) throw this.wrong('MALFORMED', 'at least one page', '0');
    if (pageNumber + pages > pageNumberLimit(pageSize) || pages * pageSize > Number.MAX_SAFE_INTEGER) {
      throw this.wrong('MALFORMED', 'pages inside the address space', `${BigInt(pages)} at 0x${vaddr.toString(16)}`);
    }
    if (flags > PE_MASK) {
      throw this.wrong('UNSUPPORTED', 'known flags only (PARENT 1, LAZY 2, PRESENT 4)', `0x${flags.toString(16)}`);
    }
    if (flags & PE_PARENT && flags & PE_PRESENT) {
      throw this.wrong('MALFORMED', 'pages either here or in the parent dump', `flags ${flags}`);
    }
    if (pageNumber < this.nextPage) {
      throw this.wrong(
        'ORDER',
        `an address of at least 0x${addressHex(this.nextPage, pageSize)}, the end of the pages before`,
        `0x${vaddr.toString(16)}`,
      );
    }
    if (flags & PE_PARENT) this.checkParent(space, pageNumber, pages);
    this.nextPage = pageNumber + pages;
    const runs = new RunBuilder(pageSize, 1);
    runs.push(pageNumber, pages, flags | SHAPE[form] | marksOf(space, flags));
    this.stats.runs++;
    if (flags & PE_PRESENT) {
      this.stats.pages += pages;
      this.payloadLeft = pages * pageSize;
      // Counted here, as it will come.
      if (this.stats.bytes + this.payloadLeft > Number.MAX_SAFE_INTEGER) {
        throw this.wrong('MALFORMED', 'less than 2^53 bytes of pages', 'more');
      }
    }
    return { type: 'runs', space, runs: runs.finish(), checked: false };
  }

  /** The pagemap that a message is about. */
  private target(message: Message): Pick<Space, 'pagemap' | 'kind' | 'pid'> {
    const found = targetOf(message);
    if (found) return found;
    throw this.complaint('the id of a task or a shared memory segment', `0x${message.dstId.toString(16)}`);
  }

  /** Whether a first message makes sense. */
  private isPlausible(message: Message): boolean {
    const { command, vaddr, dstId } = message;
    if (command === COMMAND.CLOSE || command === COMMAND.FORCE_CLOSE) return vaddr === 0n && dstId === 0n;
    const opens = command === COMMAND.OPEN2 || command === COMMAND.OPEN || command === COMMAND.PARENT;
    return opens && targetOf(message) !== undefined;
  }

  private parentHas(pagemap: string): 0 | 1 {
    return this.options.parent?.has(pagemap) ? 1 : 0;
  }

  /** Pages that are left to the parent dump must be in it. */
  private checkParent(space: Space, pageNumber: number, pages: number): void {
    const { parent, pageSize } = this.options;
    if (!parent?.has(space.pagemap)) {
      throw this.wrong('NO_PARENT', 'pages, or a parent dump that has them', 'neither');
    }
    this.parentSpace ??= parent.open(space.pagemap);
    for (const segment of this.parentSpace.locate(pageNumber, pages)) {
      if (segment.state !== 'absent') continue;
      throw this.wrong(
        'NO_PARENT',
        `a page at 0x${addressHex(segment.pageNumber, pageSize)} in the parent dump`,
        'none',
      );
    }
  }

  /** What is missing in the dump. */
  private missing(): string {
    if (this.payloadLeft > 0) return `${this.payloadLeft} more bytes of pages`;
    return this.reader.pending > 0 ? 'the rest of a message' : 'CLOSE';
  }

  /** Resolves when the kernel has the bytes. */
  private write(bytes: Uint8Array): Promise<void> {
    return new Promise((resolve, reject) => {
      this.stream.write(bytes, (error) => (error ? reject(error) : resolve()));
    });
  }

  /** Of the conversation. */
  private complaint(expected: string, found: string): DumpError {
    return new DumpError('PROTOCOL', `expected ${expected}, found ${found}`, { file: this.client });
  }

  /** Of an entry. */
  private wrong(code: 'MALFORMED' | 'UNSUPPORTED' | 'ORDER' | 'NO_PARENT', expected: string, found: string): DumpError {
    return new DumpError(code, `${this.space?.pagemap}: expected ${expected}, found ${found}`, { file: this.client });
  }
}

/**
 * Receives one dump, and answers its CLOSE when it is in the sink. The dumping side then ends its processes.
 * @param client and out: for errors
 * @throws {DumpError} as {@link DumpReceiver.records} and the sink do; the sink is discarded, unless it was finished
 */
export async function receiveDump(
  stream: Duplex,
  sink: RecordSink,
  { client = 'client', out = 'the dump', signal, begun, ...options }: ReceiveDumpOptions,
): Promise<ReceivedStats> {
  const receiver = new DumpReceiver(stream, client, options);
  if (begun) {
    await receiver.begin();
    begun();
  }
  await pump(receiver.records(), [], sink, signal);
  try {
    await receiver.confirm();
  } catch (cause) {
    throw new DumpError('PROTOCOL', `the client left before CLOSE was answered; ${out} is complete`, {
      file: client,
      cause,
    });
  }
  return receiver.stats;
}

/**
 * The dump before the one that is received.
 * @param link target of the link to it, from the new dump
 * @param pageSize in bytes
 */
export const parentDump = (files: DumpFiles, link: string, pageSize: number): ParentDump => ({
  link,
  has: (pagemap) => files.stat(pagemap) !== undefined,
  open: (pagemap) => openAddressSpace(files, pagemap, pageSize),
});

/** A message that makes no sense. */
const describe = ({ command, dstId }: Message): string => `${commandName(command)} of 0x${dstId.toString(16)}`;

/** The pagemap that a `dst_id` names; undefined if it names none. */
function targetOf({ dstId }: Message): Pick<Space, 'pagemap' | 'kind' | 'pid'> | undefined {
  const id = dstId >> 8n;
  const type = Number(dstId & 0xffn);
  if (SHMEM_TYPES.includes(type)) return { pagemap: `pagemap-shmem-${id}.img`, kind: 'shmem' };
  if (!TASK_TYPES.includes(type) || id < 1n || id >= PID_LIMIT) return undefined;
  return { pagemap: `pagemap-${id}.img`, kind: 'task', pid: Number(id) };
}

const SHMEM_MARKS = CLASS_EAGER | (kindIndex('shmem') << KIND_SHIFT);

/** Class and kind, as far as they are known without areas: the same as with the policy `flags` of classify. */
function marksOf(space: Space, flags: number): number {
  if (space.kind === 'shmem') return SHMEM_MARKS;
  return flags & PE_LAZY ? CLASS_LAZY : CLASS_EAGER;
}
