import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DirectoryFiles } from '../../src/containers/directory/files.js';
import { DirectorySink } from '../../src/containers/directory/write.js';
import { openAddressSpace } from '../../src/dump/pagemap.js';
import { pump, type RecordSink } from '../../src/dump/pump.js';
import type { Space } from '../../src/dump/records.js';
import { SizeSink } from '../../src/dump/size.js';
import { DumpError } from '../../src/errors.js';
import { DumpReceiver, type ParentDump } from '../../src/serve/receive.js';
import { filter } from '../../src/stages/filter.js';
import { tally } from '../../src/stages/tally.js';
import { directory } from '../helpers/dump-files.js';
import { image, MAGIC, Message, PE, readPagemap } from '../helpers/dump-writer.js';
import { bufferBytes } from '../helpers/memory.js';
import { ADD_F, CLOSE, type Fields, FORCE_CLOSE, FORMS, GET, message } from '../helpers/page-client.js';
import {
  ADD,
  add,
  conversation,
  dst,
  filesIn,
  filesOf,
  HOLE,
  OPEN,
  OPEN2,
  open,
  PAGE,
  PARENT,
  type SentSpace,
  SHMEM,
  SPACES,
  sorted,
  TASK,
} from '../helpers/sent-dump.js';
import { openFiles, tempDir } from '../helpers/temp.js';

/** A connection that gives these chunks one by one, and ends; it notes in what order things happen. */
class Script {
  readonly events: string[] = [];
  readonly sent: Buffer[] = [];

  constructor(
    private readonly chunks: Iterable<Uint8Array>,
    private readonly onPull = () => {},
  ) {}

  async *iterator(): AsyncGenerator<Uint8Array> {
    for (const chunk of this.chunks) {
      this.onPull();
      this.events.push('chunk');
      yield chunk;
    }
  }

  setTimeout(milliseconds: number): void {
    this.events.push(`patience ${milliseconds}`);
  }

  write(bytes: Uint8Array, done: () => void): void {
    this.events.push(`answer ${bytes.length}`);
    this.sent.push(Buffer.from(bytes));
    setImmediate(done);
  }
}

interface Received {
  out: string;
  sent: Buffer;
  error: unknown;
  receiver: DumpReceiver;
}

/** Receives a dump into a directory. */
async function receive(
  chunks: Iterable<Uint8Array>,
  { parent, sink, pageSize = PAGE }: { parent?: ParentDump; sink?: RecordSink; pageSize?: number } = {},
): Promise<Received> {
  const out = join(tempDir(), 'out');
  const script = new Script(chunks);
  const options = { pageSize, ...(parent ? { parent } : {}) };
  const receiver = new DumpReceiver(script as unknown as Duplex, 'client', options);
  let error: unknown;
  try {
    await pump(receiver.records(), [], sink ?? new DirectorySink(out));
    await receiver.confirm();
  } catch (thrown) {
    error = thrown;
  }
  if (error) expect(readdirSync(join(out, '..'))).toEqual([]);
  expect(openFiles(join(out, '..'))).toEqual([]);
  return { out, sent: Buffer.concat(script.sent), error, receiver };
}

/** Cuts bytes at these places. */
function cut(bytes: Buffer, places: readonly number[]): Buffer[] {
  const ends = [...new Set([...places.filter((place) => place > 0 && place < bytes.length), bytes.length])];
  ends.sort((a, b) => a - b);
  return ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
}

const every = (bytes: Buffer, step: number): Buffer[] =>
  cut(
    bytes,
    Array.from({ length: Math.ceil(bytes.length / step) }, (_, i) => i * step),
  );

