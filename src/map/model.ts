/**
 * The picture of a dump's memory, as data: address spaces, their areas, and what state the pages of each are in.
 *
 * Its size does not depend on that of the dump, nor on the length of its names. The pages of an area are in bins, one behind the other. A bin says how many
 * of its pages are in each state, not which ones. Where a dump has more runs than there may be bins, neighbors are joined,
 * first those that are most alike; small areas become groups. Sums stay exact.
 */
import type { Kind } from '../memory/vma.js';

/** Where a page is, and what a restore does with it. The numbers of a bin have this order. */
export const STATES = ['eager', 'lazy', 'elsewhere', 'parent', 'shared', 'zero', 'file', 'absent'] as const;
export type State = (typeof STATES)[number];

/** What the bytes of a page look like. */
export const CONTENTS = ['zero', 'text', 'compressible', 'random'] as const;
export type Content = (typeof CONTENTS)[number];

/** Pages by state or content, in the order of these lists. */
export type Counts = number[];

export interface MemoryMap {
  /** Bytes. */
  pageSize: number;
  states: readonly State[];
  /** Null if the pages were not read. */
  contents: readonly Content[] | null;
  /** Processes, areas and runs in the dump, before any were joined. */
  processes: number;
  areas: number;
  runs: number;
  /** Of all spaces; memory that processes share is counted in its segment, and there alone. */
  totals: Totals;
  content: ContentTotals | null;
  spaces: MapSpace[];
}

export interface Totals {
  pages: number;
  states: Record<State, number>;
  kinds: KindTotals;
}

/** Pages of each kind of memory that occurs, and how many of them are in the dump. */
export type KindTotals = Partial<Record<Kind, { pages: number; stored: number }>>;

export interface MapSpace extends Totals {
  type: 'task' | 'shmem';
  /** The pid of a task, the id of a segment. */
  id: number;
  /** Of a task: its command name. Of small spaces that are left out of a dump of very many, how many more there are. */
  name: string | null;
  areas: MapArea[];
}

/** An area, or a group of neighbors. What the areas of a group do not have in common is null. */
export interface MapArea {
  /** 1, or how many are in the group. */
  areas: number;
  /** In hex; what is between the areas of a group is not counted in `pages`. */
  start: string;
  end: string;
  pages: number;
  kind: Kind | null;
  /** As in /proc/PID/maps: `r-xp`. */
  flags: string | null;
  file: string | null;
  /** Of the first byte in the file, in hex. */
  offset: string | null;
  /** The segment that it maps. */
  segment: number | null;
  bins: Counts[];
  /** Of each bin: its pages by content. Those that have no bytes are in none of these numbers. */
  content?: Counts[];
  /** Of each bin: how many pages differ from the same pages of another dump. */
  changed?: number[];
}

/** What the bytes of all pages have shown. */
export interface ContentTotals {
  /** Pages that were read. */
  pages: number;
  contents: Record<Content, number>;
  /** Pages that are not zero, each counted once however often it occurs. */
  distinctPages: number;
  /** Whether that number is exact. If not, it is an estimate by a sample. */
  isExact: boolean;
  /** Bytes that LZ4 would make of the pages, by a sample of them. */
  compressedBytes: number;
  sampledPages: number;
}

/** What a page of HTML shows: one map, or several of one program, such as before and after. */
export interface MapPage {
  title: string;
  maps: { name: string; map: MemoryMap }[];
}

/** The states whose pages have bytes in the dump itself. */
export const STORED: readonly State[] = ['eager', 'lazy'];

/** Pages of counts. */
export const sumOf = (counts: readonly number[]): number => counts.reduce((sum, count) => sum + count, 0);
