/**
 * Of a dump that arrives, the pages that a command looks at, such as those with arguments and environments. In an archive the
 * images that say where these are come before the pages, so nothing else has to be held.
 */
import type { WantedPages } from '../arrival/hold.js';
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { isPagemapName, mmName, pagesName, spaceIdentity } from '../dump/names.js';
import { findPageSize } from '../dump/page-size.js';
import { openAddressSpace } from '../dump/pagemap.js';
import { DumpError } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { storedRange } from '../memory/space.js';
import { wantedPages } from './processes.js';

/** Bytes up to the first entry of a pagemap. */
const HEAD_BYTES = 4096;

/** @param env whether environments are wanted, too */
export const inspectionPages =
  ({ env, pageSize }: { env: boolean; pageSize?: number | undefined }): WantedPages =>
  (files, pages, isComplete) => {
    try {
      return rangesIn(files, pages, { env, pageSize: pageSize ?? findPageSize(files), isComplete });
    } catch (error) {
      // What is wrong shows when it is read.
      if (error instanceof DumpError) return undefined;
      throw error;
    }
  };

/** The pages of one process, and those of shared memory. */
export const ownPages =
  (pid: number): WantedPages =>
  (files, pages, isComplete) => {
    const pagemaps = files.entries().filter(({ name }) => isPagemapName(name));
    const isOther = pagemaps.some(({ name }) => {
      const identity = spaceIdentity(name);
      const isOwn = identity.kind === 'shmem' || identity.pid === pid;
      return !isOwn && isComplete(name) && pagesOf(files, name) === pages;
    });
    return isOther ? new Float64Array(0) : undefined;
  };

function rangesIn(
  files: DumpFiles,
  pages: string,
  { env, pageSize, isComplete }: { env: boolean; pageSize: number; isComplete: (name: string) => boolean },
): Float64Array | undefined {
  const images = new Images(files);
  const owners = ownersOf(files, pages, isComplete);
  if (!owners) return undefined;
  const ranges: [number, number][] = [];
  for (const name of owners) {
    const { kind, pid } = spaceIdentity(name);
    if (kind === 'shmem') continue;
    if (!isComplete(mmName(pid))) return undefined;
    const space = openAddressSpace(files, name, pageSize, true);
    for (const { pageNumber, pages: count } of wantedPages(images, pid as number, pageSize, { env })) {
      for (const span of space.locate(pageNumber, count)) {
        const range = span.depth ? undefined : storedRange(span, pageSize);
        if (range) ranges.push(range);
      }
    }
  }
  return joined(ranges);
}

/** The pagemaps of a pages file; undefined as long as that is not known. */
export function ownersOf(files: DumpFiles, pages: string, isComplete: (name: string) => boolean): string[] | undefined {
  const pagemaps = files.entries().flatMap(({ name }) => (isPagemapName(name) ? [name] : []));
  if (!pagemaps.every(isComplete)) return undefined;
  const owners = pagemaps.filter((name) => pagesOf(files, name) === pages);
  return owners.length === 0 ? undefined : owners;
}

function pagesOf(files: DumpFiles, pagemap: string): string | undefined {
  const start = new Uint8Array(HEAD_BYTES);
  const decoder = new PagemapDecoder(HEAD_BYTES, pagemap);
  decoder.pushHead(start.subarray(0, files.readSome(pagemap, start, 0)));
  return decoder.head && pagesName(decoder);
}

/** Ranges in order, those that touch as one. */
function joined(ranges: [number, number][]): Float64Array {
  const parts: number[] = [];
  for (const [start, end] of ranges.sort(([a], [b]) => a - b)) {
    const last = parts.length - 1;
    if (last > 0 && start <= (parts[last] as number)) parts[last] = Math.max(parts[last] as number, end);
    else parts.push(start, end);
  }
  return Float64Array.from(parts);
}
