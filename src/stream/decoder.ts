/**
 * Page stream to records: synchronous, no I/O, for chunks of any size. Everything that comes in is hostile: lengths are
 * checked before anything is held, the order of the frames and what the columns say before it is passed on.
 */
import type protobuf from 'protobufjs/light.js';
import { concatBytes, plainBytes } from '../bytes.js';
import { crc32 } from '../crc.js';
import { DumpError } from '../errors.js';
import { PAGE_SIZES, pageNumberLimit } from '../memory/runs.js';
import { type DumpRecord, type FileRecord, isPagemapName, pagesName, type Space, spaceIdentity } from '../records.js';
import { messageType } from '../schema.js';
import { Damage, decodeAreas, decodeRuns } from './columns.js';
import {
  DATA_BYTES,
  FRAME,
  FRAME_HEADER_BYTES,
  MAX_BODY_BYTES,
  MAX_LINK_BYTES,
  MAX_NAME_BYTES,
  PROLOGUE_BYTES,
  STREAM_MAGIC,
  STREAM_VERSION,
} from './format.js';

const MESSAGES = {
  header: messageType('pagepipe.Header'),
  file: messageType('pagepipe.File'),
  space: messageType('pagepipe.Space'),
  check: messageType('pagepipe.Check'),
  end: messageType('pagepipe.End'),
  pagemapHead: messageType('criu.pagemap_head'),
};

const FILE_KINDS: Record<number, FileRecord['kind']> = { 1: 'regular', 2: 'link', 3: 'directory' };
const FRAME_NAMES = Object.fromEntries(Object.entries(FRAME).map(([name, type]) => [type, name]));

/** Decodes a stream; `push` gives the records that each chunk completes. */
export class PageStreamDecoder {
  private offset = 0;
  /** Chunks of a frame that is not all there, and how many bytes it needs to go on. */
  private held: Uint8Array[] = [];
  private heldBytes = 0;
  private needBytes = 0;
  private started = false;
  private ended = false;
  private crc = 0;

  private pageSize = 0;
  private readonly names = new Set<string>();
  private readonly spaces: Space[] = [];
  /** Where each space has come to; `at` of areas and runs. */
  private areaEnd: number[] = [];
  private currentSpace = -1;
  private nextPage = 0;
  private files = 0;
  private runs = 0;
  private payloadBytes = 0;

  private hasHeader = false;
  private payloadLeft = 0;
  private frameLeft = 0;
  private wantsCheck = false;

  /** @param file for errors */
  constructor(private readonly file = 'stdin') {}

  /**
   * The records that end in `data`. Bytes records are views of it: they must be done with before it is overwritten.
   * @throws {DumpError} NOT_A_STREAM, STREAM_VERSION, LIMIT, STREAM_DAMAGED
   */
  *push(data: Uint8Array): Generator<DumpRecord> {
    const chunk = plainBytes(data);
    if (this.heldBytes + chunk.length < this.needBytes) {
      this.hold(chunk);
      return;
    }
    const bytes = this.heldBytes > 0 ? concatBytes([...this.held, chunk]) : chunk;
    this.held = [];
    this.heldBytes = 0;
    this.needBytes = 0;
    let at = 0;
    for (;;) {
      if (this.frameLeft > 0) {
        if (at === bytes.length) break;
        const piece = bytes.subarray(at, at + this.frameLeft);
        at += piece.length;
        this.offset += piece.length;
        this.frameLeft -= piece.length;
        this.payloadLeft -= piece.length;
        yield { type: 'bytes', bytes: piece };
        continue;
      }
      const used = this.started ? this.frameSize(bytes, at) : this.prologue(bytes, at);
      if (used === 0) break;
      if (this.started) {
        const record = this.frame(bytes, at, used);
        if (record) yield record;
      } else {
        this.started = true;
      }
      at += used;
      this.offset += used;
    }
    if (at < bytes.length) this.hold(bytes.subarray(at));
  }

  /** Keeps a copy: the chunk may be overwritten. */
  private hold(bytes: Uint8Array): void {
    this.held.push(bytes.slice());
    this.heldBytes += bytes.length;
  }

  /** Says how many bytes it takes to go on, if they are not there. */
  private lacks(bytes: Uint8Array, at: number, need: number): boolean {
    const lacking = bytes.length - at < need;
    if (lacking) this.needBytes = need;
    return lacking;
  }

  /** Throws unless the stream came to its end. */
  end(): void {
    if (this.ended) {
      if (this.heldBytes > 0) throw this.damaged(`the end of the stream, found ${this.heldBytes} more bytes`);
      return;
    }
    if (!this.started) {
      throw new DumpError(
        'NOT_A_STREAM',
        `expected a page stream, found ${this.heldBytes > 0 ? `only ${this.heldBytes} bytes` : 'nothing'}`,
        { file: this.file, offset: 0 },
      );
    }
    const missing = this.frameLeft > 0 ? `${this.frameLeft} more bytes of payload` : 'more frames and an end';
    throw new DumpError('STREAM_DAMAGED', `expected ${missing}, found the end of the input: the stream was cut`, {
      file: this.file,
      offset: this.offset + this.heldBytes,
    });
  }

