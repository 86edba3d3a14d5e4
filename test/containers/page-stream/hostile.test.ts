/** Streams that no encoder makes, with the right checksums: refused, or written as a dump whose pagemaps and pages agree. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirectorySink } from '../../../src/containers/directory/write.js';
import { PageStreamDecoder } from '../../../src/containers/page-stream/decoder.js';
import { PageStreamEncoder } from '../../../src/containers/page-stream/encoder.js';
import { ShardSink } from '../../../src/containers/shards/write.js';
import { TarSink } from '../../../src/containers/tar/write.js';
import { pump, type RecordSink, type Stage } from '../../../src/dump/pump.js';
import type { DumpRecord } from '../../../src/dump/records.js';
import { SizeSink } from '../../../src/dump/size.js';
import { DumpError } from '../../../src/errors.js';
import { PagemapDecoder } from '../../../src/image/pagemap.js';
import { FaultListParser, faultLine, faultListHead } from '../../../src/memory/fault-list.js';
import { classify } from '../../../src/stages/classify.js';
import { DROP_LAZY, filter } from '../../../src/stages/filter.js';
import { keepEager } from '../../../src/stages/keep.js';
import { rebuild } from '../../../src/stages/rebuild.js';
import { PE, readPagemap } from '../../helpers/dump-writer.js';
import {
  payloadOf,
  RUN_ALIGNED,
  RUN_CONTINUES,
  RUN_DETAIL,
  RUN_HOLE,
  RUN_PRESENT,
  RUN_TAKEN,
  type RunDetailSpec,
  StreamWriter,
} from '../../helpers/stream-writer.js';
import { tempDir } from '../../helpers/temp.js';

const PAGE = 4096;
const FIELD_2 = 1 << 8;

type Run = readonly [pageNumber: number, pages: number, bits: number];
interface RunsFrame {
  runs: Run[];
  details: RunDetailSpec[];
}

/** One task with these frames of runs and their payload. */
function streamOf(frames: readonly RunsFrame[]): Buffer {
  const stream = new StreamWriter().header().space(0, 'pagemap-7.img', 1);
  for (const frame of frames) addRuns(stream, 0, frame);
  return stream.end();
}

function addRuns(stream: StreamWriter, space: number, { runs, details }: RunsFrame): void {
  stream.runs(space, runs, details);
  const bytes = payloadOf(runs, details);
  if (bytes > 0) stream.payload(Buffer.alloc(bytes, 7));
}

async function run(stream: Uint8Array, stages: Stage[], sink: RecordSink, chunkBytes = stream.length): Promise<void> {
  const decoder = new PageStreamDecoder();
  function* records(): Generator<DumpRecord> {
    for (let at = 0; at < stream.length; at += chunkBytes) yield* decoder.push(stream.subarray(at, at + chunkBytes));
    decoder.end();
  }
  await pump(records(), stages, sink);
}

/** Each pagemap of a dump must be one that can be read, of as many bytes as its pages file has. */
function expectAgreement(dump: string): void {
  for (const name of readdirSync(dump).filter((file) => file.startsWith('pagemap-'))) {
    const decoder = new PagemapDecoder(PAGE, name);
    decoder.push(readFileSync(join(dump, name)));
    decoder.end();
    let end = 0;
    for (const { flags, isAligned, pages, storedBytes } of readPagemap(join(dump, name)).entries) {
      if (!(flags & PE.PRESENT)) continue;
      if (isAligned) end = Math.ceil(end / PAGE) * PAGE;
      end += storedBytes ?? pages * PAGE;
    }
    expect(statSync(join(dump, `pages-${decoder.pagesId}.img`)).size).toBe(end);
  }
}

async function written(stream: Uint8Array, stages: Stage[] = []): Promise<string> {
  const out = join(tempDir(), 'out');
  await run(stream, stages, new DirectorySink(out));
  expectAgreement(out);
  return out;
}

const entriesOf = (dump: string) =>
  readPagemap(join(dump, 'pagemap-7.img')).entries.map(({ pages, blocks }) => ({
    pages,
    ...(blocks ? { blocks } : {}),
  }));

