/**
 * A dump whose files arrive in whatever order: the members of an archive or of shards, as records.
 *
 * What is complete goes on at once. Pages wait until it is known what they are: until their pagemap says which, and, where
 * the areas of the task are wanted, until its mm image has come. One space is on its way at a time; what comes of others
 * meanwhile waits in a {@link Spool}. In an archive names ascend, so nothing waits there: core, mm and pagemap come before
 * pages. A capture of criu-image-streamer has the pages first.
 */
import { concatBytes } from '../bytes.js';
import { DumpError } from '../errors.js';
import { checkMagic } from '../image/framing.js';
import { headerBytes, type ImageType, typeOfName } from '../image/magic.js';
import { decodeAreas } from '../image/mm.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { PE_PARENT, type RunBatch } from '../memory/runs.js';
import {
  type DumpRecord,
  type ExtentsRecord,
  type FileRecord,
  isPagemapName,
  linkStaysInside,
  type PayloadFile,
  pagesName,
  type Space,
  spaceIdentity,
} from '../records.js';
import { MIN_PAGE_BYTES, marchOf, readTasks, requireImage, type Task, VARIABLE_PAGE_SIZE } from '../source/tasks.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import type { MemberEvent, MemberSource } from './members.js';
import { Spool, type SpoolBudget } from './spool.js';
import type { TarMember } from './tar.js';

/** Images that are looked into, and so kept. */
const KEPT = /^(inventory|pstree|(core|mm)-\d+)\.img$/;
/** Most of one image that is kept. */
const MAX_KEPT_BYTES = 256 * 1024 * 1024;
const PAGES = /^pages-(\d+)\.img$/;

export interface SequentialOptions {
  /** Of the source, for errors. */
  name: string;
  /** Bytes; of machines that have but one page size it need not be given. */
  pageSize?: number;
  /** Whether the areas of tasks are wanted before their pages: to classify by them. */
  areas?: boolean;
  budget: SpoolBudget;
  /** Permission bits of the directory that becomes of it. */
  directoryMode?: number;
}

const MAX_MAGIC_BYTES = 8;

const extentsOf = (file: PayloadFile, position: number, bytes: number): ExtentsRecord => ({
  type: 'extents',
  file,
  extents: Float64Array.of(position, bytes),
});

type Member = MemberEvent & { type: 'member' };

/** A file that is on its way. */
interface Incoming {
  name: string;
  mode: number;
  tar?: TarMember | undefined;
  /** Of a file that is neither pagemap nor pages. */
  record?: FileRecord;
  spool: Spool;
  ended: boolean;
}

/** A pagemap and the pages that belong to it. */
class IncomingSpace {
  readonly decoder: PagemapDecoder;
  readonly runs: RunBatch[] = [];
  space: Space | undefined;
  pages: Incoming | undefined;
  ended = false;
  /** Whether it has pages that are in a parent dump. */
  hasParentPages = false;

  constructor(
    readonly name: string,
    readonly mode: number,
    readonly tar: TarMember | undefined,
    pageSize: number,
  ) {
    this.decoder = new PagemapDecoder(pageSize, name);
  }
}

export class SequentialDump {
  /** Bytes. */
  readonly pageSize: number;
  /** Known at the end. */
  tasks: Task[] = [];
  /** Bytes of all files of the dump that have come. */
  bytes = 0;
  private readonly wantsAreas: boolean;
  private readonly seen = new Set<string>();
  private readonly kept = new Map<string, Uint8Array>();
  private readonly files = new Map<string, Incoming>();
  /** Complete files, links and folders that wait for their turn. */
  private readonly ready: (Incoming | FileRecord)[] = [];
  private readonly spaces = new Map<string, IncomingSpace>();
  private readonly pages = new Map<string, Incoming>();
  /** Images of which no more has come than a part of their magic. */
  private readonly starts = new Map<string, { type: ImageType; bytes: Uint8Array }>();
  private headerSent = false;
  /** A file whose bytes go on as they come. */
  private direct: string | undefined;
  /** The space that is on its way, and how much of the payload of its last runs is still to come. */
  private current: IncomingSpace | undefined;
  private payloadLeft = 0;
  private spaceCount = 0;
  /** A pagemap with pages that are in a parent dump. */
  private parentPages: string | undefined;

