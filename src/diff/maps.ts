/** The maps of two dumps with the changed pages marked. They are drawn while the dumps are compared, and hold no pages. */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import type { MemorySpan, SegmentMemory, TaskMemory } from '../explore/task-memory.js';
import { type Band, beginTask, segmentBand, taskBand } from '../map/bands.js';
import { MAP_LIMITS, MapBuilder } from '../map/builder.js';
import type { MemoryMap } from '../map/model.js';

/** Two maps are in one page. */
const HALF = { bytes: MAP_LIMITS.bytes / 2 };

/** Takes the spans of a process or segment in order, cut where changed pages begin and end. */
export type Draw = (span: MemorySpan, isChanged: boolean) => void;

export class ChangeMap {
  private readonly images: Images;
  private readonly builder: MapBuilder;

  /** @param pageSize bytes */
  constructor(files: DumpFiles, pageSize: number) {
    this.images = new Images(files);
    this.builder = new MapBuilder({ pageSize, hasChanges: true, limits: HALF });
  }

  /** Begins a process. */
  task(memory: TaskMemory): Draw {
    return this.drawIn(taskBand(this.builder, this.images, memory));
  }

  /** Begins a segment of shared memory. */
  segment(segment: SegmentMemory): Draw {
    return this.drawIn(segmentBand(this.builder, segment));
  }

  /** Draws a process that the other dump does not have; `memory` is undefined for a zombie. */
  wholeTask(pid: number, memory: TaskMemory | undefined): void {
    if (!memory) {
      beginTask(this.builder, this.images, pid);
      return;
    }
    const draw = this.task(memory);
    for (const span of memory.spans()) draw(span, false);
  }

  /** Draws a segment that the other dump does not have. */
  wholeSegment(segment: SegmentMemory): void {
    const draw = this.segment(segment);
    for (const span of segment.spans()) draw(span, false);
  }

  map(): MemoryMap {
    return this.builder.map();
  }

  private drawIn(band: Band): Draw {
    return (span, isChanged) => {
      const state = band(span);
      if (state) this.builder.pages(state, span.pages, undefined, isChanged);
    };
  }
}
