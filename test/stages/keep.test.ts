/** The stage that keeps listed pages: on runs made by hand, and on random ones against a model that goes page by page. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DumpRecord, RunsRecord, Space } from '../../src/dump/records.js';
import type { FaultList } from '../../src/memory/fault-list.js';
import {
  CLASS_EAGER,
  CLASS_LAZY,
  CLASS_MASK,
  CONTINUES,
  COUNT_IN_FIELD_2,
  HAS_FLAGS,
  joinRuns,
  KIND_SHIFT,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  runPayloadBytes,
  TAKEN,
} from '../../src/memory/runs.js';
import { keepEager } from '../../src/stages/keep.js';
import { rebuild } from '../../src/stages/rebuild.js';

const PAGE = 4096;
const HEADER: DumpRecord = { type: 'header', pageSize: PAGE, directoryMode: 0o700 };
const END: DumpRecord = { type: 'end' };
const HEAP = 2 << KIND_SHIFT;
/** As classify leaves the entries of CRIU 3 and later, and those of CRIU 2. */
const SHAPE = COUNT_IN_FIELD_2 | HAS_FLAGS;
const LAZY = PE_PRESENT | PE_LAZY | SHAPE | CLASS_LAZY | HEAP;
const KEPT = PE_PRESENT | SHAPE | CLASS_EAGER | HEAP;
const EAGER = PE_PRESENT | SHAPE | CLASS_EAGER | HEAP;
const OLD_LAZY = PE_PRESENT | COUNT_IN_FIELD_2 | CLASS_LAZY | HEAP;
const OLD_KEPT = PE_PRESENT | COUNT_IN_FIELD_2 | CLASS_EAGER | HEAP;

const space = (index: number, pid?: number): Space => ({
  index,
  kind: pid === undefined ? 'shmem' : 'task',
  ...(pid === undefined ? {} : { pid }),
  pagemap: pid === undefined ? 'pagemap-shmem-9.img' : `pagemap-${pid}.img`,
  pagesId: index + 1,
  head: Uint8Array.of(8, 1),
  pagemapMode: 0o600,
  pagesMode: 0o600,
});
const TASK = space(0, 5);
const OTHER = space(1, 6);
const SHMEM = space(2);

type Run = [pageNumber: number, pages: number, bits: number, detail?: RunDetail];

const runsOf = (of: Space, ...runs: Run[]): RunsRecord => {
  const builder = new RunBuilder(PAGE, 1);
  for (const run of runs) builder.push(...run);
  return { type: 'runs', space: of, runs: builder.finish(), checked: false };
};

const listOf = (pages: Record<number, number[]>, pageSize = PAGE): FaultList => ({
  pageSize,
  pages: new Map(Object.entries(pages).map(([pid, numbers]) => [Number(pid), Float64Array.from(numbers)])),
});

interface Outcome {
  runs: Run[];
  records: DumpRecord[];
  warnings: string[];
  notes: string[];
}

/** Keeps listed pages of a dump with all three spaces. */
function keep(list: FaultList, ...records: RunsRecord[]): Outcome {
  const warnings: string[] = [];
  const notes: string[] = [];
  const stage = keepEager(list, { warn: (text) => warnings.push(text), note: (text) => notes.push(text) });
  const spaces = [TASK, OTHER, SHMEM].map((of): DumpRecord => ({ type: 'space', space: of }));
  const out = [HEADER, ...spaces, ...records, END].map(stage);
  return {
    runs: out.flatMap((record) => (record.type === 'runs' ? listRuns(record.runs) : [])),
    records: out,
    warnings,
    notes,
  };
}

const listRuns = ({ pageNumbers, pages, bits, details }: RunBatch): Run[] =>
  Array.from(bits, (word, i) => {
    const detail = details?.get(i);
    const [first, count] = [pageNumbers[i] as number, pages[i] as number];
    return detail ? [first, count, word, detail] : [first, count, word];
  });

const blocks = (blockBytes: number[], pagesPerBlock: number): RunDetail => ({
  compressed: { blockBytes: Uint32Array.from(blockBytes), pagesPerBlock },
});