describe('a run that says it continues the one before', () => {
  const plain: [number, RunDetailSpec | undefined] = [0, undefined];
  const blocks = (...sizes: number[]): [number, RunDetailSpec] => [RUN_DETAIL, { run: 0, blocks: sizes }];
  const regions = (pagesPerBlock: number, ...sizes: number[]): [number, RunDetailSpec] => [
    RUN_DETAIL,
    { run: 0, blocks: sizes, pagesPerBlock },
  ];
  const verbatim: [number, RunDetailSpec] = [RUN_DETAIL, { run: 0, verbatim: Uint8Array.of(1, 2, 3) }];

  type Piece = [number, RunDetailSpec | undefined];
  const rows: [what: string, first: Piece, second: Piece, joins: boolean][] = [
    ['both are plain', plain, plain, true],
    ['the first is verbatim', verbatim, plain, true],
    ['both are compressed', blocks(5, 6), blocks(7, 8), true],
    ['both are compressed in regions', regions(2, 5), regions(2, 8), true],
    ['the second alone is compressed', plain, blocks(7, 8), false],
    ['the first alone is compressed', blocks(5, 6), plain, false],
    ['the second is verbatim', plain, verbatim, false],
    ['both are verbatim', verbatim, verbatim, false],
    ['regions differ in size', regions(2, 5), regions(1, 5, 6), false],
    ['the first ends inside a region', regions(4, 5), regions(4, 6), false],
  ];
  const batch = (pieces: readonly [number, Piece][]): RunsFrame => ({
    runs: pieces.map(([at, [bits]]) => [at, 2, RUN_PRESENT | bits | (at === 1 ? 0 : RUN_CONTINUES)]),
    details: pieces.flatMap(([, [, detail]], run) => (detail ? [{ ...detail, run }] : [])),
  });

  it.each(rows)('joins it only if it can be: %s', async (_, first, second, joins) => {
    const pieces: [number, Piece][] = [
      [1, first],
      [3, second],
    ];
    const together = await written(streamOf([batch(pieces)]));
    const apart = await written(streamOf(pieces.map((piece) => batch([piece]))));
    const own = ([, detail]: Piece) => (detail?.blocks ? { blocks: [...detail.blocks] } : {});
    expect(entriesOf(together)).toEqual(
      joins
        ? [{ pages: 4, ...(first[1]?.blocks ? { blocks: [...first[1].blocks, ...(second[1]?.blocks ?? [])] } : {}) }]
        : [
            { pages: 2, ...own(first) },
            { pages: 2, ...own(second) },
          ],
    );
    // Where frames end makes no difference.
    expect(readFileSync(join(apart, 'pagemap-7.img'))).toEqual(readFileSync(join(together, 'pagemap-7.img')));
  });

  it('does not join it past what an entry can hold', async () => {
    const bits = RUN_HOLE | FIELD_2;
    const most = 2 ** 32 - 1;
    const runs: Run[] = [
      [1, most, bits],
      [1 + most, 1, bits | RUN_CONTINUES],
    ];
    expect(entriesOf(await written(streamOf([{ runs, details: [] }])))).toEqual([{ pages: most }, { pages: 1 }]);
    const blocks = Array<number>(200_000).fill(0);
    const frames = [0, 1].map((i) => ({
      runs: [[1 + i * blocks.length, blocks.length, RUN_PRESENT | RUN_DETAIL | (i * RUN_CONTINUES)] as const],
      details: [{ run: 0, blocks }],
    }));
    // Not compared item by item, which takes seconds.
    const found = entriesOf(await written(streamOf(frames)));
    expect(found.map(({ pages, blocks: sizes }) => [pages, sizes?.length])).toEqual([
      [200_000, 200_000],
      [200_000, 200_000],
    ]);
  });
});

/** Mostly what an encoder makes, so that it gets far; now and then something else. */
const anyBits = fc.oneof(
  {
    weight: 30,
    arbitrary: fc.constantFrom(
      RUN_PRESENT,
      RUN_HOLE,
      RUN_PRESENT | 2,
      RUN_PRESENT | FIELD_2,
      0x1804 | 1,
      RUN_PRESENT | RUN_ALIGNED,
    ),
  },
  { weight: 2, arbitrary: fc.tuple(fc.nat(7), fc.nat(31)).map(([state, shape]) => state | (shape << 8)) },
  { weight: 1, arbitrary: fc.nat(2 ** 22) },
);
const anyMarks = fc
  .tuple(fc.boolean(), fc.integer({ min: 0, max: 5 }), fc.nat(2), fc.nat(21))
  .map(
    ([continues, taken, mark, kind]) =>
      (continues ? RUN_CONTINUES : 0) | (taken === 0 ? RUN_TAKEN : 0) | (mark << 6) | (kind << 16),
  );