const spaceArbitrary = fc
  .uniqueArray(
    fc.record({
      id: fc.integer({ min: 1, max: 4194303 }),
      type: fc.constantFrom(TASK, SHMEM),
      steps: fc.array(
        fc.tuple(fc.integer({ min: 0, max: 5000 }), fc.integer({ min: 1, max: 4 }), fc.constantFrom(2, 4, 6)),
        { maxLength: 5 },
      ),
      base: fc.integer({ min: 0, max: 2 ** 35 }),
    }),
    { maxLength: 4, selector: ({ id, type }) => `${id} ${type}` },
  )
  .map((spaces) =>
    spaces.map(({ id, type, steps, base }): SentSpace => {
      let page = base;
      const entries = steps.map(([gap, pages, flags]) => {
        const entry = { vaddr: BigInt(page + gap) * BigInt(PAGE), pages, flags };
        page += gap + pages;
        return entry;
      });
      return { id, type, entries };
    }),
  );

describe('a dump that is sent', () => {
  it.each(FORMS)('is written as CRIU writes it, however it is cut: %d bytes a message', async (form) => {
    const bytes = conversation(form, SPACES);
    for (const chunks of [[bytes], every(bytes, 1), every(bytes, form), every(bytes, 4097), every(bytes, 65536)]) {
      const { out, sent, error, receiver } = await receive(chunks);
      expect(error).toBe(undefined);
      expect(sorted(filesIn(out))).toEqual(sorted(filesOf(form, SPACES)));
      // No parent, three times, and the status.
      expect(sent).toEqual(Buffer.alloc(3 + 4));
      expect(receiver.stats).toEqual({ spaces: 3, runs: 6, pages: 12, bytes: 12 * PAGE });
    }
  });

  it('is written as CRIU writes it, whatever it is', async () => {
    await fc.assert(
      fc.asyncProperty(
        spaceArbitrary,
        fc.constantFrom(...FORMS),
        fc.array(fc.nat(200_000), { maxLength: 30 }),
        async (spaces, form, places) => {
          const { out, sent, error } = await receive(cut(conversation(form, spaces), places));
          expect(error).toBe(undefined);
          expect(sorted(filesIn(out))).toEqual(sorted(filesOf(form, spaces)));
          expect(sent.length).toBe(spaces.length + 4);
        },
      ),
      { numRuns: 60 },
    );
  });

  // Hex of what criu page-server wrote behind the magic. A row is a conversation up to CLOSE; each page is of ones.
  const P = Buffer.alloc(PAGE, 1);
  const open5: Fields = { command: OPEN2, dstId: dst(5) };
  const HEAD = '0400000008818004';
  type Row = [name: string, (Fields | Buffer)[], answers: string, pagemap: string, hex24: string, hex32: string];
  const rows: Row[] = [
    [
      'one page',
      [open5, { command: ADD_F, flags: 4, pages: 1, vaddr: 0x1000n, dstId: dst(5) }, P],
      '00',
      'pagemap-5.img',
      '0700000008802010012004',
      '09000000088020100020042801',
    ],
    ['no page', [open5], '00', 'pagemap-5.img', '', ''],
    [
      'lazy ones',
      [
        open5,
        { command: ADD_F, flags: 2, pages: 4, vaddr: 0x1000n, dstId: dst(5) },
        { command: ADD_F, flags: 6, pages: 1, vaddr: 0x8000n, dstId: dst(5) },
        P,
      ],
      '00',
      'pagemap-5.img',
      '0700000008802010042002080000000880800210012006',
      '090000000880201000200228040a00000008808002100020062801',
    ],
    [
      'flags 0',
      [open5, { command: ADD_F, flags: 0, pages: 4, vaddr: 0x1000n, dstId: dst(5) }],
      '00',
      'pagemap-5.img',
      '0700000008802010042000',
      '09000000088020100020002804',
    ],
    [
      'the older commands',
      [{ command: OPEN, dstId: dst(5) }, { command: ADD, flags: 6, pages: 1, vaddr: 0x1000n, dstId: dst(5) }, P],
      '',
      'pagemap-5.img',
      '0700000008802010012004',
      '09000000088020100020042801',
    ],
    [
      'shared memory, after a question',
      [
        { command: PARENT, dstId: dst(5, SHMEM) },
        { command: OPEN2, dstId: dst(0xfedcba98765432n, SHMEM) },
        { command: ADD_F, flags: 4, pages: 1, vaddr: 0x1000n, dstId: dst(0xfedcba98765432n, SHMEM) },
        P,
      ],
      '0000000000',
      'pagemap-shmem-71737338064426034.img',
      '0700000008802010012004',
      '09000000088020100020042801',
    ],
    ['an older type', [{ command: OPEN2, dstId: dst(7, 16) }], '00', 'pagemap-7.img', '', ''],
    ['an older type of shared memory', [{ command: OPEN2, dstId: dst(7, 32) }], '00', 'pagemap-shmem-7.img', '', ''],
  ];
  it.each(rows)(
    'gives what criu page-server was seen to give: %s',
    async (_, steps, answers, pagemap, hex24, hex32) => {
      for (const form of FORMS) {
        for (const command of [CLOSE, FORCE_CLOSE]) {
          const messages = [...steps, { command }].map((step) => (Buffer.isBuffer(step) ? step : message(form, step)));
          const { out, sent, error } = await receive([Buffer.concat(messages)]);
          expect(error).toBe(undefined);
          const magic = Buffer.from(image('PAGEMAP', []));
          expect(magic.readUInt32LE(4)).toBe(MAGIC.PAGEMAP);
          expect(readFileSync(join(out, pagemap)).toString('hex')).toBe(
            `${magic.toString('hex')}${HEAD}${form === 24 ? hex24 : hex32}`,
          );
          expect(sent.toString('hex')).toBe(`${answers}00000000`);
        }
      }
    },
  );

  it('may have garbage in the padding, and more behind CLOSE', async () => {
    const padded = SPACES.flatMap((space) => [
      message(32, { command: OPEN2, dstId: dst(space.id, space.type), padding: 0xdeadbeef }),
      ...space.entries.flatMap((entry) => add(32, space, entry)),
    ]);
    const close = message(32, { command: CLOSE, padding: 7 });
    const { out, error } = await receive([Buffer.concat([...padded, close, Buffer.from('more')])]);
    expect(error).toBe(undefined);
    expect(sorted(filesIn(out))).toEqual(sorted(filesOf(32, SPACES)));
  });

  it('may be of other page sizes', async () => {
    const entry = { command: ADD_F, flags: 4, pages: 2, vaddr: 0x10000n, dstId: dst(5) };
    const pages = Buffer.alloc(2 * 65536, 3);
    const chunks = [message(32, { command: OPEN2, dstId: dst(5) }), message(32, entry), pages];
    const { out, error } = await receive([...chunks, message(32, { command: CLOSE })], { pageSize: 65536 });
    expect(error).toBe(undefined);
    expect(readFileSync(join(out, 'pages-65537.img')).equals(pages)).toBe(true);
    const unaligned = message(32, { ...entry, vaddr: 0x1000n });
    const refused = await receive([chunks[0] as Buffer, unaligned], { pageSize: 65536 });
    expect((refused.error as Error).message).toBe(
      'client: pagemap-5.img: expected an address aligned to 65536 bytes, found 0x1000',
    );
  });

  it('is private', async () => {
    const { out } = await receive([conversation(32, SPACES)]);
    expect(statSync(out).mode & 0o777).toBe(0o700);
    for (const name of readdirSync(out)) expect(statSync(join(out, name)).mode & 0o777).toBe(0o600);
  });
});