describe('keepEager', () => {
  it('cuts lazy runs at listed pages, and makes these eager, without their flag', () => {
    expect(
      keep(listOf({ 5: [10, 14, 15, 19, 30] }), runsOf(TASK, [10, 10, LAZY], [30, 1, LAZY], [31, 1, LAZY])).runs,
    ).toEqual([
      [10, 1, KEPT],
      [11, 3, LAZY | CONTINUES],
      [14, 2, KEPT | CONTINUES],
      [16, 3, LAZY | CONTINUES],
      [19, 1, KEPT | CONTINUES],
      [30, 1, KEPT],
      [31, 1, LAZY],
    ]);
  });

  it('keeps the bit of a run that continues an entry itself', () => {
    expect(keep(listOf({ 5: [10] }), runsOf(TASK, [9, 1, EAGER], [10, 2, LAZY | CONTINUES])).runs).toEqual([
      [9, 1, EAGER],
      [10, 1, KEPT | CONTINUES],
      [11, 1, LAZY | CONTINUES],
    ]);
  });

  it('adds no flags to the entries of CRIU 2', () => {
    expect(keep(listOf({ 5: [10] }), runsOf(TASK, [10, 2, OLD_LAZY])).runs).toEqual([
      [10, 1, OLD_KEPT],
      [11, 1, OLD_LAZY | CONTINUES],
    ]);
  });

  it('walks on from batch to batch, and from one process to the next', () => {
    const list = listOf({ 5: [11, 13], 6: [11] });
    const records = [
      runsOf(TASK, [10, 2, LAZY]),
      runsOf(TASK, [12, 2, LAZY]),
      runsOf(OTHER, [10, 2, LAZY]),
      runsOf(OTHER, [12, 2, LAZY]),
    ];
    const { runs, notes, warnings } = keep(list, ...records);
    expect(runs).toEqual([
      [10, 1, LAZY],
      [11, 1, KEPT | CONTINUES],
      [12, 1, LAZY],
      [13, 1, KEPT | CONTINUES],
      [10, 1, LAZY],
      [11, 1, KEPT | CONTINUES],
      [12, 2, LAZY],
    ]);
    expect([...notes, ...warnings]).toEqual([]);
  });

  it('passes what it does not change as it is', () => {
    const parent = PE_PARENT | PE_LAZY | SHAPE | CLASS_LAZY;
    const hole = PE_LAZY | SHAPE | CLASS_LAZY;
    const untouched = [
      runsOf(TASK, [10, 5, LAZY]),
      runsOf(TASK, [20, 2, EAGER], [22, 2, parent], [24, 2, hole], [26, 2, LAZY | TAKEN], [28, 2, LAZY]),
      runsOf(OTHER, [20, 1, LAZY]),
      runsOf(SHMEM, [20, 8, LAZY]),
    ];
    for (const list of [listOf({}), listOf({ 5: [] }), listOf({ 5: [9, 15, 20, 22, 24, 26, 30] })]) {
      const { records } = keep(list, ...untouched);
      for (const record of untouched) expect(records).toContain(record);
    }
  });

  it('notes listed pages that it cannot keep, and warns of processes that are not there', () => {
    const records = [
      runsOf(TASK, [10, 4, LAZY], [14, 2, EAGER], [16, 2, PE_PARENT | SHAPE | CLASS_LAZY], [18, 2, LAZY | TAKEN]),
    ];
    const list = listOf({ 5: [1, 2, 10, 14, 15, 16, 18, 99], 6: [10], 7: [10, 11], 8: [10] });
    const { notes, warnings } = keep(list, ...records);
    // 14 and 15 stay; 1, 2 and 99 are nowhere, 16 is in the parent, 18 taken out; process 6 has no pages at all.
    expect(notes).toEqual(['of the listed pages 2 stay in any case, and 6 are not in the dump']);
    expect(warnings).toEqual(['3 listed pages left out: the dump does not have process 7 and 1 other']);
    const fine = keep(listOf({ 5: [10, 13] }), ...records);
    expect([...fine.notes, ...fine.warnings]).toEqual([]);
  });

  it('keeps whole blocks of compressed pages, with their bytes', () => {
    const run: Run = [10, 11, LAZY, blocks([100, 200, 0, 400], 3)];
    const { runs, records } = keep(listOf({ 5: [14, 20] }), runsOf(TASK, run));
    expect(runs).toEqual([
      [10, 3, LAZY | (1 << 5), blocks([100], 3)],
      [13, 3, KEPT | CONTINUES | (1 << 5), blocks([200], 3)],
      [16, 3, LAZY | CONTINUES | (1 << 5), blocks([0], 3)],
      [19, 2, KEPT | CONTINUES | (1 << 5), blocks([400], 3)],
    ]);
    const payload = records.flatMap((record) => (record.type === 'runs' ? [record.runs.payloadBytes] : []));
    expect(payload).toEqual([700]);
    // Neighbors become one piece; two pages of one block count once.
    expect(keep(listOf({ 5: [12, 13, 15] }), runsOf(TASK, run)).runs.map(([first, pages]) => [first, pages])).toEqual([
      [10, 6],
      [16, 5],
    ]);
    expect(
      keep(listOf({ 5: [10, 13, 16, 19] }), runsOf(TASK, run)).runs.map(([first, pages]) => [first, pages]),
    ).toEqual([[10, 11]]);
  });

  it('leaves the entry as it was read with the first piece', () => {
    const detail = { verbatim: Uint8Array.of(1, 2, 3) };
    const { runs } = keep(listOf({ 5: [11] }), runsOf(TASK, [10, 3, LAZY, detail]));
    expect(runs.map(([, , , kept]) => kept)).toEqual([detail, undefined, undefined]);
  });

  it('passes payload and its check', () => {
    const stage = keepEager(listOf({ 5: [10] }));
    const bytes: DumpRecord = { type: 'bytes', bytes: new Uint8Array(2 * PAGE) };
    const check: DumpRecord = { type: 'check', crc32: 1 };
    stage(HEADER);
    const runs = stage({ ...runsOf(TASK, [10, 2, LAZY]), checked: true });
    expect(runs.type === 'runs' && runs.checked && runs.runs.payloadBytes).toBe(2 * PAGE);
    expect(stage(bytes)).toBe(bytes);
    expect(stage(check)).toBe(check);
  });

  it('wants runs with a class, where it is to change it', () => {
    const bare = runsOf(TASK, [10, 1, PE_PRESENT | SHAPE]);
    expect(() => keep(listOf({ 5: [10] }), bare)).toThrow('pagemap-5.img: the runs have no class');
    expect(keep(listOf({ 5: [11] }), bare).records).toContain(bare);
  });

  it('refuses a list of another page size, unless it is empty', () => {
    expect(() => keep({ ...listOf({ 5: [1] }, 65536), file: 'faults.txt' })).toThrow(
      'faults.txt: expected a list of pages of 4096 bytes, as the dump has, found 65536',
    );
    expect(() => keep(listOf({}, 65536), runsOf(TASK, [10, 1, LAZY]))).not.toThrow();
  });

  it('leaves nothing to join after it but what is alike', () => {
    const record = runsOf(TASK, [10, 3, LAZY], [13, 3, LAZY]);
    const { records } = keep(listOf({ 5: [12, 13] }), record);
    const all = rebuild();
    const rebuilt = records.map(all).flatMap((of) => (of.type === 'runs' ? listRuns(of.runs) : []));
    expect(rebuilt.map(([first, pages, bits]) => [first, pages, bits & (PE_LAZY | PE_PRESENT)])).toEqual([
      [10, 2, PE_LAZY | PE_PRESENT],
      [12, 1, PE_PRESENT],
      [13, 1, PE_PRESENT],
      [14, 2, PE_LAZY | PE_PRESENT],
    ]);
  });
});

