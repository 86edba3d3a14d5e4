/** Makes a map of the reports of all its slices (trace.ts), which may be damaged or forged. */
import { KINDS, type Kind } from '../memory/vma.js';
import { MapBuilder, type NewArea } from './builder.js';
import { type ContentCounts, contentTotals } from './content.js';
import { DistinctCount } from './distinct.js';
import { CONTENTS, type MemoryMap, STATES } from './model.js';
import type { SliceTotals } from './trace.js';

export class MapJoin {
  private readonly builder: MapBuilder;
  private readonly counts: ContentCounts | undefined;
  private hasSpace = false;
  private hasArea = false;

  /** @param first the totals of any slice */
  constructor({ pageSize, content }: Omit<SliceTotals, 'lines'>) {
    this.builder = new MapBuilder({ pageSize, hasContent: content !== null });
    const contents = Object.fromEntries(CONTENTS.map((name) => [name, 0])) as ContentCounts['contents'];
    if (content) this.counts = { pages: 0, contents, sampledPages: 0, sampledBytes: 0, distinct: new DistinctCount() };
  }

  /** Adds the totals of a slice, before its lines. */
  totals({ content }: SliceTotals): void {
    const { counts } = this;
    if (!content || !counts) return;
    for (const name of ['pages', 'sampledPages', 'sampledBytes'] as const) counts[name] += content[name];
    for (const name of CONTENTS) counts.contents[name] += content.contents[name];
    counts.distinct.keepEvery(content.differentEvery);
  }

  /** Adds a line; those of all slices in order. Returns whether it is one. */
  line(line: Record<string, unknown>): boolean {
    switch (line['event']) {
      case 'space':
        return this.space(line);
      case 'area':
        return this.area(line);
      case 'area-end':
        return this.areaEnd(line);
      case 'runs':
        return this.runs(line);
      case 'different':
        return this.different(line);
      default:
        return false;
    }
  }

  map(): MemoryMap {
    return this.builder.map(this.counts && contentTotals(this.counts));
  }

  private space({ type, id, name }: Record<string, unknown>): boolean {
    const isSpace = (type === 'task' || type === 'shmem') && isCount(id) && (name === null || typeof name === 'string');
    if (isSpace) this.builder.space(type, id, name);
    this.hasSpace ||= isSpace;
    this.hasArea = false;
    return isSpace;
  }

  private area({ event: _, ...area }: Record<string, unknown>): boolean {
    const { start, end, kind, flags, file, offset, segment } = area;
    const isArea =
      this.hasSpace &&
      isCount(start) &&
      isCount(end) &&
      (KINDS as readonly unknown[]).includes(kind as Kind) &&
      typeof flags === 'string' &&
      (file === undefined || typeof file === 'string') &&
      [offset, segment].every((value) => value === undefined || isCount(value));
    if (isArea) this.builder.newArea(area as unknown as NewArea);
    this.hasArea ||= isArea;
    return isArea;
  }

  private areaEnd({ page }: Record<string, unknown>): boolean {
    if (!this.hasArea || !isCount(page)) return false;
    this.builder.areaEnd(page);
    return true;
  }

  private runs({ runs }: Record<string, unknown>): boolean {
    if (!this.hasArea || !Array.isArray(runs) || runs.length % 3 !== 0) return false;
    for (let i = 0; i < runs.length; i += 3) {
      if (!isCount(runs[i]) || !Number.isSafeInteger(runs[i + 1])) return false;
      const [state, content, pages] = [
        STATES[runs[i]],
        runs[i + 1] === -1 ? undefined : CONTENTS[runs[i + 1]],
        runs[i + 2],
      ];
      if (state === undefined || (content === undefined && runs[i + 1] !== -1) || !isCount(pages)) return false;
      this.builder.pages(state, pages, content);
    }
    return true;
  }

  private different({ numbers }: Record<string, unknown>): boolean {
    const bytes = typeof numbers === 'string' ? Buffer.from(numbers, 'base64') : undefined;
    if (!bytes || bytes.length % 8 !== 0 || !this.counts) return false;
    for (let at = 0; at < bytes.length; at += 8) {
      const number = bytes.readDoubleLE(at);
      if (!isCount(number)) return false;
      this.counts.distinct.add(number);
    }
    return true;
  }
}

/** Whether the last line of a report has the totals of a slice. */
export function isSliceTotals({ pageSize, content, lines }: Record<string, unknown>): boolean {
  if (!isCount(lines) || !isCount(pageSize) || pageSize === 0) return false;
  if (content === null) return true;
  if (typeof content !== 'object') return false;
  const { pages, sampledPages, sampledBytes, differentEvery, contents } = content as Record<string, unknown>;
  if (typeof contents !== 'object' || contents === null) return false;
  const counts = CONTENTS.map((name) => (contents as Record<string, unknown>)[name]);
  return [pages, sampledPages, sampledBytes, ...counts].every(isCount) && isPowerOfTwo(differentEvery);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;
const isPowerOfTwo = (value: unknown): boolean => isCount(value) && value > 0 && Number.isInteger(Math.log2(value));
