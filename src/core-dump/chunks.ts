/**
 * The memory of a process, cut into what is stored in a core and what is not. The cuts are made again in each pass, so a
 * million of them take no memory.
 */
import type { MemorySpan, TaskMemory } from '../explore/task-memory.js';
import type { Kind } from '../memory/vma.js';
import type { Segment } from './elf.js';
import type { MappedFiles } from './mapped-files.js';

/**
 * Pages that follow each other in one area.
 *
 * - `stored`: of the dump, or of its parents.
 * - `zeros`: stored as zeros, because they are few between others.
 * - `mapped`: of the file that is mapped.
 * - `hole`: not stored. A debugger reads zeros, or the mapped file if it has it.
 * - `missing`: pages that are elsewhere. They have no program header, so a debugger says that it cannot read them.
 * - `unknown`: the same of shared memory whose content is in no pagemap.
 */
export interface Chunk extends MemorySpan {
  kind: 'stored' | 'zeros' | 'mapped' | 'hole' | 'missing' | 'unknown';
}

/** Whether the bytes of a chunk are in the core. */
export const isInCore = ({ kind }: Chunk): boolean => kind === 'stored' || kind === 'zeros' || kind === 'mapped';

const hasHeader = (chunk: Chunk): boolean => chunk.kind === 'hole' || isInCore(chunk);

const SHARED: readonly Kind[] = ['memfd', 'anon-shared', 'sysvipc'];

/** Fewer zeros than this are stored, because a debugger looks through all program headers for each read. */
const MIN_HOLE_PAGES = 16;

/**
 * The chunks of all areas, in ascending order.
 * @param endPage where the address space ends: areas of the kernel that 32-bit programs cannot reach are left out
 * @param files whose pages are stored as well
 */
export function* chunksOf(memory: TaskMemory, endPage: number, files?: MappedFiles): Generator<Chunk> {
  const { areas } = memory;
  for (let area = 0; area < areas.length; area++) {
    const start = areas.starts[area] as number;
    const end = areas.ends[area] as number;
    if (end > endPage) return;
    /** Stored pages since the last gap: zeros are stored in a gap that is not longer, so a core is at most twice as large. */
    let storedBefore = 0;
    for (const span of memory.spans(start, end - start)) {
      if (span.state === 'file' && files) {
        yield* fileChunks(span, memory, files);
        continue;
      }
      const kind = chunkKind(span, storedBefore, areas.kind(area));
      storedBefore = kind === 'stored' ? storedBefore + span.pages : 0;
      yield { ...span, kind };
    }
  }
}

function chunkKind({ state, at, pages }: MemorySpan, storedBefore: number, kind: Kind): Chunk['kind'] {
  if (at) return 'stored';
  if (state === 'zero') return pages <= Math.min(storedBefore, MIN_HOLE_PAGES - 1) ? 'zeros' : 'hole';
  // A parent without a place is a parent that is not there.
  if (state === 'lazy' || state === 'parent') return 'missing';
  return state === 'absent' && SHARED.includes(kind) ? 'unknown' : 'hole';
}

/** Cuts pages of a mapped file where the file ends. */
function* fileChunks(span: MemorySpan, memory: TaskMemory, files: MappedFiles): Generator<Chunk> {
  const { pageNumber, pages } = span;
  const stored = Math.min(pages, files.pagesFrom(memory, span));
  if (stored > 0) yield { ...span, pages: stored, kind: 'mapped' };
  if (stored < pages) yield { ...span, pageNumber: pageNumber + stored, pages: pages - stored, kind: 'hole' };
}

/** Joins the chunks of an area that are all stored, or all not. */
export function* segmentsOf(chunks: Iterable<Chunk>, prots: Uint32Array): Generator<Segment> {
  let last: (Segment & { area: number }) | undefined;
  for (const chunk of chunks) {
    if (!hasHeader(chunk)) continue;
    const { pageNumber, pages, area } = chunk;
    const isStored = isInCore(chunk);
    if (last && last.area === area && last.isStored === isStored && last.pageNumber + last.pages === pageNumber) {
      last.pages += pages;
      continue;
    }
    if (last) yield last;
    last = { pageNumber, pages, area, isStored, prot: prots[area] as number };
  }
  if (last) yield last;
}
