import { existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PageStreamDecoder } from '../../../src/containers/page-stream/decoder.js';
import { DumpError } from '../../../src/errors.js';
import { AREAS } from '../../helpers/broken-dumps.js';
import { cli, type Outcome, pagepipe } from '../../helpers/cli.js';
import {
  GENERATIONS,
  type Generation,
  Message,
  PE,
  pageContent,
  readPagemap,
  writeDump,
} from '../../helpers/dump-writer.js';
import { expectError } from '../../helpers/expect-error.js';
import {
  RUN_ALIGNED,
  RUN_CONTINUES,
  RUN_DETAIL,
  RUN_HOLE,
  RUN_PRESENT,
  StreamWriter,
} from '../../helpers/stream-writer.js';
import { fixture, tempDir } from '../../helpers/temp.js';

/** A small dump with one of everything that crosses a pipe; its stream. */
async function smallStream(generation: Generation = '4.2'): Promise<Buffer> {
  const root = tempDir();
  const dump = join(root, 'dump');
  writeDump(dump, {
    generation,
    tasks: [
      {
        pid: 7,
        vmas: AREAS,
        entries: [
          { vaddr: 0x10000n, pages: 1, flags: PE.PRESENT | PE.LAZY },
          { vaddr: 0x11000n, pages: 1, zeroPages: [0] },
          { vaddr: 0x20000n, pages: 1 },
        ],
      },
    ],
    shmem: [{ id: 3, entries: [{ vaddr: 0n, pages: 1 }] }],
  });
  mkdirSync(join(dump, 'folder'));
  writeFileSync(join(dump, 'folder/note'), 'hello');
  symlinkSync('note', join(dump, 'folder/link'));
  expect(await cli(['read', dump], { stdout: join(root, 'stream') })).toMatchObject({ code: 0, stderr: '' });
  return readFileSync(join(root, 'stream'));
}

/** Gives a stream to `write`; returns what it says, and checks that there is no output. */
async function writeRefuses(stream: Uint8Array, asProcess = false): Promise<Outcome> {
  const root = tempDir();
  const out = join(root, 'box/out');
  mkdirSync(join(root, 'box'));
  writeFileSync(join(root, 'stream'), stream);
  const outcome = asProcess
    ? await pagepipe(['write', out], { input: stream })
    : await cli(['write', out], { stdin: join(root, 'stream') });
  expect(readdirSync(join(root, 'box')), 'nothing is left').toEqual([]);
  expect(readdirSync(root).sort(), 'nothing was written elsewhere').toEqual(['box', 'stream']);
  return outcome;
}

/** All records of a stream, payload joined and held against its checks. */
function decode(stream: Uint8Array, chunkBytes = stream.length): unknown[] {
  const decoder = new PageStreamDecoder();
  const records: unknown[] = [];
  let payload: Buffer[] = [];
  for (let at = 0; at < stream.length; at += chunkBytes) {
    // A fresh buffer, that is overwritten afterwards: records must not lean on it.
    const chunk = Uint8Array.from(stream.subarray(at, at + chunkBytes));
    for (const record of decoder.push(chunk)) {
      if (record.type === 'bytes') payload.push(Buffer.from(record.bytes));
      else if (record.type === 'check') {
        const bytes = Buffer.concat(payload);
        payload = [];
        if (crc32(bytes) !== record.crc32) throw new DumpError('STREAM_DAMAGED', 'payload against its check');
        records.push(record, bytes.toString('latin1'));
      } else records.push(record);
    }
    chunk.fill(0xaa);
  }
  decoder.end();
  return records;
}

