/** What each stage does with runs and payload, on records made by hand. */
import { describe, expect, it } from 'vitest';
import { crc32 } from '../../src/crc.js';
import type { DumpRecord, Space } from '../../src/dump/records.js';
import {
  CLASS_LAZY,
  CLASS_MASK,
  CONTINUES,
  COUNT_IN_FIELD_2,
  HAS_FLAGS,
  KIND_MASK,
  KIND_SHIFT,
  PE_LAZY,
  PE_PARENT,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  TAKEN,
} from '../../src/memory/runs.js';
import { type AreaTable, KINDS } from '../../src/memory/vma.js';
import { classify } from '../../src/stages/classify.js';
import { DROP_LAZY, type FilterOptions, filter } from '../../src/stages/filter.js';
import { rebuild } from '../../src/stages/rebuild.js';
import { tally } from '../../src/stages/tally.js';
import { ANON, FILE, MAP } from '../helpers/dump-writer.js';

const PAGE = 4096;
const HEADER: DumpRecord = { type: 'header', pageSize: PAGE, directoryMode: 0o700 };
const SHAPE = COUNT_IN_FIELD_2 | HAS_FLAGS;
const LAZY = PE_PRESENT | PE_LAZY | SHAPE;
const EAGER = PE_PRESENT | SHAPE;