/** Runs with gaps between them, in batches. */
const randomRuns: fc.Arbitrary<Run[][]> = fc
  .array(
    fc.record({
      gap: fc.nat(2),
      pages: fc.integer({ min: 1, max: 12 }),
      bits: fc.constantFrom(
        LAZY,
        LAZY,
        LAZY | CONTINUES,
        OLD_LAZY,
        EAGER,
        LAZY | TAKEN,
        PE_LAZY | SHAPE | CLASS_LAZY,
        PE_PARENT | PE_LAZY | SHAPE | CLASS_LAZY,
      ),
      pagesPerBlock: fc.nat(4),
      newBatch: fc.boolean(),
    }),
    { maxLength: 12 },
  )
  .map((list) => {
    const batches: Run[][] = [[]];
    let at = 100;
    let joins = false;
    for (const { gap, pages, bits, pagesPerBlock, newBatch } of list) {
      at += gap;
      if (newBatch) batches.push([]);
      const compressed = pagesPerBlock > 0 && (bits & (PE_PRESENT | TAKEN)) === PE_PRESENT;
      const count = Math.ceil(pages / pagesPerBlock);
      const word = joins && gap === 0 && !compressed ? bits : bits & ~CONTINUES;
      const stored = Array.from({ length: compressed ? count : 0 }, (_, i) => at + i);
      batches.at(-1)?.push(compressed ? [at, pages, word, blocks(stored, pagesPerBlock)] : [at, pages, word]);
      joins = !compressed;
      at += pages;
    }
    return batches;
  });