describe('the conversation', () => {
  it('has each answer before the next chunk, and the last one when everything is in place', async () => {
    const out = join(tempDir(), 'out');
    const [shmem, task] = SPACES as [SentSpace, SentSpace];
    const script = new Script([
      open(32, shmem),
      Buffer.concat([message(32, { command: PARENT, dstId: dst(1) }), open(32, task)]),
      message(32, { command: CLOSE }),
    ]);
    const receiver = new DumpReceiver(script as unknown as Duplex, 'client', { pageSize: PAGE });
    await pump(receiver.records(), [], new DirectorySink(out));
    expect(existsSync(out)).toBe(true);
    expect(script.events).toEqual(['chunk', 'answer 1', 'chunk', 'answer 4', 'answer 1', 'chunk', 'patience 0']);
    await receiver.confirm();
    expect(script.events.at(-1)).toBe('answer 4');
  });

  it('waits for the sink', async () => {
    const space: SentSpace = { id: 5, type: TASK, entries: [{ vaddr: 0n, pages: 64, flags: PE.PRESENT }] };
    let isBusy = false;
    let pulledMeanwhile = 0;
    const script = new Script(every(conversation(32, [space]), 1024), () => {
      if (isBusy) pulledMeanwhile++;
    });
    let bytes = 0;
    const sink: RecordSink = {
      async write(record) {
        if (record.type !== 'bytes') return;
        bytes += record.bytes.length;
        isBusy = true;
        // By then all that does not wait for the sink has run.
        await new Promise((resolve) => setImmediate(resolve));
        isBusy = false;
      },
      finish() {},
      discard() {},
    };
    const receiver = new DumpReceiver(script as unknown as Duplex, 'client', { pageSize: PAGE });
    await pump(receiver.records(), [], sink);
    expect(bytes).toBe(64 * PAGE);
    expect(pulledMeanwhile).toBe(0);
  });

  it('gives views of what has arrived, and no copies', async () => {
    const bytes = conversation(32, SPACES);
    const buffers = new Set<ArrayBufferLike>();
    const sink: RecordSink = {
      write(record) {
        if (record.type === 'bytes') buffers.add(record.bytes.buffer);
      },
      finish() {},
      discard() {},
    };
    await receive([bytes], { sink });
    expect([...buffers]).toEqual([bytes.buffer]);
  });
});

