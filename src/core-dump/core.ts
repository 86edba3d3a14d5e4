/**
 * A process of a dump as an ELF core, for a debugger: headers, notes, then its memory. All sizes are known before the first
 * byte is written, and memory that is in a file as it is goes by reference. What is long is made again in each pass, and not
 * kept: there may be a million segments and as many mapped files.
 */
import type { Images } from '../dump/images.js';
import type { PayloadFile, PayloadRecord } from '../dump/records.js';
import { DumpError } from '../errors.js';
import type { TaskMemories, TaskMemory } from '../explore/task-memory.js';
import { bytesOf, pageRange } from '../inspect/memory-text.js';
import type { StoredAt } from '../memory/space.js';
import { type Chunk, chunksOf, isInCore, segmentsOf } from './chunks.js';
import { type CoreLayout, countSection, elfHeader, noteProgram, paddingBytes, pagesAt, SegmentWriter } from './elf.js';
import { fileNote } from './file-note.js';
import type { MappedFiles } from './mapped-files.js';
import { ARGUMENT_BYTES, auxiliaryNote, processNote } from './notes.js';
import { CoreProcess } from './process.js';

/** Program headers in a piece. */
const PIECE_SEGMENTS = 1024;
/** Extents in a record. */
const RECORD_EXTENTS = 1024;
const ZEROS = new Uint8Array(64 * 1024);

export interface CoreOptions {
  /** Whose pages go into the core as well. */
  mappedFiles?: MappedFiles | undefined;
  /** Whether pages may be missing. */
  incomplete?: boolean;
}

/** Bytes of memory, by what became of them. */
export interface CoreAmounts {
  /** In the core. */
  stored: number;
  /** Not in the core: zeros, or left to the mapped files. */
  holes: number;
  /** Not in the dump: lazy pages, and those of a parent dump that is not there. */
  missing: number;
  /** Shared memory whose content is in no pagemap. */
  unknown: number;
}

export class Core {
  readonly amounts: CoreAmounts = { stored: 0, holes: 0, missing: 0, unknown: 0 };
  private readonly process: CoreProcess;
  private readonly memory: TaskMemory;
  private readonly layout: CoreLayout;

  /**
   * Lays out the core of a process; nothing of its memory is read.
   * @throws {DumpError} MISSING_IMAGE for an id that is not in the dump, UNSUPPORTED for a zombie or another machine,
   *   PARTIAL_DUMP for pages that are not in the dump, LIMIT, and for images that cannot be read
   */
  constructor(
    images: Images,
    memories: TaskMemories,
    readonly pid: number,
    private readonly options: CoreOptions = {},
  ) {
    this.process = CoreProcess.of(images, pid);
    this.memory = memories.of(pid) as TaskMemory;
    const { elf, number: machine } = this.process.machine;
    let segments = 0;
    for (const _ of this.segments(true)) segments++;
    const { missing } = this.amounts;
    if (missing > 0 && !options.incomplete) throw lacksPages(pid, missing / memories.pageSize);
    let noteBytes = 0;
    for (const note of this.notes()) noteBytes += note.length;
    this.layout = { elf, machine, pageSize: memories.pageSize, segments, noteBytes };
    if (elf.word === 4 && this.bytes >= 2 ** 32) {
      throw new DumpError('LIMIT', `expected at most 4 GiB in the core of a 32-bit process, found ${this.bytes} bytes`);
    }
  }

  /** Of the file. */
  get bytes(): number {
    return pagesAt(this.layout) + this.amounts.stored;
  }

  /** Ranges of memory in the core, each with a program header. */
  get segmentCount(): number {
    return this.layout.segments;
  }

  get threads(): number {
    return this.process.threadCount;
  }

  /** `x86-64`, `i386` or `aarch64`. */
  get machine(): string {
    return this.process.machine.name;
  }

  /** The whole file, from front to back. Bytes are overwritten by what comes next. */
  *records(): Generator<PayloadRecord> {
    for (const bytes of this.head()) yield { type: 'bytes', bytes };
    yield* this.pages();
  }

  private *head(): Generator<Uint8Array> {
    const { layout } = this;
    yield elfHeader(layout);
    yield noteProgram(layout);
    const writer = new SegmentWriter(layout, PIECE_SEGMENTS);
    for (const segment of this.segments()) if (writer.add(segment)) yield writer.take();
    yield writer.take();
    yield countSection(layout);
    yield* this.notes();
    yield* zeros(paddingBytes(layout));
  }