const anyDetail = fc.oneof(
  { weight: 3, arbitrary: fc.constant(undefined) },
  { weight: 1, arbitrary: fc.record({ verbatim: fc.uint8Array({ maxLength: 9 }) }) },
  {
    weight: 3,
    arbitrary: fc.record(
      {
        verbatim: fc.uint8Array({ maxLength: 3 }),
        blocks: fc.array(fc.nat(5000), { maxLength: 4 }),
        pagesPerBlock: fc.nat(3),
      },
      { requiredKeys: [] },
    ),
  },
);

/** What a detail must be to fit a run, in most cases. */
function fitted(detail: Omit<RunDetailSpec, 'run'> | undefined, pages: number, fits: boolean): typeof detail {
  if (!detail?.blocks || !fits) return detail;
  const pagesPerBlock = Number(detail.pagesPerBlock) || 1;
  const count = Math.ceil(pages / pagesPerBlock);
  const blocks = Array.from({ length: count }, (_, i) => Math.min(detail.blocks?.[i] ?? i, PAGE));
  return { ...detail, blocks, pagesPerBlock };
}

const anyRuns = fc
  .array(
    fc.record({
      gap: fc.oneof(
        { weight: 9, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: -1, max: 9 }) },
      ),
      pages: fc.oneof({ weight: 30, arbitrary: fc.integer({ min: 1, max: 6 }) }, { weight: 1, arbitrary: fc.nat(7) }),
      bits: anyBits,
      marks: fc.oneof({ weight: 6, arbitrary: fc.constantFrom(0, RUN_CONTINUES) }, { weight: 1, arbitrary: anyMarks }),
      detail: anyDetail,
      fits: fc.integer({ min: 0, max: 40 }).map((n) => n > 0),
    }),
    { maxLength: 6 },
  )
  .map((specs) => (start: number) => {
    let at = start;
    const runs: Run[] = [];
    const details: RunDetailSpec[] = [];
    for (const { gap, pages, bits, marks, detail, fits } of specs) {
      at = Math.max(0, at + gap);
      const has = fitted(detail, pages, fits);
      // A detail that no bit announces, or the reverse, is refused at once.
      runs.push([at, pages, ((bits | marks) & ~RUN_DETAIL) | (has ? RUN_DETAIL : 0)]);
      if (has) details.push({ ...has, run: runs.length - 1 });
      at += pages;
    }
    return { frame: { runs, details }, end: at };
  });

const NAMES = ['a', 'b', 'sub', 'sub/a', 'parent', 'pages-1.img', 'pagemap-7.img', 'core-7.img', 'x'.repeat(300), 'é'];
const anyName = fc.oneof(
  { weight: 5, arbitrary: fc.nat(10 ** 6).map((n) => `file${n}`) },
  { weight: 1, arbitrary: fc.constantFrom(...NAMES) },
);
const anyStep = fc.oneof(
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('file'), name: anyName, content: fc.constantFrom('', 'bytes') }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant('link'),
      name: anyName,
      target: fc.constantFrom('a', 'b/c', '.', '../x', 'a\0b'),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('folder'), name: anyName }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('space'), number: fc.nat(3) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('areas'), space: fc.nat(1), at: fc.nat(40) }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('runs'), skip: fc.nat(19), runs: anyRuns }) },
) as fc.Arbitrary<
  | { kind: 'file'; name: string; content: string }
  | { kind: 'link'; name: string; target: string }
  | { kind: 'folder'; name: string }
  | { kind: 'space'; number: number }
  | { kind: 'areas'; space: number; at: number }
  | { kind: 'runs'; skip: number; runs: (start: number) => { frame: RunsFrame; end: number } }
>;