describe('write refuses what is no stream', () => {
  it.each([
    ['nothing', '', 'stdin: it is empty; expected a page stream', undefined],
    [
      'a text',
      'hello, world\n',
      'stdin@0x0: expected a page stream (PAGEPIPE), found something else',
      'pagepipe read DUMP makes one',
    ],
    [
      'a short text',
      'hi',
      'stdin@0x0: expected a page stream (PAGEPIPE), found something else',
      'pagepipe read DUMP makes one',
    ],
    ['half a magic', 'PAGE', 'stdin@0x0: expected a page stream, found only 4 bytes', undefined],
    ['a magic alone', 'PAGEPIPE', 'stdin@0x0: expected a page stream, found only 8 bytes', undefined],
    ['another version', 'PAGEPIPE\x03\0\0\0', 'stdin@0x8: expected page stream version 2, found 3', undefined],
    [
      'no frames',
      'PAGEPIPE\x02\0\0\0',
      'stdin@0xc: expected more frames and an end, found the end of the input: the stream was cut',
      undefined,
    ],
  ])('%s', async (_, text, error, hint) => {
    expectError(await writeRefuses(Buffer.from(text)), error, hint);
  });

  it('an image of a dump', async () => {
    const inventory = readFileSync(join(fixture('mosaic-criu-4.2.1'), 'inventory.img'));
    expectError(
      await writeRefuses(inventory),
      'stdin@0x0: expected a page stream (PAGEPIPE), found something else',
      'pagepipe read DUMP makes one',
    );
  });
});

const PAGE = new Uint8Array(4096).fill(7);
/** A stream up to its spaces. */
const begun = () => new StreamWriter().header().file('pstree.img', 'abc');
/** A stream with a space that has one page. */
/** Shapes of entries, as in docs/page-stream.md. */
const COUNT_IN_FIELD_2 = 1 << 8;
const HAS_IN_PARENT = 1 << 9;
const IN_PARENT_TRUE = 1 << 10;
const HAS_FLAGS = 1 << 11;
const HAS_FIELD_5 = 1 << 12;

const withPage = () =>
  begun()
    .space(0, 'pagemap-7.img', 1)
    .areas(0, [[1, 2]])
    .runs(0, [[1, 1, RUN_PRESENT]]);

