/**
 * Page stream to records: synchronous, no I/O, for chunks of any size. Input is hostile: the order of the frames and what
 * they say is checked before anything is passed on.
 */
import { isPagemapName, pagesName, spaceIdentity } from '../../dump/names.js';
import type { DumpRecord, FileRecord, Space } from '../../dump/records.js';
import { DumpError } from '../../errors.js';
import { PAGE_SIZES, pageNumberLimit } from '../../memory/runs.js';
import { withArticle } from '../../protobuf/builder.js';
import { frameDescriptor, type MessageDescriptor, messageDescriptor } from '../../protobuf/descriptor.js';
import { type MessageObject, readAnyObject } from '../../protobuf/object.js';
import { Damage, decodeAreas, decodeRuns } from './columns.js';
import { FRAME, MAX_LINK_BYTES, MAX_NAME_BYTES } from './format.js';
import { FRAME_NAMES, type Frame, FrameReader } from './frames.js';

const MESSAGES = {
  header: frameDescriptor('Header'),
  file: frameDescriptor('File'),
  space: frameDescriptor('Space'),
  check: frameDescriptor('Check'),
  end: frameDescriptor('End'),
  pagemapHead: messageDescriptor('pagemap_head'),
};

const FILE_KINDS: Record<string, FileRecord['kind']> = { REGULAR: 'regular', LINK: 'link', DIRECTORY: 'directory' };

/** Decodes a stream; `push` gives the records that each chunk completes. */
export class PageStreamDecoder {
  private readonly frames: FrameReader;
  private pageSize = 0;
  private readonly names = new Set<string>();
  private readonly spaces: Space[] = [];
  /** First page after the areas of each space. */
  private readonly areaEnd: number[] = [];
  /** The space whose runs are coming, and the first page after them. */
  private currentSpace = -1;
  private nextPage = 0;
  private files = 0;
  private runs = 0;
  private payloadBytes = 0;

  private hasHeader = false;
  private wantsCheck = false;
  /** Whether the current payload is that of runs. */
  private inRuns = false;

  /** @param file for errors */
  constructor(file = 'stdin') {
    this.frames = new FrameReader(file);
  }

  /**
   * The records that end in `data`. The bytes of bytes records are views of it, so they must not be needed when it is
   * overwritten.
   * @throws {DumpError} NOT_A_STREAM, STREAM_VERSION, LIMIT, STREAM_DAMAGED
   */
  *push(data: Uint8Array): Generator<DumpRecord> {
    for (const part of this.frames.push(data)) {
      yield part instanceof Uint8Array ? { type: 'bytes', bytes: part } : this.frame(part);
    }
  }

  /** Bytes of pages that come next in the input. */
  get pagesDue(): number {
    return this.inRuns ? this.frames.payloadDue : 0;
  }

  /** Says that pages bypassed the decoder. */
  passed(bytes: number): void {
    this.frames.passed(bytes);
  }

  /** The number of bytes that the decoder needs next. Reading this many takes nothing of what follows. */
  get lackingBytes(): number {
    return this.frames.lackingBytes;
  }

  /** Whether the end of the stream has come. */
  get isComplete(): boolean {
    return this.frames.ended;
  }

  /** Throws unless the stream is complete. */
  end(): void {
    this.frames.end();
  }

  private frame({ type, body, crcBefore }: Frame): DumpRecord {
    if (this.wantsCheck !== (type === FRAME.CHECK)) {
      throw this.damaged(this.wantsCheck ? `a check, found ${FRAME_NAMES[type]}` : 'no check here');
    }
    try {
      return this.record(type, body, crcBefore);
    } catch (cause) {
      if (cause instanceof DumpError) throw cause;
      if (cause instanceof Damage) throw this.damaged(cause.message);
      throw this.damaged(`${withArticle(FRAME_NAMES[type] as string)} message`, cause);
    }
  }

  private record(type: number, body: Uint8Array, crcBefore: number): DumpRecord {
    if (this.hasHeader === (type === FRAME.HEADER)) {
      throw this.damaged(`${this.hasHeader ? 'no second' : 'a'} HEADER here, found ${FRAME_NAMES[type]}`);
    }
    switch (type) {
      case FRAME.HEADER:
        return this.headerRecord(body);
      case FRAME.FILE:
        return this.fileRecord(body);
      case FRAME.SPACE:
        return this.spaceRecord(body);
      case FRAME.AREAS:
        return this.areasRecord(body);
      case FRAME.RUNS:
        return this.runsRecord(body);
      case FRAME.CHECK:
        this.wantsCheck = false;
        return { type: 'check', crc32: fields(MESSAGES.check, body)['crc32'] as number };
      default:
        return this.endRecord(body, crcBefore);
    }
  }

  private headerRecord(body: Uint8Array): DumpRecord {
    const header = fields(MESSAGES.header, body);
    const pageSize = header['page_size'] as number;
    if (!PAGE_SIZES.includes(pageSize))
      throw this.damaged(`a page size of ${PAGE_SIZES.join(', ')}, found ${pageSize}`);
    this.pageSize = pageSize;
    this.hasHeader = true;
    const march = header['march'] as number | undefined;
    const payloadBytes = header['payload_bytes'];
    return {
      type: 'header',
      pageSize,
      directoryMode: (header['directory_mode'] as number) & 0o7777,
      ...(march === undefined ? {} : { march }),
      ...(payloadBytes === undefined ? {} : { payloadBytes: Number(payloadBytes) }),
    };
  }

