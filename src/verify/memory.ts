/** The memory of the dump: pagemaps with their pages files, the areas of their pages, and pages in parents. */

import { Images } from '../dump/images.js';
import { leftoverPagemaps } from '../dump/leftovers.js';
import { isPagemapName, isPagesName, mmName, spaceIdentity } from '../dump/names.js';
import { watchCompression, watchRawAreas } from './blocks.js';
import { watchAreas, watchSegment } from './bounds.js';
import type { CheckedDump } from './checked-dump.js';
import { isColdHalf } from './cold.js';
import { areasOf } from './mm.js';
import { ParentChain } from './parents.js';
import { LazyPages } from './run-flags.js';
import type { Segments } from './segments.js';
import { checkSpace, type WatchRuns } from './space.js';
import type { Survey } from './survey.js';

/** The cheap part: whether pagemaps can be read, and have pages files of the right size. */
export function checkPages(dump: CheckedDump, survey: Survey, pageSize: number): void {
  const spaces = new SpaceChecks(dump, pageSize);
  for (const pagemap of pagemapsOf(dump, survey)) spaces.check(pagemap, []);
  spaces.end();
}

/** All of it. The areas of one process are held at a time. */
export function checkMemory(dump: CheckedDump, survey: Survey, pageSize: number, segments: Segments): void {
  const chain = new ParentChain(dump, pageSize);
  const spaces = new SpaceChecks(dump, pageSize);
  for (const pagemap of pagemapsOf(dump, survey)) {
    const watchers = watchersOf(dump, survey, pagemap, pageSize, segments);
    if (survey.inventory) watchers.push(watchCompression(dump, pagemap, survey.inventory, pageSize));
    spaces.check(pagemap, [...watchers, chain.watch(pagemap)]);
  }
  spaces.end();
}

/** Ignores the pagemaps of an earlier dump in the same place, as a restore does. */
function pagemapsOf(dump: CheckedDump, { tasks }: Survey): string[] {
  const names = [...dump.sizes.keys()];
  // Memory alone is a pre-dump.
  if (tasks.length === 0 || !dump.isSound('pstree.img') || isColdHalf(dump)) return names.filter(isPagemapName);
  const pids = new Set(tasks.map(({ pid }) => pid));
  const left = leftoverPagemaps({ images: new Images(dump.files), names, pids });
  for (const name of left.keys()) {
    dump.warning('PAGEMAP_UNUSED', name, 'no process of the dump has this memory');
  }
  return names.filter((name) => isPagemapName(name) && !left.has(name));
}

/** Those that compare a pagemap with the memory that it is of. */
function watchersOf(
  dump: CheckedDump,
  { march }: Survey,
  pagemap: string,
  pageSize: number,
  segments: Segments,
): WatchRuns[] {
  const { pid } = spaceIdentity(pagemap);
  if (pid === undefined) {
    const segment = segments.sizes.get(pagemap);
    return segment ? [watchSegment(dump, pagemap, segment, pageSize)] : [];
  }
  const areas = areasOf(dump, pid, pageSize);
  return areas
    ? [watchAreas(dump, pagemap, mmName(pid), areas, pageSize), watchRawAreas(dump, pagemap, areas, march, pageSize)]
    : [];
}

/** Checks that need all pagemaps. */
class SpaceChecks {
  private readonly owners = new Map<number, string>();
  private unreadable = 0;
  private readonly lazy = new LazyPages();

  constructor(
    private readonly dump: CheckedDump,
    private readonly pageSize: number,
  ) {}

  check(pagemap: string, watchers: readonly WatchRuns[]): void {
    const summary = checkSpace(this.dump, pagemap, this.pageSize, this.owners, watchers);
    if (summary.pagesId === undefined) this.unreadable++;
    this.lazy.add(pagemap, summary);
  }

  end(): void {
    this.lazy.tell(this.dump.findings);
    // Any pages file may belong to a pagemap that could not be read.
    if (this.unreadable > 0) return;
    for (const name of this.dump.sizes.keys()) {
      if (!isPagesName(name)) continue;
      const id = Number(/\d+/.exec(name)?.[0]);
      if (this.owners.has(id)) continue;
      this.dump.warning('PAGES_UNUSED', name, `expected a pagemap with pages_id ${id}, found none`);
    }
  }
}
