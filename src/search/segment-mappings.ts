/** Where processes have mapped segments of shared memory. */
import type { TaskMemory } from '../explore/task-memory.js';
import { type Kind, VMA } from '../memory/vma.js';

interface Mapping {
  pid: number;
  kind: Kind;
  /** First page of the area, number of its pages, and first page in the segment. */
  start: number;
  pages: number;
  offset: number;
}

const SHARED = VMA.MEMFD | VMA.ANON_SHARED | VMA.SYSVIPC;

export class SegmentMappings {
  private readonly ofSegments = new Map<number, Mapping[]>();

  /** Takes note of what a process has mapped. */
  add(memory: TaskMemory): void {
    const { areas, pid } = memory;
    for (let i = 0; i < areas.length; i++) {
      // Most areas have no segment, and there may be a million.
      if (!((areas.status[i] as number) & SHARED)) continue;
      const { segment, start, end, kind } = memory.area(i);
      if (!segment) continue;
      const known = this.ofSegments.get(segment.id) ?? [];
      known.push({ pid, kind, start, pages: end - start, offset: segment.pageOffset });
      this.ofSegments.set(segment.id, known);
    }
  }

  has(segment: number): boolean {
    return this.ofSegments.has(segment);
  }

  kindsOf(segment: number): Kind[] {
    return [...new Set(this.ofSegments.get(segment)?.map(({ kind }) => kind))];
  }

  /** The pages that a page of a segment is at. */
  at(segment: number, page: number): { pid: number; kind: Kind; page: number }[] {
    return (this.ofSegments.get(segment) ?? [])
      .filter(({ offset, pages }) => page >= offset && page < offset + pages)
      .map(({ pid, kind, start, offset }) => ({ pid, kind, page: start + page - offset }));
  }
}