  private fileRecord(body: Uint8Array): DumpRecord {
    const file = fields(MESSAGES.file, body);
    const kind = FILE_KINDS[file['kind'] as string] as FileRecord['kind'];
    const name = file['name'] as string;
    this.claimName(name);
    const size = kind === 'regular' ? this.count(file['size'] ?? 0, 'a size') : 0;
    const target = file['target'] as Uint8Array | undefined;
    if (kind === 'link' && !(target && isLinkTarget(target))) {
      throw this.damaged(`a link target of 1 to ${MAX_LINK_BYTES} bytes, none of them 0`);
    }
    this.files++;
    this.inRuns = false;
    this.startPayload(size);
    return {
      type: 'file',
      kind,
      name,
      mode: (file['mode'] as number) & 0o7777,
      size,
      ...(kind === 'link' && target ? { target: target.slice() } : {}),
      checked: true,
    };
  }

  private spaceRecord(body: Uint8Array): DumpRecord {
    const message = fields(MESSAGES.space, body);
    const pagemap = message['pagemap'] as string;
    const index = message['index'] as number;
    if (index !== this.spaces.length) throw this.damaged(`space ${this.spaces.length}, found ${index}`);
    if (!isPagemapName(pagemap)) throw this.frames.badName(pagemap, 'the name of a pagemap');
    const space: Space = {
      index,
      ...spaceIdentity(pagemap),
      pagemap,
      pagesId: message['pages_id'] as number,
      head: (message['head'] as Uint8Array).slice(),
      ...(message['one_magic'] === true ? { oneMagic: true } : {}),
      pagemapMode: (message['pagemap_mode'] as number) & 0o7777,
      pagesMode: (message['pages_mode'] as number) & 0o7777,
    };
    const head = fields(MESSAGES.pagemapHead, space.head)['pages_id'];
    if (head !== space.pagesId) throw this.damaged(`the pages_id of the head, ${head}, found ${space.pagesId}`);
    this.claimName(pagemap);
    this.claimName(pagesName(space));
    this.spaces.push(space);
    this.areaEnd.push(0);
    return { type: 'space', space };
  }

  private areasRecord(body: Uint8Array): DumpRecord {
    const columns = decodeAreas(body, (index) => this.areaEnd[index] ?? 0, pageNumberLimit(this.pageSize));
    const space = this.spaceAt(columns.space);
    if (space.index <= this.currentSpace) throw this.damaged('the areas of a space before its runs');
    this.areaEnd[space.index] = columns.end;
    return { type: 'areas', space, areas: columns.areas };
  }

  private runsRecord(body: Uint8Array): DumpRecord {
    const columns = decodeRuns(body, (index) => (index === this.currentSpace ? this.nextPage : 0), this.pageSize);
    const space = this.spaceAt(columns.space);
    if (space.index < this.currentSpace) throw this.damaged('the runs of each space together, in order');
    this.currentSpace = space.index;
    this.nextPage = columns.end;
    const { runs } = columns;
    this.runs += runs.bits.length;
    this.payloadBytes += runs.payloadBytes;
    if (!Number.isSafeInteger(this.payloadBytes)) throw this.damaged('less payload');
    this.inRuns = true;
    this.startPayload(runs.payloadBytes);
    return { type: 'runs', space, runs, checked: true };
  }

  private spaceAt(index: number): Space {
    const space = this.spaces[index];
    if (!space) throw this.damaged(`a known space, found ${index}`);
    return space;
  }

  private endRecord(body: Uint8Array, crcBefore: number): DumpRecord {
    const end = fields(MESSAGES.end, body);
    const found = [this.files, this.spaces.length, this.runs, this.payloadBytes];
    const expected = [end['files'], end['spaces'], end['runs'], end['payload_bytes']].map(Number);
    if (found.some((count, i) => count !== expected[i])) {
      throw this.damaged(`${expected} files, spaces, runs and bytes of payload, found ${found}`);
    }
    if (end['crc32'] !== crcBefore) throw this.damaged('frames that match their checksum');
    this.frames.ended = true;
    return { type: 'end' };
  }

  private startPayload(bytes: number): void {
    this.frames.payloadLeft = bytes;
    this.wantsCheck = bytes > 0;
  }

  private claimName(name: string): void {
    const parts = name.split('/');
    if (
      // Bytes that are not UTF-8.
      /\p{Surrogate}/u.test(name) ||
      name.includes('\0') ||
      Buffer.byteLength(name) > MAX_NAME_BYTES ||
      parts.some((part) => part === '' || part === '.' || part === '..')
    ) {
      throw this.frames.badName(name, 'a file name inside the dump');
    }
    if (this.names.has(name)) throw this.frames.badName(name, 'each name once');
    this.names.add(name);
  }

  private count(value: unknown, what: string): number {
    const count = Number(value);
    if (!Number.isSafeInteger(count)) throw this.damaged(`${what} below 2^53`);
    return count;
  }

  private damaged(expected: string, cause?: unknown): DumpError {
    return this.frames.damaged(expected, cause);
  }
}

const isLinkTarget = (target: Uint8Array): boolean =>
  target.length > 0 && target.length <= MAX_LINK_BYTES && !target.includes(0);

/** Fields of a message; absent ones are undefined, and do not have their defaults. */
const fields = (message: MessageDescriptor, body: Uint8Array): MessageObject =>
  readAnyObject(message, body, 0, body.length);
