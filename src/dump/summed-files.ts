/**
 * The files of a dump with sums, of which every block is compared before a byte of it is given on. Whole blocks are read: the
 * last few stay in memory, so who reads in sequence reads each once. Nothing is read past them, so a file has no `place`.
 */
import { readFully } from '../bytes.js';
import { DumpError } from '../errors.js';
import {
  type DumpEntry,
  type DumpFiles,
  type DumpOrigin,
  type FileStat,
  followLinks,
  readAll,
  type SummedBlocks,
} from './files.js';
import { isImageName, isSumsName, OUTSIDE, SUMS, SUMS_MARK } from './names.js';
import {
  blocksOf,
  checkBlock,
  decodeSums,
  type FileSums,
  MAX_SUMS_BYTES,
  noSuchFile,
  notSummed,
  SUM_BLOCK_BYTES,
  wrongSize,
} from './sums.js';

/**
 * The files of a dump, with its blocks compared if it has sums. They are closed after an error.
 * @throws {DumpError} WRONG_SUM if files are missing or have other sizes; MALFORMED, LIMIT, BAD_NAME for sums that are none
 */
export function withSumsCompared(files: DumpFiles): DumpFiles {
  try {
    return compared(files);
  } catch (error) {
    files.close();
    throw error;
  }
}

function compared(files: DumpFiles): DumpFiles {
  if (files.stat(SUMS)) return new SummedFiles(files);
  // A directory may have what is left of an archive without its sums. An archive is written at once.
  if (files.kind === 'tar' && files.stat(SUMS_MARK)) throw sumsMissing();
  return files;
}

/** A dump whose first file promises sums does not have them. */
export const sumsMissing = (): DumpError =>
  new DumpError('WRONG_SUM', `expected this file, announced by ${SUMS_MARK}, found none`, { file: SUMS });

class SummedFiles implements DumpFiles {
  readonly kind: DumpFiles['kind'];
  readonly path: string;
  readonly mode: number;
  readonly pageSize?: number;
  readonly origin?: DumpOrigin;
  readonly summed: SummedBlocks;
  readonly arrival: DumpFiles['arrival'];
  private readonly listed: readonly DumpEntry[];
  private readonly byName: ReadonlyMap<string, DumpEntry>;
  private readonly sums: ReadonlyMap<string, FileSums>;

  constructor(private readonly files: DumpFiles) {
    const { kind, path, mode, pageSize, origin } = files;
    this.kind = kind;
    this.path = path;
    this.mode = mode;
    if (pageSize !== undefined) this.pageSize = pageSize;
    if (origin) this.origin = origin;
    if (files.arrival) this.arrival = (...args) => this.arrivalOf(...args);
    this.listed = files.entries().filter(({ name }) => !isSumsName(name));
    this.byName = new Map(this.listed.map((entry) => [entry.name, entry]));
    this.sums = decodeSums(readAll(files, SUMS, MAX_SUMS_BYTES));
    this.summed = this.checkFiles();
  }

  entries(): readonly DumpEntry[] {
    return this.listed;
  }

  stat(name: string): FileStat | undefined {
    return isSumsName(name) ? undefined : this.files.stat(name);
  }

  readSome(name: string, buffer: Uint8Array, position: number): number {
    const place = followLinks(this.byName, name)?.name;
    const sums = place === undefined ? undefined : this.sums.get(place);
    // What CRIU and others put there later has no sums: logs, statistics.
    if (place === undefined || !sums) return this.files.readSome(name, buffer, position);
    if (position >= sums.bytes) return 0;
    const index = Math.floor(position / SUM_BLOCK_BYTES);
    const block = CACHE.block(this, place, index) ?? this.read(place, sums, index);
    const start = position - index * SUM_BLOCK_BYTES;
    const part = block.subarray(start, start + buffer.length);
    buffer.set(part);
    return part.length;
  }

  willRead(name: string, extents: Float64Array, isAwaited?: boolean): void {
    if (!this.files.willRead) return;
    const sums = this.sumsOf(name);
    this.files.willRead(name, sums ? wholeBlocks(extents, sums.bytes) : extents, isAwaited);
  }

