/**
 * Memory as the kernel shows it: of templates when they are restored, and of dumps of what was restored from them. Here a
 * model of address spaces, which reads images and mapped files on its own, tells what every page must be.
 */
import {
  closeSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import {
  ANON,
  type DumpSpec,
  type EntrySpec,
  fieldsOf,
  GENERATIONS,
  type Generation,
  image,
  Message,
  PE,
  pageContent,
  readMemory,
  STATUS,
  splitImage,
  writeDump,
} from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';

const PAGE = 4096;
const RUNS = Number(process.env['RUNS'] ?? 30);
const ZEROS = new Uint8Array(PAGE);
const ALL = ['--allow-dontneed', 'all', '--min-size'];

async function run(words: readonly string[]): Promise<void> {
  const outcome = await cli(words);
  expect(outcome.code, outcome.stderr).toBe(0);
}

/** An area of a process. Addresses are page numbers; `offset` is in bytes. */
interface ModelArea {
  start: number;
  end: number;
  file?: { name: string; offset: number };
  /** Pages that the process has for itself, by their distance from `start`. */
  own: Map<number, Uint8Array>;
}

type Process = ModelArea[];

/** The page of an area that a process reads. */
function pageOf(area: ModelArea, index: number): Uint8Array {
  const own = area.own.get(index);
  if (own || !area.file) return own ?? ZEROS;
  const fd = openSync(area.file.name, 'r');
  try {
    const page = new Uint8Array(PAGE);
    readSync(fd, page, 0, PAGE, area.file.offset + index * PAGE);
    return page;
  } finally {
    closeSync(fd);
  }
}

/** What a restore of a dump makes of it: its processes by pid. */
function restored(dump: string): Map<number, Process> {
  const names = new Map<bigint, string>();
  for (const body of splitImage(readFileSync(join(dump, 'files.img')))) {
    const fields = new Map(fieldsOf(body));
    const reg = fields.get(3) as Uint8Array | undefined;
    const name = reg && (new Map(fieldsOf(reg)).get(6) as Uint8Array);
    if (name) names.set(fields.get(2) as bigint, Buffer.from(name).toString());
  }
  const memory = readMemory(dump);
  const processes = new Map<number, Process>();
  for (const image of readdirSync(dump).filter((name) => name.startsWith('mm-'))) {
    const pid = Number(/\d+/.exec(image)?.[0]);
    const pages = memory.get(`pagemap-${pid}.img`) ?? new Map<bigint, Uint8Array>();
    let seen = 0;
    const areas: Process = [];
    for (const [field, vma] of fieldsOf(splitImage(readFileSync(join(dump, image)))[0] as Uint8Array)) {
      if (field !== 14) continue;
      const of = new Map(fieldsOf(vma as Uint8Array)) as Map<number, bigint>;
      const [start, end] = [Number(of.get(1)) / PAGE, Number(of.get(2)) / PAGE];
      const own = new Map<number, Uint8Array>();
      for (let page = start; page < end; page++) {
        const bytes = pages.get(BigInt(page * PAGE));
        if (bytes) own.set(page - start, bytes);
      }
      seen += own.size;
      const isFile = (Number(of.get(7)) & STATUS.FILE_PRIVATE) !== 0;
      expect((Number(of.get(6)) & 0x20) === 0, 'anonymous or of a file').toBe(isFile);
      const name = names.get(of.get(4) as bigint);
      if (isFile) expect(name, 'the file of an area').toBeDefined();
      areas.push({ start, end, own, ...(isFile ? { file: { name: name as string, offset: Number(of.get(3)) } } : {}) });
    }
    expect(seen, 'pages in areas').toBe(pages.size);
    processes.set(pid, areas);
  }
  return processes;
}

/** Where two processes see other memory, or have other areas. */
function differences(a: Map<number, Process>, b: Map<number, Process>): string[] {
  const found: string[] = [];
  for (const [pid, areas] of a) {
    const others = b.get(pid) ?? [];
    const ranges = (process: Process) => process.map(({ start, end }) => `${start}-${end}`).join();
    if (ranges(areas) !== ranges(others)) found.push(`${pid}: ${ranges(areas)} is ${ranges(others)}`);
    areas.forEach((area, i) => {
      const other = others[i] as ModelArea;
      for (let index = 0; index < area.end - area.start; index++) {
        if (Buffer.compare(pageOf(area, index), pageOf(other, index)) !== 0) {
          found.push(`${pid}: page ${area.start + index}`);
        }
      }
    });
  }
  return found;
}

const BASE = 256;

/** A process: areas with gaps between, and runs of pages that do not keep to their borders. */
const anyTask = fc.record({
  areas: fc.array(fc.record({ gap: fc.constantFrom(0, 0, 2, 9), pages: fc.integer({ min: 1, max: 40 }) }), {
    minLength: 1,
    maxLength: 4,
  }),
  shift: fc.constantFrom(0, 0, 0, 1),
  runs: fc.array(
    fc.record({ gap: fc.constantFrom(0, 0, 1, 6, 30), pages: fc.integer({ min: 1, max: 50 }), zeros: fc.boolean() }),
    { maxLength: 6 },
  ),
});

const anyFamily = fc.record({
  generation: fc.constantFrom<Generation>(...GENERATIONS),
  pagesPerBlock: fc.constantFrom(1, 4, 16),
  tasks: fc.array(anyTask, { minLength: 1, maxLength: 3 }),
  minSize: fc.constantFrom('0', '40960'),
  isFamily: fc.boolean(),
  /** Whether later tasks have the areas of the first. */
  isAlike: fc.boolean(),
});

function specOf({
  generation,
  pagesPerBlock,
  tasks,
  isFamily,
  isAlike,
}: typeof anyFamily extends fc.Arbitrary<infer T> ? T : never): DumpSpec {
  return {
    generation,
    ...(generation === '4.3' ? { pagesPerBlock } : {}),
    tasks: tasks.map((task, i) => {
      const { areas, shift } = isAlike ? (tasks[0] as typeof task) : task;
      const vmas: { start: number; end: number }[] = [];
      let next = BASE + shift;
      for (const { gap, pages } of areas) {
        vmas.push({ start: next + gap, end: next + gap + pages });
        next += gap + pages;
      }
      // Of the pages of a run those that are in areas; a run goes over the border of areas without a gap.
      const entries: EntrySpec[] = [];
      let page = BASE;
      for (const { gap, pages, zeros } of task.runs) {
        const inside: number[] = [];
        for (let at = page + gap; at < page + gap + pages; at++) {
          if (vmas.some(({ start, end }) => start <= at && at < end)) inside.push(at);
        }
        page += gap + pages;
        for (let from = 0; from < inside.length; ) {
          let to = from + 1;
          while (inside[to] === (inside[to - 1] as number) + 1) to++;
          const zeroPages = zeros ? [0, 1, 5] : [];
          entries.push({ vaddr: BigInt((inside[from] as number) * PAGE), pages: to - from, zeroPages });
          from = to;
        }
      }
      const bytes = (number: number) => BigInt(number * PAGE);
      return {
        pid: 7 + i,
        vmas: vmas.map(({ start, end }) => ({ start: bytes(start), end: bytes(end), ...ANON })),
        entries,
      };
    }),
    content: (pagemap, address, pageSize) =>
      pageContent(isFamily && (address / 4096n) % 7n !== 3n ? 'all' : pagemap, address, pageSize),
  };
}

/** What a process does. Numbers choose an area and a page of it. */
const anyWork = fc.array(
  fc.record({
    what: fc.constantFrom('write', 'write', 'zero', 'split', 'move', 'unmap', 'grow', 'dontneed'),
    area: fc.nat(20),
    page: fc.nat(60),
    pages: fc.integer({ min: 1, max: 20 }),
  }),
  { maxLength: 12 },
);
type Work = typeof anyWork extends fc.Arbitrary<infer T> ? T : never;

let salt = 0;

function work(process: Process, steps: Work): void {
  for (const { what, area: choice, page: pageChoice, pages } of steps) {
    const at = choice % Math.max(1, process.length);
    const area = process[at];
    if (!area) return;
    const size = area.end - area.start;
    const page = pageChoice % size;
    const top = Math.max(...process.map(({ end }) => end));
    const cut = (from: number, to: number, start: number): ModelArea => ({
      start,
      end: start + to - from,
      own: new Map([...area.own].filter(([i]) => i >= from && i < to).map(([i, bytes]) => [i - from, bytes])),
      ...(area.file ? { file: { name: area.file.name, offset: area.file.offset + from * PAGE } } : {}),
    });
    for (let i = page; i < Math.min(size, page + pages); i++) {
      if (what === 'write') area.own.set(i, pageContent(`written ${salt++}`, BigInt(i)));
      else if (what === 'zero') area.own.set(i, ZEROS);
      else if (what === 'dontneed') area.own.delete(i);
    }
    if (what === 'split' && page > 0)
      process.splice(at, 1, cut(0, page, area.start), cut(page, size, area.start + page));
    else if (what === 'move') process.splice(at, 1, cut(0, page, area.start), cut(page, size, top + 3));
    else if (what === 'unmap') {
      process.splice(
        at,
        1,
        cut(0, page, area.start),
        cut(Math.min(size, page + pages), size, area.start + Math.min(size, page + pages)),
      );
    } else if (what === 'grow') {
      const next = Math.min(
        ...process.map(({ start }) => start).filter((start) => start >= area.end),
        area.end + pages,
      );
      area.end = next;
    }
    const left = process.filter(({ start, end }) => end > start).sort((a, b) => a.start - b.start);
    process.splice(0, process.length, ...left);
  }
}

const copyOf = (process: Process): Process => process.map((area) => ({ ...area, own: new Map(area.own) }));

/** Dumps processes as CRIU does: of each area only the pages that the process has for itself. */
function dump(
  directory: string,
  processes: Map<number, Process>,
  { generation, pagesPerBlock }: { generation: Generation; pagesPerBlock: number },
  before?: Map<number, Process>,
): void {
  const contents = new Map<string, Uint8Array>();
  const ids = new Map<string, number>();
  const tasks = [...processes].map(([pid, areas]) => {
    const entries: EntrySpec[] = [];
    for (const area of areas) {
      const old = before
        ?.get(pid)
        ?.flatMap(({ start, own }) => [...own].map(([i, bytes]) => [start + i, bytes] as const));
      const inParent = new Map(old ?? []);
      for (const [index, bytes] of [...area.own].sort(([a], [b]) => a - b)) {
        const page = area.start + index;
        contents.set(`pagemap-${pid}.img ${page}`, bytes);
        const same = inParent.get(page);
        const flags = same && Buffer.compare(same, bytes) === 0 ? PE.PARENT : PE.PRESENT;
        const last = entries.at(-1);
        if (last && last.flags === flags && last.vaddr + BigInt(last.pages * PAGE) === BigInt(page * PAGE))
          last.pages++;
        else entries.push({ vaddr: BigInt(page * PAGE), pages: 1, flags });
      }
    }
    return { pid, entries };
  });
  writeDump(directory, {
    generation,
    ...(generation === '4.3' ? { pagesPerBlock } : {}),
    tasks,
    content: (pagemap, address) => contents.get(`${pagemap} ${Number(address) / PAGE}`) as Uint8Array,
  });
  for (const [pid, areas] of processes) {
    const mm = new Message();
    for (let field = 1; field <= 12; field++) mm.int(field, 0);
    for (const { start, end, file } of areas) {
      if (file && !ids.has(file.name)) ids.set(file.name, 40 + ids.size);
      const vma = new Message()
        .int(1, start * PAGE)
        .int(2, end * PAGE)
        .int(3, file?.offset ?? 0);
      vma
        .int(4, file ? (ids.get(file.name) as number) : 0)
        .int(5, 3)
        .int(6, file ? 2 : 0x22);
      mm.field(
        14,
        vma
          .int(7, 1 | (file ? STATUS.FILE_PRIVATE : STATUS.ANON_PRIVATE))
          .int(8, 1)
          .int(9, 0),
      );
    }
    writeFileSync(join(directory, `mm-${pid}.img`), image('MM', [mm]));
  }
  const fown = new Message();
  for (let field = 1; field <= 5; field++) fown.int(field, 0);
  const entries = [...ids].map(([name, id]) => {
    const reg = new Message().int(1, id).int(2, 0).int(3, 0).field(5, fown).field(6, name);
    return new Message().int(1, 1).int(2, id).field(3, reg);
  });
  writeFileSync(join(directory, 'files.img'), image('FILES', entries));
}

describe('any family of processes', () => {
  it.each([[[]], [['--in-place']]])('has its memory when it is restored from a template %j', async (words) => {
    await fc.assert(
      fc.asyncProperty(anyFamily, async (form) => {
        const at = (name: string) => join(directory, name);
        const directory = tempDir();
        writeDump(at('dump'), specOf(form));
        await run(['template', at('dump'), at('out'), ...ALL, form.minSize, ...words]);
        expect(differences(restored(at('dump')), restored(at('out')))).toEqual([]);
      }),
      { numRuns: RUNS },
    );
  });

  it('has its memory after work, when it was dumped again', async () => {
    await fc.assert(
      fc.asyncProperty(
        anyFamily,
        anyWork,
        anyWork,
        fc.constantFrom<Generation>(...GENERATIONS),
        fc.boolean(),
        async (form, first, second, generation, hasParent) => {
          const directory = tempDir();
          const at = (name: string) => join(directory, name);
          writeDump(at('dump'), specOf(form));
          await run(['template', at('dump'), at('out'), ...ALL, form.minSize]);
          const clones = restored(at('out'));
          for (const clone of clones.values()) work(clone, first);
          const before = new Map([...clones].map(([pid, clone]) => [pid, copyOf(clone)]));
          mkdirSync(at('again'));
          const how = { ...form, generation };
          if (hasParent) {
            dump(at('before'), clones, form);
            symlinkSync('../before', at('again/parent'));
          }
          for (const clone of clones.values()) work(clone, second);
          dump(at('again'), clones, how, hasParent ? before : undefined);
          await run(['untemplate', at('again'), at('full')]);
          const full = restored(at('full'));
          expect(differences(clones, full)).toEqual([]);
          expect([...full.values()].flat().filter(({ file }) => file)).toEqual([]);
          await run(['template', at('again'), at('out2'), ...ALL, form.minSize]);
          expect(differences(clones, restored(at('out2')))).toEqual([]);
        },
      ),
      { numRuns: RUNS },
    );
  });
});