describe('what cannot be a dump', () => {
  const of5 = (fields: Partial<Fields>): Fields => ({
    command: ADD_F,
    flags: 4,
    pages: 1,
    vaddr: 0x2000n,
    dstId: dst(5),
    ...fields,
  });
  const open5: Fields = { command: OPEN2, dstId: dst(5) };
  const P = Buffer.alloc(PAGE, 1);
  const noId = (found: string) => `expected the id of a task or a shared memory segment, found ${found}`;
  const tooLow = (found: string) =>
    `pagemap-5.img: expected an address of at least 0x3000, the end of the pages before, found ${found}`;
  const neither = 'pagemap-5.img: expected pages, or a parent dump that has them, found neither';
  const rows: [what: string, code: string, steps: (Fields | Buffer)[], complaint: string][] = [
    ['nothing', 'PROTOCOL', [], 'expected CLOSE, found the end of the connection'],
    ['no CLOSE', 'PROTOCOL', [open5, of5({}), P], 'expected CLOSE, found the end of the connection'],
    [
      'half a page',
      'PROTOCOL',
      [open5, of5({ pages: 2 }), P],
      'expected 4096 more bytes of pages, found the end of the connection',
    ],
    [
      'half a message',
      'PROTOCOL',
      [open5, Buffer.from('half')],
      'expected the rest of a message, found the end of the connection',
    ],
    ['an unknown command', 'PROTOCOL', [open5, { command: 99 }], 'expected a command of a dump, found 0x63'],
    ['a GET', 'PROTOCOL', [open5, { command: GET, pages: 1, dstId: 5 }], 'expected a command of a dump, found GET'],
    ['an unknown type', 'PROTOCOL', [open5, { command: OPEN2, dstId: dst(5, 3) }], noId('0x503')],
    ['no pid', 'PROTOCOL', [open5, { command: OPEN2, dstId: dst(0) }], noId('0x1')],
    ['a pid that is none', 'PROTOCOL', [open5, { command: OPEN2, dstId: dst(1 << 22) }], noId('0x40000001')],
    [
      'pages of nothing',
      'PROTOCOL',
      [{ command: PARENT, dstId: dst(5) }, of5({})],
      'expected pages of a pagemap that was opened, found ADD_F of pagemap-5.img',
    ],
    [
      'pages of another',
      'PROTOCOL',
      [open5, of5({ dstId: dst(6) })],
      'expected pages of pagemap-5.img, found ADD_F of pagemap-6.img',
    ],
    [
      'pages of the one before',
      'PROTOCOL',
      [open5, { command: OPEN2, dstId: dst(6) }, of5({})],
      'expected pages of pagemap-6.img, found ADD_F of pagemap-5.img',
    ],
    ['the same twice', 'PROTOCOL', [open5, of5({}), P, open5], 'expected each pagemap once, found pagemap-5.img again'],
    [
      'the same by an older type',
      'PROTOCOL',
      [open5, { command: OPEN, dstId: dst(5, 11) }],
      'expected each pagemap once, found pagemap-5.img again',
    ],
    ['descending pages', 'ORDER', [open5, of5({}), P, of5({ vaddr: 0x1000n })], tooLow('0x1000')],
    ['pages twice', 'ORDER', [open5, of5({}), P, of5({})], tooLow('0x2000')],
    [
      'an odd address',
      'MALFORMED',
      [open5, of5({ vaddr: 0x2010n })],
      'pagemap-5.img: expected an address aligned to 4096 bytes, found 0x2010',
    ],
    ['no pages', 'MALFORMED', [open5, of5({ pages: 0 })], 'pagemap-5.img: expected at least one page, found 0'],
    [
      'pages beyond all memory',
      'MALFORMED',
      [open5, of5({ vaddr: 0xffff_ffff_ffff_f000n, pages: 2 })],
      'pagemap-5.img: expected pages inside the address space, found 2 at 0xfffffffffffff000',
    ],
    [
      'an unknown flag',
      'UNSUPPORTED',
      [open5, of5({ flags: 12 })],
      'pagemap-5.img: expected known flags only (PARENT 1, LAZY 2, PRESENT 4), found 0xc',
    ],
    [
      'pages here and in the parent',
      'MALFORMED',
      [open5, of5({ flags: 5 })],
      'pagemap-5.img: expected pages either here or in the parent dump, found flags 5',
    ],
    ['pages in no parent', 'NO_PARENT', [open5, of5({ flags: 1 })], neither],
    ['a hole without a parent', 'NO_PARENT', [open5, of5({ command: HOLE, flags: 0 })], neither],
  ];
  it.each(rows)('%s', async (_, code, steps, complaint) => {
    for (const form of FORMS) {
      const bytes = Buffer.concat(steps.map((step) => (Buffer.isBuffer(step) ? step : message(form, step))));
      for (const chunks of [[bytes], every(bytes, 1000), every(bytes, 1)]) {
        const { sent, error } = await receive(chunks);
        expect(error).toBeInstanceOf(DumpError);
        expect((error as DumpError).message).toBe(`client: ${complaint}`);
        expect((error as DumpError).code).toBe(code);
        // Answers, but no status.
        expect(sent.length).toBeLessThanOrEqual(4);
        expect(sent.every((byte) => byte === 0)).toBe(true);
      }
    }
  });

  it('counts that promise more than there is memory, and nothing is allocated', async () => {
    const before = bufferBytes();
    for (const [pages, complaint] of [
      [2n ** 40n, 'expected 4503599627366400 more bytes of pages, found the end of the connection'],
      [2n ** 52n, 'pagemap-5.img: expected pages inside the address space, found 4503599627370496 at 0x2000'],
      [2n ** 63n, 'pagemap-5.img: expected pages inside the address space, found 9223372036854775808 at 0x2000'],
    ] as const) {
      const { error } = await receive([message(32, open5), message(32, of5({ pages })), P]);
      expect((error as DumpError).message).toBe(`client: ${complaint}`);
    }
    const { error } = await receive([message(24, open5), message(24, of5({ pages: 2 ** 32 - 1 })), P]);
    expect((error as DumpError).message).toBe(
      'client: expected 17592186036224 more bytes of pages, found the end of the connection',
    );
    const twice = [of5({ pages: 2n ** 41n - 2n, flags: 2 }), of5({ vaddr: 1n << 60n, pages: 2n ** 40n, flags: 2 })];
    const lazy = [open5, ...twice, { command: CLOSE }].map((fields) => message(32, fields));
    const { error: none, out } = await receive([Buffer.concat(lazy)]);
    expect(none).toBe(undefined);
    expect(readPagemap(join(out, 'pagemap-5.img')).entries.map((entry) => entry.pages)).toEqual([2 ** 41 - 2, 2 ** 40]);
    expect(process.memoryUsage().arrayBuffers - before).toBeLessThan(64 * 2 ** 20);
  });

  it('any bytes at all', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.array(fc.nat(400)), async (bytes, places) => {
        const { error, sent } = await receive(cut(Buffer.from(bytes), places));
        expect(error).toBeInstanceOf(DumpError);
        expect(sent.length).toBe(0);
      }),
      { numRuns: 200 },
    );
  });

  it('a dump with some bytes changed or missing is whole, or nothing', async () => {
    const small: SentSpace[] = SPACES.map((space) => ({ ...space, entries: space.entries.slice(0, 2) }));
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...FORMS),
        fc.array(fc.tuple(fc.nat(), fc.nat(255)), { minLength: 1, maxLength: 3 }),
        fc.tuple(fc.nat(), fc.nat(40)),
        fc.array(fc.nat(30_000), { maxLength: 5 }),
        async (form, changes, [gap, length], places) => {
          const bytes = conversation(form, small);
          // Mostly where messages are: pages may hold anything.
          for (const [at, value] of changes) bytes[at % (at % 2 ? 200 : bytes.length)] = value;
          const from = gap % bytes.length;
          const rest = Buffer.concat([bytes.subarray(0, from), bytes.subarray(from + length)]);
          const { error, out } = await receive(cut(rest, places));
          if (error) expect(error).toBeInstanceOf(DumpError);
          else for (const name of readdirSync(out)) expect(name).toMatch(/^pag(emap-(shmem-)?|es-)\d+\.img$/);
        },
      ),
      { numRuns: 200 },
    );
  });
});