describe('write refuses a stream of our own making', () => {
  it('unless it is sound', async () => {
    const root = tempDir();
    writeFileSync(join(root, 'stream'), withPage().payload(PAGE).end());
    const out = join(root, 'out');
    expect(await cli(['write', out], { stdin: join(root, 'stream') })).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(readdirSync(out).sort()).toEqual(['pagemap-7.img', 'pages-1.img', 'pstree.img']);
    expect(readFileSync(join(out, 'pstree.img'), 'utf8')).toBe('abc');
    expect(readFileSync(join(out, 'pages-1.img'))).toEqual(Buffer.from(PAGE));
    expect(readPagemap(join(out, 'pagemap-7.img')).entries).toMatchObject([{ vaddr: 0x1000n, pages: 1, flags: 4 }]);
  });

  const DATA = (length: number) => Buffer.from([6, 0, 0, 0, ...new Uint8Array(Uint32Array.of(length).buffer)]);
  const rows: [what: string, stream: () => Uint8Array, error: string][] = [
    [
      'a data frame too long',
      () => withPage().raw(DATA(4097), PAGE, Buffer.alloc(1)).end(),
      'stdin@0xc0: expected a data frame of 4096 bytes, found 4097',
    ],
    [
      'a data frame too short',
      () => withPage().raw(DATA(4095), PAGE).end(),
      'stdin@0xc0: expected a data frame of 4096 bytes, found 4095',
    ],
    [
      'a data frame of nothing',
      () => withPage().raw(DATA(0)).end(),
      'stdin@0xc0: expected a data frame of 4096 bytes, found 0',
    ],
    [
      'a data frame of 4 GiB',
      () => withPage().raw(DATA(0xffffffff)).end(),
      'stdin@0xc0: expected a data frame of 4096 bytes, found 4294967295',
    ],
    [
      'data that nobody announced',
      () => begun().raw(DATA(4), PAGE.subarray(0, 4)).end(),
      'stdin@0x4d: expected no payload here, found a data frame',
    ],
    [
      'data twice',
      () => withPage().payload(PAGE).payload(PAGE).end(),
      'stdin@0x10d5: expected no payload here, found a data frame',
    ],
    ['no data', () => withPage().end(), 'stdin@0xc0: expected 4096 more bytes of payload, found END'],
    ['no check', () => withPage().data(PAGE).end(), 'stdin@0x10c8: expected a check, found END'],
    ['a check that nobody needs', () => begun().check(0).end(), 'stdin@0x4d: expected no check here'],
    [
      'a wrong check',
      () => withPage().data(PAGE).check(1).end(),
      'pages-1.img: the payload does not match its checksum',
    ],
    [
      'a header frame of 2 GiB',
      () => new StreamWriter().raw(Buffer.from([1, 0, 0, 0, 0, 0, 0, 0x80])).bytes(),
      'stdin@0xc: expected a frame of at most 1048576 bytes, found 2147483648',
    ],
    ['an unknown frame', () => begun().frame(99, Buffer.alloc(0)).end(), 'stdin@0x4d: expected a frame, found type 99'],
    [
      'a frame named like a method',
      () => begun().frame(0, Buffer.alloc(0)).end(),
      'stdin@0x4d: expected a frame, found type 0',
    ],
    ['no header', () => new StreamWriter().file('a', '').end(), 'stdin@0xc: expected a HEADER here, found FILE'],
    ['a second header', () => begun().header().end(), 'stdin@0x4d: expected no second HEADER here, found HEADER'],
    [
      'an empty header',
      () => new StreamWriter().frame(1, Buffer.alloc(0)).end(),
      'stdin@0xc: expected a HEADER message',
    ],
    [
      'a page size of 5000',
      () => new StreamWriter().header(5000).end(),
      'stdin@0xc: expected a page size of 4096, 8192, 16384, 32768, 65536, found 5000',
    ],
    [
      'a page size of 0',
      () => new StreamWriter().header(0).end(),
      'stdin@0xc: expected a page size of 4096, 8192, 16384, 32768, 65536, found 0',
    ],
    [
      'a space that does not count',
      () => begun().space(1, 'pagemap-7.img', 1).end(),
      'stdin@0x4d: expected space 0, found 1',
    ],
    [
      'runs of no space',
      () =>
        begun()
          .runs(0, [[1, 1, RUN_PRESENT]])
          .end(),
      'stdin@0x4d: expected a known space, found 0',
    ],
    [
      'runs of an earlier space',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .space(1, 'pagemap-8.img', 2)
          .runs(1, [[1, 1, RUN_HOLE]])
          .runs(0, [[1, 1, RUN_HOLE]])
          .end(),
      'stdin@0xbb: expected the runs of each space together, in order',
    ],
    [
      'runs that overlap',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [
            [1, 2, RUN_HOLE],
            [2, 1, RUN_HOLE],
          ])
          .end(),
      'stdin@0x72: expected ascending runs',
    ],
    [
      'runs that overlap between frames',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 2, RUN_HOLE]])
          .runs(0, [[2, 1, RUN_HOLE]])
          .end(),
      'stdin@0x96: expected ascending runs',
    ],
    [
      'a run of no pages',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 0, RUN_HOLE]])
          .end(),
      'stdin@0x72: expected ascending runs',
    ],
    [
      'a run of all pages there are',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 2 ** 52, RUN_HOLE]])
          .end(),
      'stdin@0x72: expected ascending runs',
    ],
    [
      'more payload than a number can say',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 2 ** 51, RUN_PRESENT]])
          .end(),
      'stdin@0x72: expected less payload',
    ],
    [
      'a run of unknown bits',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, 0x80000000]])
          .end(),
      'stdin@0x72: expected known bits in a run, found 0x80000000',
    ],
    [
      'a detail that is not there',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, RUN_HOLE | RUN_DETAIL]])
          .end(),
      'stdin@0x72: expected a detail where a run announces one',
    ],
    [
      'a shape that counts no pages',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, RUN_HOLE & ~HAS_FIELD_5]])
          .end(),
      'stdin@0x72: expected a shape that holds the number of pages, found 0x802',
    ],
    [
      'more pages than its shape can count',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 2 ** 32, RUN_HOLE | COUNT_IN_FIELD_2]])
          .end(),
      'stdin@0x72: expected a shape that holds the number of pages, found 0x1902',
    ],
    ...[
      RUN_HOLE & ~HAS_FLAGS,
      RUN_PRESENT | IN_PARENT_TRUE,
      RUN_PRESENT | HAS_IN_PARENT | IN_PARENT_TRUE,
      (RUN_PRESENT & ~HAS_FLAGS) | HAS_IN_PARENT | IN_PARENT_TRUE,
    ].map((bits): (typeof rows)[number] => [
      `a shape of other pages than the run has, 0x${bits.toString(16)}`,
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, bits]])
          .end(),
      `stdin@0x72: expected a shape that says what its pages are, found 0x${bits.toString(16)}`,
    ]),
    [
      'compressed blocks of a hole',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, RUN_HOLE | RUN_DETAIL]], [{ run: 0, blocks: [5] }])
          .end(),
      'stdin@0x72: expected compressed blocks of pages that are present',
    ],
    [
      'blocks without their pages',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, RUN_PRESENT | RUN_DETAIL]], [{ run: 0, blocks: [5], pagesPerBlock: 'none' }])
          .end(),
      'stdin@0x72: expected blocks with their pages_per_block',
    ],
    [
      'a block that is larger than its pages',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 3, RUN_PRESENT | RUN_DETAIL]], [{ run: 0, blocks: [8192, 4097], pagesPerBlock: 2 }])
          .end(),
      'stdin@0x72: expected at most 4096 bytes in block 1, found 4097',
    ],
    [
      'blocks of more than 4 MiB',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 3, RUN_PRESENT | RUN_DETAIL]], [{ run: 0, blocks: [1], pagesPerBlock: 1025 }])
          .end(),
      'stdin@0x72: expected blocks of 1 to 1024 pages, found 1025',
    ],
    ...[
      ['of a hole', RUN_HOLE | RUN_ALIGNED],
      ['in the middle of an entry', RUN_PRESENT | RUN_CONTINUES | RUN_ALIGNED],
    ].map(([what, bits]): (typeof rows)[number] => [
      `alignment ${what}`,
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, Number(bits)]])
          .end(),
      'stdin@0x72: expected only the first of present pages aligned',
    ]),
    [
      'alignment that its shape cannot say',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 1, (RUN_PRESENT & ~HAS_FLAGS) | RUN_ALIGNED]])
          .end(),
      'stdin@0x72: expected a shape that says that payload is aligned',
    ],
    [
      'more blocks than an entry can have',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .runs(0, [[1, 300_000, RUN_PRESENT | RUN_DETAIL]], [{ run: 0, blocks: Array(300_000).fill(0) }])
          .end(),
      'stdin@0x72: expected at most 262144 blocks in a run',
    ],
    [
      'columns of different length',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .frame(
            5,
            new Message()
              .int(1, 0)
              .field(2, new Uint8Array(8))
              .field(3, new Uint8Array(16))
              .field(4, new Uint8Array(4))
              .finish(),
          )
          .end(),
      'stdin@0x72: expected columns of equal length',
    ],
    [
      'a column longer than its frame',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .frame(5, Uint8Array.of(8, 0, 0x12, 0x7f, 1, 2))
          .end(),
      'stdin@0x72: expected a RUNS message',
    ],
    [
      'areas that overlap',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .areas(0, [
            [1, 3],
            [2, 4],
          ])
          .end(),
      'stdin@0x72: expected ascending areas',
    ],
    [
      'an area of no pages',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .areas(0, [[3, 3]])
          .end(),
      'stdin@0x72: expected ascending areas',
    ],
    [
      'an area beyond the address space',
      () =>
        begun()
          .space(0, 'pagemap-7.img', 1)
          .areas(0, [[1, 2 ** 53]])
          .end(),
      'stdin@0x72: expected areas inside the address space',
    ],
    [
      'areas behind runs',
      () =>
        withPage()
          .payload(PAGE)
          .areas(0, [[5, 6]])
          .end(),
      'stdin@0x10d5: expected the areas of a space before its runs',
    ],
    [
      'an end in the middle',
      () => Buffer.concat([begun().end(), begun().end()]),
      'stdin@0x62: expected the end of the stream, found more bytes',
    ],
    [
      'a byte behind the end',
      () => Buffer.concat([begun().end(), Buffer.from('x')]),
      'stdin@0x62: expected the end of the stream, found more bytes',
    ],
    [
      'a page behind the end',
      () => Buffer.concat([begun().end(), Buffer.alloc(70_000)]),
      'stdin@0x62: expected the end of the stream, found more bytes',
    ],
    [
      'an end that miscounts files',
      () => begun().end({ files: 2 }),
      'stdin@0x4d: expected 2,0,0,0 files, spaces, runs and bytes of payload, found 1,0,0,0',
    ],
    [
      'an end that miscounts payload',
      () => withPage().payload(PAGE).end({ payloadBytes: 1 }),
      'stdin@0x10d5: expected 1,1,1,1 files, spaces, runs and bytes of payload, found 1,1,1,4096',
    ],
    [
      'an end with another checksum',
      () => begun().end({ crc32: 1 }),
      'stdin@0x4d: expected frames that match their checksum',
    ],
    ['an empty end', () => begun().frame(8, Buffer.alloc(0)).bytes(), 'stdin@0x4d: expected an END message'],
  ];
  it.each(rows)('%s', async (_, stream, error) => {
    expectError(await writeRefuses(stream()), error);
  });
});