  private *notes(): Generator<Uint8Array> {
    const { process, memory } = this;
    const { elf } = process.machine;
    const { auxiliary, argStart, argEnd } = process.memory();
    const args = bytesOf(memory, pageRange(argStart, argEnd, ARGUMENT_BYTES, memory.pageSize));
    yield processNote(elf, process.info(typeof args === 'string' ? new Uint8Array(0) : args.bytes));
    for (const notes of process.threadNotes()) yield* notes;
    if (auxiliary.length > 0) yield auxiliaryNote(elf, auxiliary);
    yield* fileNote(elf, memory);
  }

  private chunks(): Generator<Chunk> {
    const { elf } = this.process.machine;
    const endPage = 2 ** (8 * elf.word) / this.memory.pageSize;
    return chunksOf(this.memory, endPage, this.options.mappedFiles);
  }

  /** @param count whether amounts are counted meanwhile */
  private segments(count = false) {
    const chunks = count ? this.counted(this.chunks()) : this.chunks();
    return segmentsOf(chunks, this.memory.areas.prots);
  }

  private *counted(chunks: Iterable<Chunk>): Generator<Chunk> {
    const { amounts, memory } = this;
    for (const chunk of chunks) {
      const bytes = chunk.pages * memory.pageSize;
      if (isInCore(chunk)) amounts.stored += bytes;
      else if (chunk.kind === 'hole') amounts.holes += bytes;
      else amounts[chunk.kind as 'missing' | 'unknown'] += bytes;
      yield chunk;
    }
  }

  private *pages(): Generator<PayloadRecord> {
    const extents = new ExtentGatherer();
    for (const chunk of this.chunks()) {
      if (!isInCore(chunk)) continue;
      if (chunk.kind === 'stored' && chunk.at && !chunk.at.compressed) {
        const { file, position } = this.plainPlace(chunk, chunk.at);
        yield* extents.add(file, position, chunk.pages * this.memory.pageSize);
        continue;
      }
      yield* extents.flush();
      if (chunk.kind === 'mapped') yield* this.mapped(chunk);
      else if (chunk.kind === 'zeros') yield* zeroRecords(chunk.pages * this.memory.pageSize);
      else yield* this.decoded(chunk);
    }
    yield* extents.flush();
  }

  private plainPlace({ pageNumber }: Chunk, { file, position, firstPage }: StoredAt) {
    return { file, position: position + (pageNumber - firstPage) * this.memory.pageSize };
  }

  /** Pages in compressed blocks. */
  private *decoded({ pageNumber, pages }: Chunk): Generator<PayloadRecord> {
    for (const { bytes } of this.memory.read(pageNumber, pages)) if (bytes) yield { type: 'bytes', bytes };
  }

  /** Pages of a mapped file: the last one may end inside of a page. */
  private *mapped(chunk: Chunk): Generator<PayloadRecord> {
    const { file, position } = this.options.mappedFiles?.place(this.memory, chunk) ?? { position: 0 };
    const wanted = chunk.pages * this.memory.pageSize;
    const bytes = file ? Math.min(wanted, file.size - position) : 0;
    if (file) yield { type: 'extents', file, extents: Float64Array.of(position, bytes) };
    yield* zeroRecords(wanted - bytes);
  }
}

/** Joins what follows each other in a file: a page run may be a single page. */
class ExtentGatherer {
  private file: PayloadFile | undefined;
  private readonly extents: number[] = [];
  private end = 0;

  *add(file: PayloadFile, position: number, bytes: number): Generator<PayloadRecord> {
    if (this.file !== file || this.extents.length >= 2 * RECORD_EXTENTS) yield* this.flush();
    const isNext = this.extents.length > 0 && this.end === position;
    if (isNext) this.extents.push((this.extents.pop() as number) + bytes);
    else this.extents.push(position, bytes);
    this.file = file;
    this.end = position + bytes;
  }

  *flush(): Generator<PayloadRecord> {
    const { file, extents } = this;
    if (file && extents.length > 0) yield { type: 'extents', file, extents: Float64Array.from(extents) };
    this.extents.length = 0;
  }
}

function* zeros(bytes: number): Generator<Uint8Array> {
  for (let left = bytes; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, left);
}

function* zeroRecords(bytes: number): Generator<PayloadRecord> {
  for (const piece of zeros(bytes)) yield { type: 'bytes', bytes: piece };
}

const lacksPages = (pid: number, pages: number): DumpError =>
  new DumpError('PARTIAL_DUMP', `${pages} pages of process ${pid} are not in the dump`, {
    hint: 'of a lazy dump take the one that it was made from; --incomplete makes a core without these pages',
  });
