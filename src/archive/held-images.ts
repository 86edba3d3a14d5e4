/**
 * The files of a dump that can only be read from front to back, held so that they can be read here and there: in memory
 * within the budget, past that in a spill file. Pages are most of a dump, and few commands need them: of these only the
 * size is kept, unless they are asked for.
 */
import { Breather } from '../breathe.js';
import { DumpError } from '../errors.js';
import { type DumpRecord, isPagesName } from '../records.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import { HeldBytes, type HeldFile } from './held-bytes.js';
import { type IndexedMember, type IndexParts, MemberMap } from './indexed-members.js';
import type { MemberSource } from './members.js';
import { type FileTaker, RecordFiles } from './record-files.js';
import type { SpoolBudget } from './spool.js';

export interface HoldOptions {
  budget: SpoolBudget;
  /** `count`, the default: of the pages only the size is known; `hold`: they can be read as well. */
  pages?: 'count' | 'hold';
  /** Most bytes of all files, holes included. */
  maxBytes?: number;
  signal?: AbortSignal;
}

/** Holds files that come one after the other, or in turn. Throws {@link DumpError} as they do, and BAD_NAME, LIMIT, SYSTEM. */
export async function holdMembers(members: MemberSource, options: HoldOptions): Promise<IndexParts> {
  const images = new HeldImages(options);
  const extents = new ExtentReader(FILE_PIECE_BYTES);
  return images.fill(members, (event) => {
    if (event.type === 'member' && !event.outside) {
      const { name, kind, mode, target } = event;
      images.begin(name, { kind, mode, ...(target === undefined ? {} : { target: Buffer.from(target) }) });
    } else if (event.type === 'data') {
      images.push(event.name, event.bytes);
    } else if (event.type === 'extent') {
      const { name, file, position, bytes } = event;
      const record = { type: 'extents', file, extents: Float64Array.of(position, bytes) } as const;
      for (const piece of extents.read(record)) images.push(name, piece);
    }
  });
}

/**
 * Holds the files of a page stream; its pagemaps are made of its runs.
 * @throws {DumpError} as the stream does, and STREAM_DAMAGED, BAD_NAME, LIMIT, SYSTEM
 */
export async function holdRecords(
  stream: AsyncIterable<Iterable<DumpRecord>>,
  options: HoldOptions,
): Promise<IndexParts> {
  const images = new HeldImages(options);
  const records = new RecordFiles(images);
  const parts = await images.fill(stream, (batch) => {
    for (const record of batch) records.take(record);
  });
  return { ...parts, pageSize: records.pageSize };
}

class HeldImages implements FileTaker {
  private readonly members = new MemberMap();
  private readonly files = new Map<string, RegularFile>();
  private readonly held: HeldBytes;
  private bytes = 0;

  constructor(private readonly options: HoldOptions) {
    this.held = new HeldBytes(options.budget);
  }

  /** Takes all of a source. */
  async fill<T>(source: AsyncIterable<T>, take: (part: T) => void): Promise<IndexParts> {
    const breather = new Breather();
    try {
      for await (const part of source) {
        take(part);
        const breath = breather.due();
        if (breath) await breath;
        this.options.signal?.throwIfAborted();
      }
    } catch (error) {
      this.held.close();
      throw error;
    }
    return { members: this.members, close: () => this.held.close() };
  }

  begin(name: string, { kind, mode, target }: Pick<IndexedMember, 'kind' | 'mode' | 'target'>): void {
    if (kind !== 'regular') {
      this.members.add(name, { kind, mode, size: 0, ...(target ? { target } : {}) });
      return;
    }
    const isHeld = this.options.pages === 'hold' || !isPagesName(name);
    const file = new RegularFile(mode, isHeld ? this.held.file() : undefined);
    this.members.add(name, file);
    this.files.set(name, file);
  }

  /** Bytes of what was not begun are those of a file beside the dump. */
  push(name: string, bytes: Uint8Array): void {
    const { maxBytes = Number.MAX_SAFE_INTEGER } = this.options;
    const file = this.files.get(name);
    if (!file) return;
    this.bytes += bytes.length;
    if (this.bytes > maxBytes) {
      throw new DumpError('LIMIT', `expected a dump of at most ${maxBytes} bytes, found more`, {
        file: name,
        hint: '--max-bytes allows more',
      });
    }
    file.push(bytes);
  }
}

class RegularFile implements IndexedMember {
  readonly kind = 'regular';
  size = 0;

  constructor(
    readonly mode: number,
    readonly bytes: HeldFile | undefined,
  ) {}

  push(bytes: Uint8Array): void {
    this.bytes?.push(bytes);
    this.size += bytes.length;
  }
}