  /** Bytes of the prologue once it is all there; 0 before. */
  private prologue(bytes: Uint8Array, at: number): number {
    const have = Math.min(bytes.length - at, STREAM_MAGIC.length);
    if (STREAM_MAGIC.subarray(0, have).some((byte, i) => byte !== bytes[at + i])) {
      throw new DumpError('NOT_A_STREAM', 'expected a page stream (PAGEPIPE), found something else', {
        file: this.file,
        offset: 0,
        hint: 'pagepipe read DUMP makes one',
      });
    }
    if (this.lacks(bytes, at, PROLOGUE_BYTES)) return 0;
    const version = viewOf(bytes).getUint32(at + 8, true);
    if (version !== STREAM_VERSION) {
      throw new DumpError('STREAM_VERSION', `expected page stream version ${STREAM_VERSION}, found ${version}`, {
        file: this.file,
        offset: 8,
      });
    }
    return PROLOGUE_BYTES;
  }

  /** Size of the frame at `at` once all that must be held of it is there; 0 before. Payload is not held. */
  private frameSize(bytes: Uint8Array, at: number): number {
    if (bytes.length === at) return 0;
    if (this.ended) throw this.damaged('the end of the stream, found more bytes');
    if (this.lacks(bytes, at, FRAME_HEADER_BYTES)) return 0;
    const view = viewOf(bytes);
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    if (!(type in FRAME_NAMES)) throw this.damaged(`a frame, found type ${type}`);
    if (type === FRAME.DATA) {
      const expected = Math.min(DATA_BYTES, this.payloadLeft);
      if (length !== expected || expected === 0) {
        throw this.damaged(
          expected === 0 ? 'no payload here, found a data frame' : `a data frame of ${expected} bytes, found ${length}`,
        );
      }
      return FRAME_HEADER_BYTES;
    }
    if (length > MAX_BODY_BYTES) {
      throw new DumpError('LIMIT', `expected a frame of at most ${MAX_BODY_BYTES} bytes, found ${length}`, {
        file: this.file,
        offset: this.offset,
      });
    }
    return this.lacks(bytes, at, FRAME_HEADER_BYTES + length) ? 0 : FRAME_HEADER_BYTES + length;
  }

  private frame(bytes: Uint8Array, at: number, size: number): DumpRecord | undefined {
    const type = viewOf(bytes).getUint32(at, true);
    const before = this.crc;
    this.crc = crc32(bytes.subarray(at, at + size), this.crc);
    if (type === FRAME.DATA) {
      this.frameLeft = viewOf(bytes).getUint32(at + 4, true);
      return undefined;
    }
    const body = bytes.subarray(at + FRAME_HEADER_BYTES, at + size);
    if (this.payloadLeft > 0)
      throw this.damaged(`${this.payloadLeft} more bytes of payload, found ${FRAME_NAMES[type]}`);
    if (this.wantsCheck !== (type === FRAME.CHECK)) {
      throw this.damaged(this.wantsCheck ? `a check, found ${FRAME_NAMES[type]}` : 'no check here');
    }
    try {
      return this.record(type, body, before);
    } catch (cause) {
      if (cause instanceof DumpError) throw cause;
      if (cause instanceof Damage) throw this.damaged(cause.message);
      throw this.damaged(`a ${FRAME_NAMES[type]} message`, cause);
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
    const kind = FILE_KINDS[file['kind'] as number] as FileRecord['kind'];
    const name = file['name'] as string;
    this.claimName(name);
    const size = kind === 'regular' ? this.count(file['size'] ?? 0, 'a size') : 0;
    const target = file['target'] as Uint8Array | undefined;
    if (kind === 'link' && !(target && isLinkTarget(target))) {
      throw this.damaged(`a link target of 1 to ${MAX_LINK_BYTES} bytes, none of them 0`);
    }
    this.files++;
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
    if (!isPagemapName(pagemap)) throw this.badName(pagemap, 'the name of a pagemap');
    const space: Space = {
      index,
      ...spaceIdentity(pagemap),
      pagemap,
      pagesId: message['pages_id'] as number,
      head: (message['head'] as Uint8Array).slice(),
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
    this.ended = true;
    return { type: 'end' };
  }

  private startPayload(bytes: number): void {
    this.payloadLeft = bytes;
    this.wantsCheck = bytes > 0;
  }

  private claimName(name: string): void {
    const parts = name.split('/');
    if (
      name.includes('\0') ||
      Buffer.byteLength(name) > MAX_NAME_BYTES ||
      parts.some((part) => part === '' || part === '.' || part === '..')
    ) {
      throw this.badName(name, 'a name inside the dump');
    }
    if (this.names.has(name)) throw this.badName(name, 'each name once');
    this.names.add(name);
  }

  private badName(name: string, expected: string): DumpError {
    return new DumpError('BAD_NAME', `expected ${expected}, found ${JSON.stringify(name)}`, {
      file: this.file,
      offset: this.offset,
    });
  }

  private count(value: unknown, what: string): number {
    const count = Number(value);
    if (!Number.isSafeInteger(count)) throw this.damaged(`${what} below 2^53`);
    return count;
  }

  private damaged(expected: string, cause?: unknown): DumpError {
    return new DumpError('STREAM_DAMAGED', `expected ${expected}`, { file: this.file, offset: this.offset, cause });
  }
}

const isLinkTarget = (target: Uint8Array): boolean =>
  target.length > 0 && target.length <= MAX_LINK_BYTES && !target.includes(0);

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Fields of a message; those that are absent are undefined and not their defaults. */
function fields(message: protobuf.Type, body: Uint8Array): Record<string, unknown> {
  const decoded = message.decode(body) as unknown as Record<string, unknown>;
  return Object.fromEntries(Object.entries(decoded));
}
