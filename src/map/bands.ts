/** The bands of a map: begins one for each process or segment, and an area in it wherever its spans come to one. */
import type { Images } from '../dump/images.js';
import { coreOf, mapFlagsOfTask } from '../explore/processes.js';
import type { MemoryArea, MemorySpan, MemoryState, SegmentMemory, TaskMemory } from '../explore/task-memory.js';
import { lazyByVma } from '../memory/vma.js';
import type { MapEvents, NewArea } from './builder.js';
import type { State } from './model.js';

/** Takes the next span of a band. Returns the state of its pages for the map; undefined if there is no memory. */
export type Band = (span: MemorySpan) => State | undefined;

/** Begins the band of a process, which gets its spans in order. */
export function taskBand(builder: MapEvents, images: Images, memory: TaskMemory): Band {
  beginTask(builder, images, memory.pid);
  const map = mapFlagsOfTask(images, memory.pid);
  let area: MemoryArea | undefined;
  /** Where pages that are in no area end, if the last ones were. */
  let strayEnd = -1;
  return (span) => {
    if (span.area < 0) {
      if (span.state === 'absent') return undefined;
      const end = span.pageNumber + span.pages;
      if (span.pageNumber !== strayEnd) builder.newArea({ start: span.pageNumber, end, kind: 'unknown', flags: '' });
      else builder.areaEnd(end);
      strayEnd = end;
      area = undefined;
      return stateOf(span.state, false, undefined);
    }
    strayEnd = -1;
    if (area?.index !== span.area) {
      area = memory.area(span.area);
      builder.newArea(newArea(area));
    }
    return stateOf(span.state, lazyByVma(area.flags, area.status, map), area);
  };
}

/** Begins the band of a process. That is all for a zombie, which has no memory. */
export function beginTask(builder: MapEvents, images: Images, pid: number): void {
  const name = images.has(`core-${pid}.img`) ? coreOf(images, pid).tc?.comm : undefined;
  builder.space('task', pid, name ?? null);
}

/** Begins the band of a segment, which gets its spans in order. */
export function segmentBand(builder: MapEvents, { id, name, pages }: SegmentMemory): Band {
  builder.space('shmem', id, name ?? null);
  builder.newArea({ start: 0, end: pages, kind: 'shmem', flags: '' });
  return ({ state }) => stateOf(state, false, undefined);
}

function stateOf(state: MemoryState, isLazy: boolean, area: MemoryArea | undefined): State {
  if (state === 'absent') return 'absent';
  if (area?.segment) return 'shared';
  switch (state) {
    case 'stored':
      return isLazy ? 'lazy' : 'eager';
    case 'lazy':
      return 'elsewhere';
    case 'zero':
      // Reserved addresses: nothing can be there.
      return area?.prot === 0 ? 'absent' : 'zero';
    default:
      return state;
  }
}

const MAP_SHARED = 1;

function newArea({ start, end, prot, flags, kind, file, segment }: MemoryArea): NewArea {
  const letters = `${prot & 1 ? 'r' : '-'}${prot & 2 ? 'w' : '-'}${prot & 4 ? 'x' : '-'}`;
  return {
    start,
    end,
    kind,
    flags: `${letters}${flags & MAP_SHARED ? 's' : 'p'}`,
    ...(file ? { file: file.path ?? undefined, offset: file.pageOffset } : {}),
    segment: segment?.id,
  };
}