/** Frames in any order, whose checksums and counts are right. */
const anyStream = fc.array(anyStep, { minLength: 1, maxLength: 12 }).map((steps) => {
  const stream = new StreamWriter().header().space(0, 'pagemap-7.img', 1);
  let spaces = 1;
  let at = 1;
  for (const step of steps) {
    if (step.kind === 'file') stream.file(step.name, step.content);
    else if (step.kind === 'link') stream.link(step.name, step.target);
    else if (step.kind === 'folder') stream.folder(step.name);
    else if (step.kind === 'areas') stream.areas(step.space, [[step.at, step.at + 20]]);
    else if (step.kind === 'space') {
      const pagemap = step.number === 0 ? `pagemap-shmem-${spaces}.img` : `pagemap-${spaces + 7}.img`;
      stream.space(spaces++, pagemap, spaces);
      at = 1;
    } else {
      const { frame, end } = step.runs(at);
      addRuns(stream, step.skip === 0 ? 0 : spaces - 1, frame);
      at = end;
    }
  }
  return stream.end();
});

/** Whether it was refused, as it may be; a bug is thrown on. */
async function refused(action: Promise<void>): Promise<boolean> {
  try {
    await action;
    return false;
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    return true;
  }
}

const PIPELINES: Record<string, () => Stage[]> = {
  none: () => [],
  rebuild: () => [rebuild()],
  'rebuild without holes': () => [rebuild({ holes: 'drop' })],
  'drop lazy': () => [classify({ policy: 'flags' }), filter(DROP_LAZY), rebuild()],
  'by areas': () => [classify({ policy: 'vma' }), filter(DROP_LAZY)],
  'a range': () => [filter({ action: 'keep', selection: { ranges: [{ start: 0x5000n, end: 0xa000n }] } })],
  'listed pages stay': () => {
    const list = new FaultListParser('list');
    list.push(Buffer.from(faultListHead(PAGE) + [2n, 3n, 6n].map((page) => faultLine(7, page * 4096n)).join('')));
    return [classify({ policy: 'flags' }), keepEager(list.finish()), filter(DROP_LAZY)];
  },
};

const memory = { write: () => {}, drain: async () => {}, flush: () => {}, commit: () => {}, discard: () => {} };
const SINKS: Record<string, () => RecordSink> = {
  tar: () => new TarSink(memory, { budget: { bytes: 2 ** 20, directory: '/tmp' } }),
  shards: () => new ShardSink([memory, memory]),
  size: () => new SizeSink(),
};

describe('a stream with any frames', () => {
  it('is refused, or written as a dump whose pagemaps and pages agree', async () => {
    const root = tempDir();
    let count = 0;
    let accepted = 0;
    await fc.assert(
      fc.asyncProperty(
        anyStream,
        fc.constantFrom(...Object.keys(PIPELINES)),
        fc.constantFrom(97, 4096),
        async (stream, stages, chunkBytes) => {
          const out = join(root, `out${count++}`);
          const sink = new DirectorySink(out);
          if (await refused(run(stream, PIPELINES[stages]?.() ?? [], sink, chunkBytes))) return;
          accepted++;
          expectAgreement(out);
        },
      ),
      { numRuns: 60 },
    );
    expect(accepted).toBeGreaterThan(count / 20);
    expect(readdirSync(root).filter((name) => name.startsWith('.'))).toEqual([]);
  });

  it('is a stream again behind any stages', async () => {
    await fc.assert(
      fc.asyncProperty(anyStream, fc.constantFrom(...Object.keys(PIPELINES)), async (stream, stages) => {
        const parts: Uint8Array[] = [];
        const encoder = new PageStreamEncoder((bytes) => parts.push(bytes.slice()));
        const sink = {
          write: (record: DumpRecord) => encoder.write(record as Exclude<DumpRecord, { type: 'extents' }>),
          finish: () => {},
          discard: () => {},
        };
        if (await refused(run(stream, PIPELINES[stages]?.() ?? [], sink))) return;
        const decoder = new PageStreamDecoder();
        const again = [...decoder.push(Buffer.concat(parts))];
        decoder.end();
        expect(again.at(-1)?.type).toBe('end');
      }),
      { numRuns: 40 },
    );
  });

  it.each(Object.keys(SINKS))('goes into %s, or is refused', async (name) => {
    await fc.assert(
      fc.asyncProperty(anyStream, fc.constantFrom(...Object.keys(PIPELINES)), async (stream, stages) => {
        await refused(run(stream, PIPELINES[stages]?.() ?? [], (SINKS[name] as () => RecordSink)()));
      }),
      { numRuns: 40 },
    );
  });
});