  constructor(private readonly options: SequentialOptions) {
    this.pageSize = options.pageSize ?? MIN_PAGE_BYTES;
    this.wantsAreas = options.areas ?? true;
  }

  /**
   * The records of the dump, for `pump`.
   * @throws {DumpError} if what came is no complete dump
   */
  async *records(source: MemberSource): AsyncGenerator<Iterable<DumpRecord>> {
    try {
      for await (const event of source) yield this.take(event);
      yield this.finish();
    } finally {
      for (const { spool } of [...this.files.values(), ...this.pages.values()]) spool.close();
    }
  }

  private *take(event: MemberEvent): Generator<DumpRecord> {
    if (event.type === 'member') yield* this.begin(event);
    else if (event.type === 'data') yield* this.count(event.name, event.bytes);
    else if (event.type === 'extent') yield* this.extent(event);
    else this.end(event.name);
    yield* this.flow();
  }

  private *count(name: string, bytes: Uint8Array): Generator<DumpRecord> {
    if (!name.startsWith('../')) this.bytes += bytes.length;
    this.checkStart(name, bytes);
    yield* this.data(name, bytes);
  }

  /** Bytes by reference: pages and files go on as they are, what is looked into is read. */
  private *extent({ name, file, position, bytes }: MemberEvent & { type: 'extent' }): Generator<DumpRecord> {
    const target = this.files.get(name) ?? this.pages.get(name);
    if (name !== this.direct && !target) {
      const records = new ExtentReader(FILE_PIECE_BYTES).read(extentsOf(file, position, bytes));
      for (const piece of records) yield* this.count(name, piece);
      return;
    }
    const start = new Uint8Array(Math.min(bytes, MAX_MAGIC_BYTES));
    file.read(start, position);
    this.checkStart(name, start);
    if (!name.startsWith('../')) this.bytes += bytes;
    if (name === this.direct) yield extentsOf(file, position, bytes);
    else target?.spool.refer(file, position, bytes);
  }

  private *begin(event: Member): Generator<DumpRecord> {
    const { name, kind, mode, size, target, tar, outside } = event;
    if (this.seen.has(name)) throw new DumpError('BAD_NAME', 'expected each file once, found it twice', { file: name });
    // Names that are no UTF-8 may look alike; only what is beside the dump has such.
    if (!name.includes('\uFFFD')) this.seen.add(name);
    if (kind === 'link' && !outside && name !== 'parent' && !linkStaysInside(name, target ?? '')) {
      throw new DumpError('BAD_NAME', 'expected a link that stays inside the dump, found one that leads outside', {
        file: name,
      });
    }
    const record: FileRecord = {
      type: 'file',
      kind,
      name,
      mode,
      size: size ?? 0,
      checked: false,
      ...(tar ? { tar } : {}),
      ...(outside ? { outside } : {}),
      ...(target === undefined ? {} : { target: Buffer.from(target) }),
    };
    const type = outside || kind !== 'regular' ? undefined : typeOfName(name);
    if (type) this.starts.set(name, { type, bytes: new Uint8Array(0) });
    if (kind !== 'regular') {
      this.ready.push(record);
    } else if (isPagemapName(name)) {
      this.spaces.set(name, new IncomingSpace(name, mode, tar, this.pageSize));
    } else if (PAGES.test(name)) {
      this.pages.set(name, { name, mode, tar, spool: new Spool(this.options.budget), ended: false });
    } else if (size !== undefined && !KEPT.test(name) && this.headerSent && this.payloadLeft === 0) {
      // Nothing is in its way.
      yield* this.sendFiles();
      yield record;
      this.direct = name;
    } else {
      this.files.set(name, { name, mode, tar, record, spool: new Spool(this.options.budget), ended: false });
    }
  }