describe('write refuses names', () => {
  it.each(['../x', '/etc/x', 'a//b', '', 'a/../../b', 'a/../b', '..', '.', './a', 'a/', 'a\0b', 'x'.repeat(4097)])(
    '%j',
    async (name) => {
      for (const kind of ['file', 'folder', 'link'] as const) {
        const stream = begun();
        if (kind === 'file') stream.file(name, 'evil');
        else if (kind === 'folder') stream.folder(name);
        else stream.link(name, 'pstree.img');
        expectError(
          await writeRefuses(stream.end()),
          `stdin@0x4d: expected a file name inside the dump, found ${JSON.stringify(name)}`,
        );
      }
    },
  );

  it.each([
    ['pstree.img', '0x4d'],
    ['pagemap-7.img', '0x6b'],
    ['pages-1.img', '0x69'],
  ])('%s twice', async (name, place) => {
    const stream = name === 'pstree.img' ? begun().file(name, '') : begun().file(name, '').space(0, 'pagemap-7.img', 1);
    expectError(await writeRefuses(stream.end()), `stdin@${place}: expected each name once, found "${name}"`);
  });

  it('two spaces in one pages file', async () => {
    const stream = begun().space(0, 'pagemap-7.img', 1).space(1, 'pagemap-8.img', 1).end();
    expectError(await writeRefuses(stream), 'stdin@0x72: expected each name once, found "pages-1.img"');
  });

  it.each(['pagemap-7', '../pagemap-7.img', 'mm-7.img', 'pagemap-x.img', 'a/pagemap-7.img'])(
    'of a pagemap: %j',
    async (name) => {
      const stream = begun().space(0, name, 1).end();
      expectError(
        await writeRefuses(stream),
        `stdin@0x4d: expected the name of a pagemap, found ${JSON.stringify(name)}`,
      );
    },
  );

  it.each(['/etc/passwd', '..', '../..', '../x', 'a/../../b', './../x'])('links to %j', async (target) => {
    const stream = begun().link('innocent', target).end();
    expectError(await writeRefuses(stream), 'innocent: the link leads outside the dump');
  });

  it.each(['', 'x'.repeat(4097), 'a\0b'])(
    'links to something of no or too much length, or with a NUL',
    async (target) => {
      const stream = begun().link('innocent', target).end();
      const error = 'stdin@0x4d: expected a link target of 1 to 4096 bytes, none of them 0';
      expectError(await writeRefuses(stream), error);
    },
  );

  it('a parent that leads to itself: it leads nowhere', async () => {
    const root = tempDir();
    const out = join(root, 'out');
    writeFileSync(join(root, 'stream'), begun().link('parent', 'parent').end());
    const { code, stderr } = await cli(['write', out], { stdin: join(root, 'stream') });
    expect(stderr).toBe(
      `pagepipe write: warning: ${out}/parent leads nowhere; put ${out} next to the dump, or the parent dump next to ${out}\n`,
    );
    expect({ code, there: existsSync(out) }).toEqual({ code: 0, there: true });
  });

  it('a file in a folder that is none', async () => {
    expect((await writeRefuses(begun().file('pstree.img/x', 'evil').end())).code).toBe(1);
    expect((await writeRefuses(begun().file('nowhere/x', 'evil').end())).code).toBe(1);
  });
});