  private arrivalOf(name: string, position: number, bytes: number, isNeeded?: boolean): Promise<void> | undefined {
    const sums = this.sumsOf(name);
    const [start = position, count = bytes] = sums ? wholeBlocks(Float64Array.of(position, bytes), sums.bytes) : [];
    return this.files.arrival?.(name, start, count, isNeeded);
  }

  private sumsOf(name: string): FileSums | undefined {
    const place = followLinks(this.byName, name)?.name;
    return place === undefined ? undefined : this.sums.get(place);
  }

  parent(): DumpFiles | undefined {
    return this.files.parent();
  }

  close(): void {
    CACHE.forget(this);
    this.files.close();
  }

  private read(name: string, sums: FileSums, index: number): Uint8Array {
    const start = index * SUM_BLOCK_BYTES;
    const block = CACHE.room(Math.min(SUM_BLOCK_BYTES, sums.bytes - start));
    const count = readFully((part, at) => this.files.readSome(name, part, at), block, start);
    if (count < block.length) throw wrongSize(name, sums, start + count);
    try {
      checkBlock(name, sums, index, block);
    } catch (error) {
      this.files.forget?.(name, start, block.length);
      throw error;
    }
    CACHE.add(this, name, index, block);
    return block;
  }

  private checkFiles(): SummedBlocks {
    const toCompare = new Map<string, number>();
    let blocks = 0;
    for (const [name, sums] of this.sums) {
      const entry = this.byName.get(name);
      if (entry?.kind !== 'regular') throw noSuchFile(name);
      if (entry.size !== sums.bytes) throw wrongSize(name, sums, entry.size);
      toCompare.set(name, blocksOf(sums.bytes));
      blocks += blocksOf(sums.bytes);
    }
    for (const { name, kind } of this.listed) {
      if (kind === 'regular' && !name.startsWith(OUTSIDE) && isImageName(name) && !this.sums.has(name)) {
        throw notSummed(name);
      }
    }
    return { blocks, toCompare };
  }
}

/** The blocks that ranges are in, as ranges: position and bytes of each. */
function wholeBlocks(extents: Float64Array, bytes: number): Float64Array {
  const blocks: number[] = [];
  let end = 0;
  for (let i = 0; i < extents.length; i += 2) {
    const position = extents[i] as number;
    const start = Math.max(end, position - (position % SUM_BLOCK_BYTES));
    end = Math.min(Math.ceil((position + (extents[i + 1] as number)) / SUM_BLOCK_BYTES) * SUM_BLOCK_BYTES, bytes);
    if (end > start) blocks.push(start, end - start);
  }
  return Float64Array.from(blocks);
}

/** One for a pagemap, pages and areas each, and one more: walks over several files take turns. */
const MAX_BLOCKS = 4;

interface CachedBlock {
  files: DumpFiles;
  name: string;
  index: number;
  block: Uint8Array;
}

/** Blocks that have been compared; the one that was used last is in front. */
class BlockCache {
  private readonly blocks: CachedBlock[] = [];
  private readonly spare: Uint8Array[] = [];

  block(files: DumpFiles, name: string, index: number): Uint8Array | undefined {
    const at = this.blocks.findIndex((known) => known.index === index && known.name === name && known.files === files);
    if (at < 0) return undefined;
    const [found] = this.blocks.splice(at, 1) as [CachedBlock];
    this.blocks.unshift(found);
    return found.block;
  }

  /** Room for a block. What was used longest ago has to go. */
  room(bytes: number): Uint8Array {
    if (this.blocks.length >= MAX_BLOCKS) this.drop(this.blocks.pop() as CachedBlock);
    const spare = bytes === SUM_BLOCK_BYTES ? this.spare.pop() : undefined;
    return spare ?? new Uint8Array(bytes);
  }

  add(files: DumpFiles, name: string, index: number, block: Uint8Array): void {
    this.blocks.unshift({ files, name, index, block });
  }

  /** The files are closed. */
  forget(files: DumpFiles): void {
    for (const known of this.blocks.filter((block) => block.files === files)) {
      this.blocks.splice(this.blocks.indexOf(known), 1);
      this.drop(known);
    }
  }

  private drop({ block }: CachedBlock): void {
    if (block.length === SUM_BLOCK_BYTES) this.spare.push(block);
  }
}

/** All dumps share one, so that a long chain takes no more memory than one dump. */
const CACHE = new BlockCache();
