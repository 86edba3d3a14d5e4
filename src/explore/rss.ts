/** The dumped pages of each process, with the areas that they are in. The pagemap is streamed. */

import type { Images } from '../dump/images.js';
import { mmName } from '../dump/names.js';
import { approximate, decimal, endOf, hex, isBelow, unitsBetween, type Word } from '../image/number-fields.js';
import { hasFile, kindOfArea, type MapFlags } from '../memory/vma.js';
import { AreaRows } from './areas.js';
import { FileTable } from './file-table.js';
import { type Print, printArray } from './output.js';
import { eachPagemapEntry, flagsJson } from './pagemap.js';
import { lacksAsZombie, mapFlagsOfTask, processesOf } from './processes.js';

export interface RssOptions {
  /** Bytes of a page of the dumped machine. crit assumes 4096 for every machine. */
  pageSize: number;
}

/** Width of the column of pagemap entries, a tab before it. */
const WIDTH = 24;
/** The text before all areas of an entry except the first, and after the last. */
const NEXT_AREA = `\n\t${' '.repeat(WIDTH - 1)}`;

const word = (): Word => ({ lo: 0, hi: 0 });

/** Prints the pagemap entries of each process: address and pages, and after each the areas that it touches. */
export function printPages(images: Images, print: Print, { pageSize }: RssOptions): void {
  const files = new FileTable(images);
  for (const { pid } of processesOf(images)) {
    const zombie = lacksAsZombie(images, pid, mmName(pid));
    const areas = zombie ? undefined : AreaRows.of(images, pid);
    print(`${pid}\n`);
    if (areas) printEntries(images, pid, areas, files, print, pageSize);
  }
}

function printEntries(
  images: Images,
  pid: number,
  areas: AreaRows,
  files: FileTable,
  print: Print,
  pageSize: number,
): void {
  const [start, end, stop] = [word(), word(), word()];
  /** The first area that may be touched: entries ascend. */
  let next = 0;
  /** The area that was printed last. If the next entry is in it, too, crit prints a blank and a tilde instead. */
  let last = -1;
  eachPagemapEntry(images, pid, ({ vaddr, pages }) => {
    while (next < areas.length && !isBelow(vaddr, areas.end(next, end))) next++;
    endOf(vaddr, pages, pageSize, stop);
    let touched = '';
    for (; next < areas.length && isBelow(areas.start(next, start), stop); next++) {
      touched += `${next === last ? ' ~' : areaText(next)}${NEXT_AREA}`;
      last = next;
    }
    // The next entry may lie in the last of these areas.
    next = Math.max(next - 1, 0);
    print(`${`\t${hex(vaddr)} / ${decimal(pages).padEnd(8)}`.padEnd(WIDTH)}${touched}\n`);
  });

  function areaText(index: number): string {
    const from = areas.start(index, start);
    const pages = unitsBetween(from, areas.end(index, end), pageSize);
    const path = hasFile(areas.status(index)) ? ` ${files.pathText(approximate(areas.shmid(index, end)))}` : '';
    return ` ${hex(from).padStart(8, '0')} / ${String(pages).padEnd(8)}${path}`;
  }
}

/**
 * The same as a list of `{pid, areas, pages}`. An area is `{start, end, kind, file, runs, pages}`, a run `{start, pages,
 * flags}`: a pagemap entry, cut where areas end. Areas without runs are left out; runs in no area are in one whose
 * `start` and `end` are null.
 */
export function printPagesJson(images: Images, print: Print, { pageSize }: RssOptions): void {
  const files = new FileTable(images);
  printArray(print, (array) => {
    for (const { pid } of processesOf(images)) {
      const zombie = lacksAsZombie(images, pid, mmName(pid));
      const areas = zombie ? undefined : AreaRows.of(images, pid);
      array.next();
      print(`{"pid":${pid},"areas":`);
      const count = { pages: 0 };
      printArray(print, (list) => {
        if (!areas) return;
        const writer = new AreaWriter(areas, mapFlagsOfTask(images, pid), files, print, () => list.next());
        const cutter = new RunCutter(areas, pageSize, writer.run);
        eachPagemapEntry(images, pid, ({ vaddr, pages, flags }) => {
          count.pages += approximate(pages);
          cutter.cut(Math.floor(approximate(vaddr) / pageSize), approximate(pages), flags);
        });
        writer.close();
      });
      print(`,"pages":${count.pages}}`);
    }
  });
}

/** Takes a run in one area, or in none (-1). All are page numbers, or counts of pages. */
type TakeRun = (area: number, start: Word, pages: number, flags: number) => void;

/** Cuts pagemap entries, which may touch several areas, at the borders of these. Entries must ascend. */
class RunCutter {
  private readonly order: Uint32Array;
  private next = 0;
  private readonly border = word();
  private readonly start = word();

  constructor(
    private readonly areas: AreaRows,
    private readonly pageSize: number,
    private readonly take: TakeRun,
  ) {
    this.order = areas.ascending();
  }

  /** @param pageNumber where the entry begins */
  cut(pageNumber: number, pages: number, flags: number): void {
    const end = pageNumber + pages;
    for (let at = pageNumber; at < end; ) {
      while (this.next < this.order.length && this.areaEnd() <= at) this.next++;
      const area = this.order[this.next];
      const from = area === undefined ? Number.POSITIVE_INFINITY : this.areaStart();
      const stop = Math.min(end, from > at ? from : this.areaEnd());
      this.start.hi = Math.floor((at * this.pageSize) / 2 ** 32);
      this.start.lo = (at * this.pageSize) % 2 ** 32;
      this.take(from > at ? -1 : (area as number), this.start, stop - at, flags);
      at = stop;
    }
  }

  private areaStart(): number {
    return Math.floor(approximate(this.areas.start(this.order[this.next] as number, this.border)) / this.pageSize);
  }

  private areaEnd(): number {
    return Math.ceil(approximate(this.areas.end(this.order[this.next] as number, this.border)) / this.pageSize);
  }
}

/** Writes runs below the areas that they are in. */
class AreaWriter {
  private area: number | undefined;
  private pages = 0;

  constructor(
    private readonly areas: AreaRows,
    private readonly map: MapFlags,
    private readonly files: FileTable,
    private readonly print: Print,
    private readonly nextElement: () => void,
  ) {}

  readonly run: TakeRun = (area, start, pages, flags) => {
    if (area === this.area) {
      this.print(',');
    } else {
      this.close();
      this.open(area);
    }
    this.pages += pages;
    this.print(`{"start":"0x${hex(start)}","pages":${pages},"flags":${flagsJson(flags)}}`);
  };

  /** Ends the last area. */
  close(): void {
    if (this.area !== undefined) this.print(`],"pages":${this.pages}}`);
    this.area = undefined;
  }

  private open(area: number): void {
    this.area = area;
    this.pages = 0;
    this.nextElement();
    const { areas } = this;
    if (area < 0) {
      this.print('{"start":null,"end":null,"kind":"unknown","file":null,"runs":[');
      return;
    }
    const border = word();
    const [start, end] = [hex(areas.start(area, border)), hex(areas.end(area, border))];
    const status = areas.status(area);
    const kind = kindOfArea(areas.flags(area), status, this.map);
    const path = hasFile(status) ? this.files.path(approximate(areas.shmid(area, border))) : null;
    this.print(`{"start":"0x${start}","end":"0x${end}","kind":"${kind}","file":${JSON.stringify(path)},"runs":[`);
  }
}