/** What must be said of each page, in order. */
function expectPages(batches: Run[][], listed: Set<number>): string[] {
  return batches.flat().flatMap(([first, pages, bits, detail]) => {
    const region = detail?.compressed?.pagesPerBlock ?? 1;
    const candidate = (bits & (CLASS_MASK | PE_PRESENT | TAKEN)) === (CLASS_LAZY | PE_PRESENT);
    return Array.from({ length: pages }, (_, i) => {
      const block = i - (i % region);
      const kept =
        candidate &&
        Array.from({ length: Math.min(region, pages - block) }, (_, j) => first + block + j).some((p) => listed.has(p));
      const word = kept ? (bits & ~(PE_LAZY | CLASS_MASK)) | CLASS_EAGER : bits;
      return `${first + i}: ${word & ~CONTINUES & ~(1 << 5)}`;
    });
  });
}

describe('on random runs and lists', () => {
  it('does what a model does that goes page by page', () => {
    fc.assert(
      fc.property(randomRuns, fc.uniqueArray(fc.integer({ min: 95, max: 220 })), (batches, pages) => {
        const list = listOf({ 5: pages.sort((a, b) => a - b) });
        const records = batches.map((runs) => runsOf(TASK, ...runs));
        const { records: out, notes } = keep(list, ...records);
        const outRuns = out.filter((record) => record.type === 'runs');

        const perPage = outRuns.flatMap(({ runs }) =>
          listRuns(runs).flatMap(([first, count, bits]) =>
            Array.from({ length: count }, (_, i) => `${first + i}: ${bits & ~CONTINUES & ~(1 << 5)}`),
          ),
        );
        expect(perPage).toEqual(expectPages(batches, new Set(pages)));

        outRuns.forEach((record, i) => {
          const before = (records[i] as RunsRecord).runs;
          const { runs } = record;
          expect(runs.payloadBytes).toBe(before.payloadBytes);
          let sum = 0;
          for (let r = 0; r < runs.bits.length; r++) sum += runPayloadBytes(runs, r, PAGE);
          expect(sum).toBe(before.payloadBytes);
          // All pieces but the first continue their entry, so without the marks they become the runs that they were.
          const starts = new Map(listRuns(before).map(([first, , bits]) => [first, bits]));
          for (const [first, , bits] of listRuns(runs)) {
            expect(bits & CONTINUES).toBe((starts.get(first) ?? CONTINUES) & CONTINUES);
          }
          const plain = (of: RunBatch): RunBatch => ({
            ...of,
            bits: of.bits.map((bits) => bits & ~(CLASS_MASK | PE_LAZY)),
          });
          expect(listRuns(joinRuns(plain(runs), PAGE))).toEqual(listRuns(joinRuns(plain(before), PAGE)));
        });

        // Each listed page is kept, or counted once.
        const [stay = 0, absent = 0] = (notes[0]?.match(/\d+/g) ?? []).map(Number);
        const words = new Map(
          batches.flat().flatMap(([first, count, bits]) => Array.from({ length: count }, (_, i) => [first + i, bits])),
        );
        const stored = pages.filter((page) => ((words.get(page) ?? 0) & (PE_PRESENT | TAKEN)) === PE_PRESENT);
        const eager = stored.filter((page) => ((words.get(page) ?? 0) & CLASS_MASK) === CLASS_EAGER);
        expect([stay, absent]).toEqual([eager.length, pages.length - stored.length]);
      }),
      { numRuns: 500 },
    );
  });

  it('gives the same for every cut into batches', () => {
    fc.assert(
      fc.property(randomRuns, fc.uniqueArray(fc.integer({ min: 95, max: 220 })), (batches, pages) => {
        const list = listOf({ 5: pages.sort((a, b) => a - b) });
        const whole = keep(list, runsOf(TASK, ...batches.flat()));
        const cut = keep(list, ...batches.map((runs) => runsOf(TASK, ...runs)));
        expect(cut.runs).toEqual(whole.runs);
        expect(cut.notes).toEqual(whole.notes);
      }),
    );
  });
});