  private *data(name: string, bytes: Uint8Array): Generator<DumpRecord> {
    if (name === this.direct) {
      yield { type: 'bytes', bytes };
      return;
    }
    const incoming = this.spaces.get(name);
    if (incoming) {
      this.addRuns(incoming, bytes);
      return;
    }
    const { current } = this;
    let rest = bytes;
    // Pages that are waited for need not be held.
    if (current?.pages?.name === name && current.pages.spool.size === 0) {
      yield* this.flow();
      for (;;) {
        const count = Math.min(this.payloadLeft, rest.length);
        if (count > 0) yield { type: 'bytes', bytes: rest.subarray(0, count) };
        this.payloadLeft -= count;
        rest = rest.subarray(count);
        if (rest.length === 0 || !this.current) break;
        yield* this.flow();
        if (this.payloadLeft === 0) break;
      }
    }
    if (rest.length === 0) return;
    const file = this.files.get(name) ?? this.pages.get(name);
    if (!file)
      throw new DumpError('PAGES_SIZE', 'expected the end of the pages of its pagemap, found more', { file: name });
    file.spool.push(rest);
  }

  private addRuns(incoming: IncomingSpace, bytes: Uint8Array): void {
    const runs = incoming.decoder.push(bytes);
    if (runs) {
      incoming.runs.push(runs);
      incoming.hasParentPages ||= runs.bits.some((bits) => (bits & PE_PARENT) !== 0);
    }
    if (incoming.space || !incoming.decoder.head) return;
    const { pagesId, head } = incoming.decoder;
    const twice = [...this.spaces.values()].find(({ space }) => space?.pagesId === pagesId);
    if (twice) {
      throw new DumpError('PAGES_ID_TWICE', `expected a pages_id of its own, found ${pagesId}, that of ${twice.name}`, {
        file: incoming.name,
      });
    }
    incoming.space = {
      index: -1,
      ...spaceIdentity(incoming.name),
      pagemap: incoming.name,
      pagesId,
      head,
      pagemapMode: incoming.mode,
      pagesMode: incoming.mode,
    };
  }

  /** An image whose name promises a type must begin with its magic. */
  private checkStart(name: string, more: Uint8Array): void {
    const start = this.starts.get(name);
    if (!start) return;
    start.bytes = concatBytes([start.bytes, more.subarray(0, headerBytes(start.type) - start.bytes.length)]);
    if (start.bytes.length < headerBytes(start.type)) return;
    checkMagic(start.bytes, start.type, name);
    this.starts.delete(name);
  }

  private end(name: string): void {
    const start = this.starts.get(name);
    if (start) checkMagic(start.bytes, start.type, name);
    if (name === this.direct) this.direct = undefined;
    const space = this.spaces.get(name);
    const file = this.files.get(name);
    const pages = this.pages.get(name);
    if (space) {
      space.decoder.end();
      space.ended = true;
    } else if (pages) {
      pages.ended = true;
    } else if (file) {
      file.ended = true;
      if (KEPT.test(name)) this.keep(file);
      this.ready.push(file);
    }
  }

  private keep({ name, spool }: Incoming): void {
    if (spool.size > MAX_KEPT_BYTES) {
      throw new DumpError('LIMIT', `expected at most ${MAX_KEPT_BYTES} bytes, found ${spool.size}`, { file: name });
    }
    this.kept.set(name, spool.contents());
  }

  /** Hands on what can go on. */
  private *flow(): Generator<DumpRecord> {
    if (!this.headerSent && !(yield* this.header())) return;
    for (;;) {
      if (this.payloadLeft === 0) yield* this.sendFiles();
      if (!this.current && !(yield* this.startSpace())) return;
      if (!(yield* this.continueSpace())) return;
    }
  }

  /** The header, when it is known from which machine the dump is; where no areas are wanted that does not matter. */
  private *header(): Generator<DumpRecord, boolean> {
    const core = [...this.kept].find(([name]) => name.startsWith('core-'));
    if (!core && this.wantsAreas) return false;
    const march = core && marchOf(core[1], core[0]);
    if (this.options.pageSize === undefined && VARIABLE_PAGE_SIZE.includes(march ?? 0)) throw this.pageSizeUnknown();
    this.headerSent = true;
    yield {
      type: 'header',
      pageSize: this.pageSize,
      directoryMode: this.options.directoryMode ?? 0o700,
      ...(march === undefined ? {} : { march }),
    };
    return true;
  }

  private pageSizeUnknown(): DumpError {
    return new DumpError('UNSUPPORTED', 'expected a machine with one page size, found one with several', {
      file: this.options.name,
      hint: 'say which it was with --page-size',
    });
  }