describe('write never leaves OUT by a link', () => {
  const rows: [what: string, stream: (outside: string) => StreamWriter][] = [
    ['the parent link', (outside) => begun().link('parent', outside).file('parent/evil', 'evil')],
    ['the parent link, relatively', () => begun().link('parent', '../outside').file('parent/evil', 'evil')],
    ['a folder behind the parent link', (outside) => begun().link('parent', outside).folder('parent/evil')],
    ['a link behind the parent link', (outside) => begun().link('parent', outside).link('parent/evil', 'x')],
    [
      'a link to the parent link',
      (outside) => begun().link('parent', outside).link('x', 'parent').file('x/evil', 'evil'),
    ],
    [
      'a link up through another one',
      () => begun().folder('d').link('d/up', '..').link('x', 'd/up/../outside').file('x/evil', 'evil'),
    ],
  ];
  it.each(rows)('%s', async (_, stream) => {
    const root = tempDir();
    const outside = join(root, 'outside');
    mkdirSync(outside);
    writeFileSync(join(root, 'stream'), stream(outside).end());
    const outcome = await cli(['write', join(root, 'out')], { stdin: join(root, 'stream') });
    expect(readdirSync(outside)).toEqual([]);
    expect(outcome.stderr).toMatch(/^pagepipe(?: \w+)?: error: /);
    expect(outcome.code).toBe(1);
    expect(readdirSync(root).sort()).toEqual(['outside', 'stream']);
  });
});