const space = (index: number, pid: number | undefined): Space => ({
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
const SHMEM = space(1, undefined);

type Run = [pageNumber: number, pages: number, bits: number, detail?: RunDetail];

function batch(...runs: Run[]): RunBatch {
  const builder = new RunBuilder(PAGE, 1);
  for (const run of runs) builder.push(...run);
  return builder.finish();
}

const runsOf = (of: Space, ...runs: Run[]): DumpRecord => ({
  type: 'runs',
  space: of,
  runs: batch(...runs),
  checked: false,
});

function areas(...list: [start: number, end: number, of: { flags: number; status: number }][]): AreaTable {
  return {
    starts: Float64Array.from(list, ([start]) => start),
    ends: Float64Array.from(list, ([, end]) => end),
    flags: Uint32Array.from(list, ([, , { flags }]) => flags),
    status: Uint32Array.from(list, ([, , { status }]) => status),
  };
}

/** One of the stages that give plain records, or generate them. */
type Stage = (record: DumpRecord) => DumpRecord | Iterable<DumpRecord>;

function feed(stage: Stage, ...records: DumpRecord[]): DumpRecord[] {
  return records.flatMap((record) => {
    const out = stage(record);
    return 'type' in out ? [out] : [...out];
  });
}

/** Feeds records through one stage after the other. */
function feedAll(stages: readonly Stage[], ...records: DumpRecord[]): DumpRecord[] {
  let flow = records;
  for (const stage of stages) flow = feed(stage, ...flow);
  return flow;
}

/** Columns of the last batch, with the class and kind by name. */
function describeRuns(records: DumpRecord[]): string[] {
  const record = records.findLast((candidate) => candidate.type === 'runs');
  if (record?.type !== 'runs') return [];
  const { pageNumbers, pages, bits } = record.runs;
  return Array.from(bits, (word, i) => {
    const marks = [
      word & PE_PRESENT && 'present',
      word & PE_LAZY && 'lazy-flag',
      word & PE_PARENT && 'parent',
      word & CONTINUES && 'continues',
      word & TAKEN && 'taken',
      word & CLASS_MASK && ((word & CLASS_MASK) === CLASS_LAZY ? 'lazy' : 'eager'),
      word & KIND_MASK && KINDS[(word & KIND_MASK) >>> KIND_SHIFT],
    ].filter(Boolean);
    return `${pageNumbers[i]}+${pages[i]} ${marks.join(' ')}`;
  });
}

const LOCKED = { flags: ANON.flags | MAP.LOCKED, status: ANON.status };
const AREAS: DumpRecord = {
  type: 'areas',
  space: TASK,
  areas: areas([10, 20, ANON], [20, 25, FILE], [30, 40, LOCKED]),
};
const payload = (...pages: number[]): Uint8Array => {
  const bytes = new Uint8Array(pages.length * PAGE);
  pages.forEach((value, i) => {
    bytes.fill(value, i * PAGE, (i + 1) * PAGE);
  });
  return bytes;
};

describe('classify', () => {
  it('counts pages that are flagged lazy where none are fetched once, where runs are cut as well', () => {
    const table: DumpRecord = { type: 'areas', space: TASK, areas: areas([10, 20, LOCKED], [20, 25, ANON]) };
    const warnings: string[] = [];
    const stage = classify({ warn: (message) => warnings.push(message) });
    feed(stage, HEADER, table, runsOf(TASK, [10, 2, LAZY], [18, 4, LAZY]), { type: 'end' });
    expect(warnings).toEqual([
      '4 pages are flagged lazy where CRIU fetches no pages, the first in the locked area 0xa000-0x14000 of pagemap-5.img; --policy vma keeps them',
    ]);
  });

  it('splits a run at every area border and marks the pieces', () => {
    const out = feed(classify({ policy: 'vma' }), HEADER, AREAS, runsOf(TASK, [12, 12, EAGER], [30, 2, EAGER]));
    expect(describeRuns(out)).toEqual([
      '12+8 present lazy anon',
      '20+4 present continues eager file-private',
      '30+2 present eager locked',
    ]);
  });

  it('walks on from batch to batch', () => {
    const out = feed(
      classify({ policy: 'vma' }),
      HEADER,
      AREAS,
      runsOf(TASK, [12, 1, EAGER]),
      runsOf(TASK, [13, 7, EAGER]),
    );
    expect(describeRuns(out)).toEqual(['13+7 present lazy anon']);
  });

  it('trusts flags where they are, by auto, entry by entry', () => {
    const old = PE_PRESENT | COUNT_IN_FIELD_2;
    const out = feed(
      classify(),
      HEADER,
      AREAS,
      runsOf(TASK, [10, 1, EAGER], [11, 1, LAZY], [12, 1, old], [20, 1, old]),
    );
    expect(describeRuns(out)).toEqual([
      '10+1 present eager anon',
      '11+1 present lazy-flag lazy anon',
      '12+1 present lazy anon',
      '20+1 present eager file-private',
    ]);
  });

  it('warns of flags that no restore would heed', () => {
    const warnings: string[] = [];
    const stage = classify({ warn: (message) => warnings.push(message) });
    feed(stage, HEADER, AREAS, runsOf(TASK, [30, 3, LAZY]), { type: 'end' });
    expect(warnings).toEqual([
      '3 pages are flagged lazy where CRIU fetches no pages, the first in the locked area 0x1e000-0x28000 of pagemap-5.img; --policy vma keeps them',
    ]);
  });

  it.each([5, 25, 29, 40])('refuses page %i, which is in no area', (page) => {
    const inside: Run[] = page < 10 ? [] : [[12, 1, EAGER]];
    expect(() => feed(classify(), HEADER, AREAS, runsOf(TASK, ...inside, [page, 1, EAGER]))).toThrow(
      `pagemap-5.img: expected pages inside the task's areas, found 0x${(page * PAGE).toString(16)} in none`,
    );
  });

  it('refuses a run that begins in an area and ends outside', () => {
    expect(() => feed(classify(), HEADER, AREAS, runsOf(TASK, [22, 4, EAGER]))).toThrow(
      "pagemap-5.img: expected pages inside the task's areas, found 0x19000 in none",
    );
  });

  it('leaves shared memory alone', () => {
    expect(describeRuns(feed(classify(), HEADER, runsOf(SHMEM, [0, 4, LAZY])))).toEqual([
      '0+4 present lazy-flag eager shmem',
    ]);
  });

  it('goes by flags alone where no areas are known', () => {
    expect(describeRuns(feed(classify(), HEADER, runsOf(TASK, [0, 4, LAZY])))).toEqual(['0+4 present lazy-flag lazy']);
    expect(() => feed(classify({ policy: 'vma' }), HEADER, runsOf(TASK, [0, 4, LAZY]))).toThrow(
      'pagemap-5.img: policy vma needs the areas of the task, and the stream has none',
    );
  });

  const blocks = (pages: number, pagesPerBlock: number): RunDetail => ({
    compressed: {
      blockBytes: Uint32Array.from({ length: Math.ceil(pages / pagesPerBlock) }, (_, i) => i + 1),
      pagesPerBlock,
    },
  });

  it('cuts a compressed run between its blocks, with their bytes', () => {
    const [, , record] = feed(classify({ policy: 'vma' }), HEADER, AREAS, runsOf(TASK, [12, 12, EAGER, blocks(12, 4)]));
    if (record?.type !== 'runs') throw new Error('expected runs');
    expect(describeRuns([record])).toEqual(['12+8 present lazy anon', '20+4 present continues eager file-private']);
    expect(
      [...(record.runs.details?.values() ?? [])].map(({ compressed }) => [...(compressed?.blockBytes ?? [])]),
    ).toEqual([[1, 2], [3]]);
    expect(record.runs.payloadBytes).toBe(6);
  });

  it('refuses to cut a compressed block where lazy and eager memory meet, and only there', () => {
    const stage = () => classify({ policy: 'vma' });
    expect(() => feed(stage(), HEADER, AREAS, runsOf(TASK, [12, 12, EAGER, blocks(12, 5)]))).toThrow(
      'pagemap-5.img: a compressed block would have to be cut at 0x14000, where lazy and eager memory meet',
    );
    const alike: DumpRecord = { type: 'areas', space: TASK, areas: areas([10, 13, ANON], [13, 20, ANON]) };
    expect(describeRuns(feed(stage(), HEADER, alike, runsOf(TASK, [10, 8, EAGER, blocks(8, 4)])))).toEqual([
      '10+8 present lazy anon',
    ]);
  });
});

describe('filter', () => {
  const classified = (): DumpRecord[] =>
    feed(classify(), HEADER, AREAS, runsOf(TASK, [10, 2, LAZY], [12, 1, EAGER], [13, 1, LAZY], [20, 1, EAGER]));
  const bytes: DumpRecord = { type: 'bytes', bytes: payload(1, 2, 3, 4, 5) };

  function kept(options: FilterOptions, chunkBytes = 5 * PAGE): { runs: string[]; pages: number[] } {
    const chunks: DumpRecord[] = [];
    for (let at = 0; at < 5 * PAGE; at += chunkBytes) {
      chunks.push({ type: 'bytes', bytes: payload(1, 2, 3, 4, 5).subarray(at, at + chunkBytes) });
    }
    const out = feed(filter(options), ...classified(), ...chunks);
    const all = Buffer.concat(out.flatMap((record) => (record.type === 'bytes' ? [record.bytes] : [])));
    const runs = out.find((record) => record.type === 'runs');
    expect(all.length).toBe(runs?.type === 'runs' ? runs.runs.payloadBytes : -1);
    const pages = Array.from({ length: all.length / PAGE }, (_, i) => all[i * PAGE] as number);
    pages.forEach((value, i) => {
      expect(all.subarray(i * PAGE, (i + 1) * PAGE).every((byte) => byte === value)).toBe(true);
    });
    return {
      runs: describeRuns(out).map((text) => text.replace(/ (present|lazy-flag|lazy|eager|anon|file-private)/g, '')),
      pages,
    };
  }

  it.each([1000, 4096, 4097, 20480])('drops lazy pages from payload that comes in pieces of %i bytes', (chunkBytes) => {
    expect(kept(DROP_LAZY, chunkBytes)).toEqual({
      runs: ['10+2 taken', '12+1', '13+1 taken', '20+1'],
      pages: [3, 5],
    });
  });

  it('keeps lazy pages alone', () => {
    expect(kept({ action: 'keep', selection: { class: 'lazy' } }).pages).toEqual([1, 2, 4]);
  });

  it.each([
    [{ pids: [5] }, []],
    [{ pids: [6] }, [1, 2, 3, 4, 5]],
    [{ kinds: ['file-private'] }, [1, 2, 3, 4]],
    [{ class: 'lazy', kinds: ['file-private'] }, [1, 2, 3, 4, 5]],
    [{ ranges: [{ start: 11n * 4096n, end: 13n * 4096n }] }, [1, 4, 5]],
    [{ ranges: [{ start: 11n * 4096n + 5n, end: 11n * 4096n + 6n }] }, [1, 3, 4, 5]],
    [
      {
        ranges: [
          { start: 13n * 4096n, end: 14n * 4096n },
          { start: 11n * 4096n, end: 12n * 4096n },
        ],
      },
      [1, 3, 5],
    ],
    [{ class: 'lazy', ranges: [{ start: 11n * 4096n, end: 13n * 4096n }] }, [1, 3, 4, 5]],
  ] as [FilterOptions['selection'], number[]][])('drops what is selected by %o', (selection, pages) => {
    expect(kept({ action: 'drop', selection }).pages).toEqual(pages);
  });

  it('leaves pages of a parent alone, and holes', () => {
    const out = feed(
      filter({ action: 'drop', selection: {} }),
      HEADER,
      runsOf(TASK, [1, 1, PE_PARENT | SHAPE], [2, 1, PE_LAZY | SHAPE], [3, 1, EAGER]),
    );
    expect(describeRuns(out)).toEqual(['1+1 parent', '2+1 lazy-flag', '3+1 present taken']);
  });

  it('cuts references without reading', () => {
    const file = { name: 'pages-1.img', size: 0, read: () => expect.unreachable('nothing is read') };
    const extents: DumpRecord = { type: 'extents', file, extents: Float64Array.of(40960, 2 * PAGE, 81920, 3 * PAGE) };
    const out = feed(filter(DROP_LAZY), ...classified(), extents).at(-1);
    expect(out?.type === 'extents' && [...out.extents]).toEqual([81920, PAGE, 81920 + 2 * PAGE, PAGE]);
  });

  it('asks for a class where it is to go by class', () => {
    expect(() => feed(filter(DROP_LAZY), HEADER, runsOf(TASK, [1, 1, LAZY]))).toThrow(
      'pagemap-5.img: the runs have neither a class nor a kind of memory',
    );
  });

  it('verifies the checksum of payload that it cuts', () => {
    const [header, areasRecord, runs] = classified() as [DumpRecord, DumpRecord, DumpRecord & { type: 'runs' }];
    const check = (crc: number): DumpRecord => ({ type: 'check', crc32: crc });
    const records = [header, areasRecord, { ...runs, checked: true }, bytes] as DumpRecord[];
    const good = crc32(payload(1, 2, 3, 4, 5));
    const out = feed(filter(DROP_LAZY), ...records, check(good));
    expect(out.some((record) => record.type === 'check')).toBe(false);
    expect(() => feed(filter(DROP_LAZY), ...records, check(good ^ 1))).toThrow(
      'pagemap-5.img: the payload does not match its checksum',
    );
    const untouched = feed(filter({ action: 'drop', selection: { pids: [6] } }), ...records, check(good));
    expect(untouched.at(-1)).toEqual(check(good));
  });
});

describe('rebuild', () => {
  const pieces: Run[] = [
    [10, 2, LAZY],
    [12, 3, LAZY | CONTINUES],
    [15, 1, LAZY | CONTINUES | TAKEN | CLASS_LAZY],
    [16, 1, LAZY | CONTINUES | TAKEN | CLASS_LAZY],
    [17, 1, LAZY | CONTINUES],
    [18, 1, LAZY],
  ];

  it('joins the pieces of an entry that are alike, and no others', () => {
    expect(describeRuns(feed(rebuild(), HEADER, runsOf(TASK, ...pieces)))).toEqual([
      '10+5 present lazy-flag',
      '15+2 lazy-flag continues',
      '17+1 present lazy-flag continues',
      '18+1 present lazy-flag',
    ]);
  });

  it('leaves nothing in a hole with drop', () => {
    expect(describeRuns(feed(rebuild({ holes: 'drop' }), HEADER, runsOf(TASK, ...pieces)))).toEqual([
      '10+5 present lazy-flag',
      '17+1 present lazy-flag continues',
      '18+1 present lazy-flag',
    ]);
  });

  it('flags no page as lazy that nobody would fetch', () => {
    const stages = [classify(), filter({ action: 'drop', selection: { class: 'all' } }), rebuild()];
    const records = feedAll(stages, HEADER, AREAS, runsOf(TASK, [10, 1, LAZY], [20, 1, EAGER]));
    expect(describeRuns(records)).toEqual(['10+1 lazy-flag']);
  });

  it('changes nothing when it is done twice', () => {
    const once = feed(rebuild(), HEADER, runsOf(TASK, ...pieces));
    expect(describeRuns(feed(rebuild(), ...once))).toEqual(describeRuns(once));
  });
});

describe('tally', () => {
  it('counts pages and bytes by kind, and what was not there', () => {
    const { stage, spaces } = tally();
    const first: DumpRecord[] = [HEADER, { type: 'space', space: TASK }, AREAS];
    const runs = runsOf(TASK, [10, 2, LAZY], [12, 3, PE_PARENT | SHAPE], [15, 1, PE_LAZY | SHAPE], [20, 4, EAGER]);
    feedAll([classify(), filter(DROP_LAZY), stage], ...first, runs);
    expect(spaces).toEqual([
      {
        space: TASK,
        kept: { pages: 4, bytes: 4 * PAGE },
        taken: { pages: 2, bytes: 2 * PAGE },
        parentPages: 3,
        holePages: 1,
        kinds: {
          anon: { kept: { pages: 0, bytes: 0 }, taken: { pages: 2, bytes: 2 * PAGE } },
          'file-private': { kept: { pages: 4, bytes: 4 * PAGE }, taken: { pages: 0, bytes: 0 } },
        },
      },
    ]);
  });
});