  private *sendFiles(): Generator<DumpRecord> {
    for (let file = this.ready.shift(); file; file = this.ready.shift()) {
      if ('type' in file) {
        yield file;
        continue;
      }
      const { name, record, spool } = file;
      if (record) yield { ...record, size: spool.size };
      yield* spool.take(spool.size);
      this.files.delete(name);
    }
  }

  /** Begins with a space whose pages are known and wait; false if there is none. */
  private *startSpace(): Generator<DumpRecord, boolean> {
    for (const incoming of this.spaces.values()) {
      const { space } = incoming;
      if (!space) continue;
      incoming.pages ??= this.pages.get(pagesName(space));
      if (!incoming.pages || !this.areasAreKnown(space)) continue;
      const tar = {
        ...(incoming.tar ? { pagemap: incoming.tar } : {}),
        ...(incoming.pages.tar ? { pages: incoming.pages.tar } : {}),
      };
      const numbered = { ...space, index: this.spaceCount++, pagesMode: incoming.pages.mode, tar };
      incoming.space = numbered;
      this.current = incoming;
      yield { type: 'space', space: numbered };
      const mm = this.kept.get(`mm-${space.pid}.img`);
      if (mm && space.kind === 'task') {
        yield { type: 'areas', space: numbered, areas: decodeAreas(mm, this.pageSize, `mm-${space.pid}.img`) };
      }
      return true;
    }
    return false;
  }

  private areasAreKnown({ kind, pid }: Space): boolean {
    return !this.wantsAreas || kind === 'shmem' || this.kept.has(`mm-${pid}.img`);
  }

  /** Goes on with the current space; true if it is done. */
  private *continueSpace(): Generator<DumpRecord, boolean> {
    const { current } = this;
    if (!current?.pages || !current.space) return false;
    const { spool } = current.pages;
    for (;;) {
      if (this.payloadLeft > 0 && spool.size > 0) {
        const before = spool.size;
        yield* spool.take(this.payloadLeft);
        this.payloadLeft -= before - spool.size;
      }
      if (this.payloadLeft > 0) break;
      const runs = current.runs.shift();
      if (!runs) break;
      this.payloadLeft = runs.payloadBytes;
      yield { type: 'runs', space: current.space, runs, checked: false };
    }
    return current.ended && current.pages.ended && current.runs.length === 0 && this.endSpace(current, current.pages);
  }

  private endSpace(current: IncomingSpace, pages: Incoming): boolean {
    if (this.payloadLeft > 0 || pages.spool.size > 0) {
      const difference = this.payloadLeft > 0 ? `${this.payloadLeft} more bytes` : `${pages.spool.size} fewer bytes`;
      throw new DumpError('PAGES_SIZE', `expected ${difference} of pages by ${current.name}`, { file: pages.name });
    }
    if (current.hasParentPages) this.parentPages ??= current.name;
    pages.spool.close();
    this.spaces.delete(current.name);
    this.pages.delete(pages.name);
    this.current = undefined;
    return true;
  }

  private *finish(): Generator<DumpRecord> {
    const { march, tasks } = readTasks(
      { has: (name) => this.seen.has(name), read: (name) => this.kept.get(name) ?? new Uint8Array(0) },
      this.options.name,
    );
    if (this.options.pageSize === undefined && VARIABLE_PAGE_SIZE.includes(march ?? 0)) throw this.pageSizeUnknown();
    this.tasks = tasks;
    yield* this.flow();
    for (const { space, name } of this.spaces.values()) {
      if (space) requireImage({ has: (image) => this.seen.has(image) }, pagesName(space), name);
      if (space?.kind === 'task') requireImage({ has: (image) => this.seen.has(image) }, `mm-${space.pid}.img`, name);
      throw new DumpError('TRUNCATED', 'expected the end of this image, found that of the dump', { file: name });
    }
    const [stray] = this.pages.keys();
    if (stray !== undefined) {
      throw new DumpError('MISSING_IMAGE', 'expected a pagemap for these pages, found none', { file: stray });
    }
    if (this.parentPages !== undefined && !this.seen.has('parent')) {
      throw new DumpError('NO_PARENT', 'expected a parent dump, which has pages of this one, found no parent link', {
        file: this.parentPages,
      });
    }
    yield { type: 'end' };
  }
}