describe('a stream that was damaged on its way', () => {
  /** Without `expect`, which takes longer than decoding does. */
  function isRefused(stream: Uint8Array): boolean {
    try {
      decode(stream);
      return false;
    } catch (error) {
      if (error instanceof DumpError) return true;
      throw error;
    }
  }

  /** Every position outside of pages, and in pages one in 16. */
  function placesIn(stream: Buffer): number[] {
    const contents = [
      pageContent('pagemap-7.img', 0x10000n),
      new Uint8Array(4096),
      pageContent('pagemap-7.img', 0x20000n),
      pageContent('pagemap-shmem-3.img', 0n),
    ];
    const pages = contents.map((content) => stream.indexOf(content));
    expect(pages).not.toContain(-1);
    const isInPage = (at: number) => pages.some((start) => at > start && at < start + 4095);
    return Array.from(stream.keys()).filter((at) => !isInPage(at) || at % 16 === 0);
  }

  it('is refused wherever it was cut', async () => {
    const stream = await smallStream();
    const taken = placesIn(stream).filter((length) => !isRefused(stream.subarray(0, length)));
    expect(taken).toEqual([]);
    expect(decode(stream).at(-1)).toEqual({ type: 'end' });
  });

  it('leaves no OUT where it was cut', async () => {
    const stream = await smallStream();
    for (let cut = 0; cut < 20; cut++) {
      const length = Math.floor((stream.length * cut) / 20);
      expectError(
        await writeRefuses(stream.subarray(0, length)),
        /^stdin(@0x[0-9a-f]+: expected .+, found the end of the input: the stream was cut|: it is empty; expected a page stream)$/,
      );
    }
    const last = stream.subarray(0, stream.length - 1);
    for (const asProcess of [false, true])
      expectError(
        await writeRefuses(last, asProcess),
        /^stdin@0x[0-9a-f]+: expected .+, found the end of the input: the stream was cut$/,
      );
  });

  it('is refused wherever a bit has flipped', async () => {
    const stream = await smallStream();
    const flip = (position: number, bit: number) => {
      const damaged = Buffer.from(stream);
      damaged[position] = (damaged[position] as number) ^ (1 << bit);
      return damaged;
    };
    const taken = placesIn(stream).filter((position) => !isRefused(flip(position, (position * 5) % 8)));
    expect(taken).toEqual([]);
    await fc.assert(
      fc.asyncProperty(fc.nat(stream.length - 1), fc.nat(7), async (position, bit) => {
        const outcome = await writeRefuses(flip(position, bit));
        expect(outcome.code).toBe(1);
        expect(outcome.stderr).toMatch(/^pagepipe(?: \w+)?: error: .*\n(pagepipe(?: \w+)?: hint: .*\n)?$/);
      }),
      { numRuns: 12 },
    );
  });

  it.each(GENERATIONS)('or not at all: chunks of any size give the same records (%s)', async (generation) => {
    const stream = await smallStream(generation);
    const whole = decode(stream);
    for (const chunkBytes of [1, 2, 3, 5, 4095, 4096]) expect(decode(stream, chunkBytes)).toEqual(whole);
    fc.assert(
      fc.property(fc.integer({ min: 1, max: stream.length }), (chunkBytes) => {
        expect(decode(stream, chunkBytes)).toEqual(whole);
      }),
      { numRuns: 12 },
    );
  });
});