describe('on top of a parent dump', () => {
  /** A parent with pages, a page in no file, and a gap. */
  function parentDump(): { files: DirectoryFiles; path: string; parent: ParentDump } {
    const path = join(tempDir(), 'parent');
    mkdirSync(path);
    const entry = (vaddr: number, pages: number, flags: number) =>
      new Message().int(1, vaddr).int(2, pages).int(4, flags);
    writeFileSync(
      join(path, 'pagemap-5.img'),
      image('PAGEMAP', [new Message().int(1, 1), entry(0x1000, 2, 4), entry(0x3000, 1, 4), entry(0x8000, 1, 2)]),
    );
    writeFileSync(join(path, 'pages-1.img'), Buffer.alloc(3 * PAGE, 1));
    const files = directory(path);
    const parent = {
      link: '../parent',
      has: (pagemap: string) => existsSync(join(path, pagemap)),
      open: (pagemap: string) => openAddressSpace(files, pagemap, PAGE),
    };
    return { files, path, parent };
  }
  const hole = (vaddr: bigint, pages: number, id = 5): Fields => ({
    command: ADD_F,
    flags: 1,
    pages,
    vaddr,
    dstId: dst(id),
  });
  const send = (...steps: Fields[]) => [
    Buffer.concat([...steps, { command: CLOSE }].map((fields) => message(32, fields))),
  ];

  it('says what is there, and leaves pages to it', async () => {
    const { files, path, parent } = parentDump();
    const steps = [
      { command: PARENT, dstId: dst(5) },
      { command: PARENT, dstId: dst(6) },
      { command: PARENT, dstId: dst(5, SHMEM) },
      { command: OPEN2, dstId: dst(5) },
      hole(0x1000n, 3),
      { ...hole(0x8000n, 1), command: HOLE, flags: 0 },
      { command: OPEN2, dstId: dst(6) },
    ];
    const { out, sent, error } = await receive(send(...steps), { parent });
    expect(error).toBe(undefined);
    expect(sent.toString('hex')).toBe('010000000000000000000000010000000000');
    files.close();
    expect(openFiles(path)).toEqual([]);
    const { entries } = readPagemap(join(out, 'pagemap-5.img'));
    expect(entries.map(({ vaddr, pages, flags }) => [vaddr, pages, flags])).toEqual([
      [0x1000n, 3, PE.PARENT],
      [0x8000n, 1, PE.PARENT],
    ]);
  });

  it.each([
    ['a page in a gap', [hole(0x5000n, 1)], '0x5000'],
    ['a run into a gap', [hole(0x2000n, 4)], '0x4000'],
    ['a run without end', [hole(0x8000n, 2 ** 32)], '0x9000'],
  ])('refuses what it does not have: %s', async (_, holes, address) => {
    const { files, path, parent } = parentDump();
    const { error } = await receive(send({ command: OPEN2, dstId: dst(5) }, ...holes), { parent });
    expect((error as DumpError).code).toBe('NO_PARENT');
    expect((error as DumpError).message).toBe(
      `client: pagemap-5.img: expected a page at ${address} in the parent dump, found none`,
    );
    files.close();
    expect(openFiles(path)).toEqual([]);
  });

  it('refuses pages of a process that the parent dump did not have', async () => {
    const { parent } = parentDump();
    const { error } = await receive(send({ command: OPEN2, dstId: dst(6) }, hole(0x1000n, 1, 6)), { parent });
    expect((error as DumpError).code).toBe('NO_PARENT');
    expect((error as DumpError).message).toBe(
      'client: pagemap-6.img: expected pages, or a parent dump that has them, found neither',
    );
  });
});

describe('stages behind it', () => {
  it('know lazy from eager, and count', async () => {
    const counts = tally();
    const script = new Script([conversation(32, SPACES)]);
    const receiver = new DumpReceiver(script as unknown as Duplex, 'client', { pageSize: PAGE });
    const sink = new SizeSink();
    const stages = [filter({ action: 'drop', selection: { class: 'lazy' } }), counts.stage];
    await pump(receiver.records(), stages, sink);
    const taken = counts.spaces.map(({ space, kept, taken }) => [space.pagemap, kept.pages, taken.pages]);
    expect(taken).toEqual([
      ['pagemap-shmem-298.img', 3, 0],
      ['pagemap-1000.img', 4, 5],
      ['pagemap-1001.img', 0, 0],
    ]);
    const pagemaps = [...filesOf(32, SPACES)].filter(([name]) => name.startsWith('pagemap'));
    expect(sink.bytes).toBe(7 * PAGE + pagemaps.reduce((sum, [, bytes]) => sum + bytes.length, 0));
  });

  it('are told that kinds of memory are unknown', async () => {
    const script = new Script([conversation(32, SPACES)]);
    const receiver = new DumpReceiver(script as unknown as Duplex, 'client', { pageSize: PAGE });
    const stages = [filter({ action: 'drop', selection: { kinds: ['heap'] } })];
    await expect(pump(receiver.records(), stages, new SizeSink())).rejects.toThrow(
      'pagemap-1000.img: the runs have a class, but no kind of memory',
    );
  });

  it('meet every space before its runs', async () => {
    const seen: string[] = [];
    const sink: RecordSink = {
      write(record) {
        if ('space' in record) seen.push(`${record.type} ${(record.space as Space).index}`);
      },
      finish() {},
      discard() {},
    };
    await receive([conversation(24, SPACES)], { sink });
    expect(seen).toEqual(['space 0', 'runs 0', 'space 1', ...Array(5).fill('runs 1'), 'space 2']);
  });
});
