/** A dump from a dumping CRIU: what becomes of it, however it arrives, and everything that can be wrong with it. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { pump, type RecordSink } from '../../src/pump.js';
import type { Space } from '../../src/records.js';
import { DumpReceiver, type ParentDump } from '../../src/serve/receive.js';
import { DirectorySink } from '../../src/sink/directory.js';
import { SizeSink } from '../../src/sink/size.js';
import { openAddressSpace } from '../../src/source/pagemap.js';
import { filter } from '../../src/stages/filter.js';
import { tally } from '../../src/stages/tally.js';
import { cli } from '../helpers/cli.js';
import { image, MAGIC, Message, PE, pageContent, readPagemap } from '../helpers/dump-writer.js';
import {
  ADD_F,
  CLOSE,
  connection,
  type Fields,
  FORCE_CLOSE,
  FORMS,
  type Form,
  GET,
  message,
  PageClient,
} from '../helpers/page-client.js';
import { exitOf, Running, start } from '../helpers/running.js';
import { openFiles, tempDir } from '../helpers/temp.js';

const ADD = 1;
const HOLE = 2;
const OPEN = 3;
const OPEN2 = 4;
const PARENT = 5;
const TASK = 1;
const SHMEM = 2;
const PAGE = 4096;

const dst = (id: number | bigint, type = TASK): bigint => (BigInt(id) << 8n) | BigInt(type);

/** One pagemap of a dump, as it is sent and as it must be written. */
interface SentSpace {
  id: number;
  type: number;
  entries: { vaddr: bigint; pages: number; flags: number }[];
}

const nameOf = ({ id, type }: SentSpace) => `pagemap-${type === TASK ? '' : 'shmem-'}${id}.img`;

const open = (form: Form, space: SentSpace) => message(form, { command: OPEN2, dstId: dst(space.id, space.type) });

function add(form: Form, space: SentSpace, { vaddr, pages, flags }: SentSpace['entries'][number]): Buffer[] {
  const head = message(form, { command: ADD_F, flags, pages, vaddr, dstId: dst(space.id, space.type) });
  return flags & PE.PRESENT ? [head, contentOf(nameOf(space), vaddr, pages)] : [head];
}

const contentOf = (pagemap: string, vaddr: bigint, pages: number): Buffer =>
  Buffer.concat(Array.from({ length: pages }, (_, i) => pageContent(pagemap, vaddr + BigInt(i * PAGE))));

/** All that CRIU sends of a dump. */
const conversation = (form: Form, spaces: readonly SentSpace[]): Buffer =>
  Buffer.concat([
    ...spaces.flatMap((space) => [open(form, space), ...space.entries.flatMap((entry) => add(form, space, entry))]),
    message(form, { command: CLOSE }),
  ]);

/** The files that CRIU's page server makes of it. */
function filesOf(form: Form, spaces: readonly SentSpace[]): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  spaces.forEach((space, i) => {
    const pagesId = 0x10001 + i;
    const entries = space.entries.map(({ vaddr, pages, flags }) => {
      const entry = new Message()
        .int(1, vaddr)
        .int(2, form === 24 ? pages : 0)
        .int(4, flags);
      return form === 24 ? entry : entry.int(5, pages);
    });
    files.set(nameOf(space), Buffer.from(image('PAGEMAP', [new Message().int(1, pagesId), ...entries])));
    const present = space.entries.filter(({ flags }) => flags & PE.PRESENT);
    const bytes = present.map(({ vaddr, pages }) => contentOf(nameOf(space), vaddr, pages));
    files.set(`pages-${pagesId}.img`, Buffer.concat(bytes));
  });
  return files;
}

/** The regular files of a directory. */
const filesIn = (directory: string): Map<string, Buffer> =>
  new Map(
    readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => [name, readFileSync(join(directory, name))]),
  );

/** In order, each by its length and checksum: quicker to compare than the bytes. */
const sorted = (files: Map<string, Buffer>) =>
  [...files].map(([name, bytes]) => `${name} ${bytes.length} ${createHash('sha1').update(bytes).digest('hex')}`).sort();

/** A connection that gives these chunks one by one, and ends; it notes in what order things happen. */
class Script {
  readonly events: string[] = [];
  readonly sent: Buffer[] = [];

  constructor(private readonly chunks: Iterable<Uint8Array>) {}

  async *iterator(): AsyncGenerator<Uint8Array> {
    for (const chunk of this.chunks) {
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

/** A process, a segment of shared memory and a process without a page, with entries in every state. */
const SPACES: SentSpace[] = [
  { id: 0x12a, type: SHMEM, entries: [{ vaddr: 0n, pages: 3, flags: PE.PRESENT }] },
  {
    id: 1000,
    type: TASK,
    entries: [
      { vaddr: 0x400000n, pages: 1, flags: PE.PRESENT },
      { vaddr: 0x401000n, pages: 2, flags: PE.PRESENT },
      { vaddr: 0x7f00_0000_0000n, pages: 5, flags: PE.PRESENT | PE.LAZY },
      { vaddr: 0x7f00_0000_5000n, pages: 300, flags: PE.LAZY },
      { vaddr: 0xffff_ffff_ff60_0000n, pages: 1, flags: PE.PRESENT },
    ],
  },
  { id: 1001, type: TASK, entries: [] },
];

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
    expect((refused.error as Error).message).toMatch(/aligned to 65536 bytes, found 0x1000$/);
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
    const script = new Script(every(conversation(32, [space]), 1024));
    let release = () => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    let reached = () => {};
    const stalled = new Promise<void>((resolve) => {
      reached = resolve;
    });
    let bytes = 0;
    const sink: RecordSink = {
      write(record) {
        if (record.type !== 'bytes') return undefined;
        bytes += record.bytes.length;
        if (bytes < 10_000) return undefined;
        reached();
        return held;
      },
      finish() {},
      discard() {},
    };
    const receiver = new DumpReceiver(script as unknown as Duplex, 'client', { pageSize: PAGE });
    const done = pump(receiver.records(), [], sink);
    await stalled;
    const pulled = script.events.length;
    for (let i = 0; i < 20; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(script.events.length).toBe(pulled);
    expect(pulled).toBeLessThan(13);
    release();
    await done;
    expect(bytes).toBe(64 * PAGE);
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
  const rows: [what: string, code: string, steps: (Fields | Buffer)[], complaint: RegExp][] = [
    ['nothing', 'PROTOCOL', [], /^client: expected CLOSE, found the end of the connection$/],
    ['no CLOSE', 'PROTOCOL', [open5, of5({}), P], /^client: expected CLOSE, found the end of the connection$/],
    ['half a page', 'PROTOCOL', [open5, of5({ pages: 2 }), P], /: expected 4096 more bytes of pages, found the end/],
    ['half a message', 'PROTOCOL', [open5, Buffer.from('half')], /: expected the rest of a message, found the end/],
    ['an unknown command', 'PROTOCOL', [open5, { command: 99 }], /: expected a command of a dump, found 0x63$/],
    ['a GET', 'PROTOCOL', [open5, { command: GET, pages: 1, dstId: 5 }], /a command of a dump, found GET$/],
    [
      'an unknown type',
      'PROTOCOL',
      [open5, { command: OPEN2, dstId: dst(5, 3) }],
      /or a shared memory segment, found 0x503$/,
    ],
    ['no pid', 'PROTOCOL', [open5, { command: OPEN2, dstId: dst(0) }], /expected the id of a task .* found 0x1$/],
    ['a pid that is none', 'PROTOCOL', [open5, { command: OPEN2, dstId: dst(1 << 22) }], /found 0x40000001$/],
    [
      'pages of nothing',
      'PROTOCOL',
      [{ command: PARENT, dstId: dst(5) }, of5({})],
      /expected pages of a pagemap that was opened, found ADD_F of pagemap-5\.img$/,
    ],
    [
      'pages of another',
      'PROTOCOL',
      [open5, of5({ dstId: dst(6) })],
      /expected pages of pagemap-5\.img, found ADD_F of pagemap-6\.img$/,
    ],
    [
      'pages of the one before',
      'PROTOCOL',
      [open5, { command: OPEN2, dstId: dst(6) }, of5({})],
      /expected pages of pagemap-6\.img, found ADD_F of pagemap-5\.img$/,
    ],
    [
      'the same twice',
      'PROTOCOL',
      [open5, of5({}), P, open5],
      /expected each pagemap once, found pagemap-5\.img again$/,
    ],
    ['the same by an older type', 'PROTOCOL', [open5, { command: OPEN, dstId: dst(5, 11) }], /pagemap-5\.img again$/],
    [
      'descending pages',
      'ORDER',
      [open5, of5({}), P, of5({ vaddr: 0x1000n })],
      /pagemap-5\.img: expected an address of at least 0x3000, .*found 0x1000$/,
    ],
    [
      'pages twice',
      'ORDER',
      [open5, of5({}), P, of5({})],
      /at least 0x3000, the end of the pages before, found 0x2000$/,
    ],
    ['an odd address', 'MALFORMED', [open5, of5({ vaddr: 0x2010n })], /aligned to 4096 bytes, found 0x2010$/],
    ['no pages', 'MALFORMED', [open5, of5({ pages: 0 })], /expected at least one page, found 0$/],
    [
      'pages beyond all memory',
      'MALFORMED',
      [open5, of5({ vaddr: 0xffff_ffff_ffff_f000n, pages: 2 })],
      /inside the address space, found 2 at 0xfffffffffffff000$/,
    ],
    ['an unknown flag', 'UNSUPPORTED', [open5, of5({ flags: 12 })], /known flags only .*found 0xc$/],
    [
      'pages here and in the parent',
      'MALFORMED',
      [open5, of5({ flags: 5 })],
      /either here or in the parent dump, found flags 5$/,
    ],
    [
      'pages in no parent',
      'NO_PARENT',
      [open5, of5({ flags: 1 })],
      /expected pages, or a parent dump that has them, found neither$/,
    ],
    ['a hole without a parent', 'NO_PARENT', [open5, of5({ command: HOLE, flags: 0 })], /found neither$/],
  ];
  it.each(rows)('%s', async (_, code, steps, complaint) => {
    for (const form of FORMS) {
      const bytes = Buffer.concat(steps.map((step) => (Buffer.isBuffer(step) ? step : message(form, step))));
      for (const chunks of [[bytes], every(bytes, 1000), every(bytes, 1)]) {
        const { sent, error } = await receive(chunks);
        expect(error).toBeInstanceOf(DumpError);
        expect((error as DumpError).message).toMatch(complaint);
        expect((error as DumpError).message).not.toContain('\n');
        expect((error as DumpError).code).toBe(code);
        // Answers, but no status.
        expect(sent.length).toBeLessThanOrEqual(4);
        expect(sent.every((byte) => byte === 0)).toBe(true);
      }
    }
  });

  it('counts that promise more than there is memory, and nothing is allocated', async () => {
    const before = process.memoryUsage().arrayBuffers;
    for (const [pages, complaint] of [
      [2n ** 40n, /expected 4503599627366400 more bytes of pages, found the end/],
      [2n ** 52n, /pages inside the address space, found 4503599627370496 at 0x2000$/],
      [2n ** 64n - 1n, /pages inside the address space, found 18446744073709552000 at 0x2000$/],
    ] as const) {
      const { error } = await receive([message(32, open5), message(32, of5({ pages })), P]);
      expect((error as DumpError).message).toMatch(complaint);
    }
    const { error } = await receive([message(24, open5), message(24, of5({ pages: 2 ** 32 - 1 })), P]);
    expect((error as DumpError).message).toMatch(/expected 17592186036224 more bytes/);
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
  function parentDump(): { path: string; parent: ParentDump } {
    const path = join(tempDir(), 'parent');
    mkdirSync(path);
    const entry = (vaddr: number, pages: number, flags: number) =>
      new Message().int(1, vaddr).int(2, pages).int(4, flags);
    writeFileSync(
      join(path, 'pagemap-5.img'),
      image('PAGEMAP', [new Message().int(1, 1), entry(0x1000, 2, 4), entry(0x3000, 1, 4), entry(0x8000, 1, 2)]),
    );
    writeFileSync(join(path, 'pages-1.img'), Buffer.alloc(3 * PAGE, 1));
    const parent = {
      link: '../parent',
      has: (pagemap: string) => existsSync(join(path, pagemap)),
      open: (pagemap: string) => openAddressSpace(path, pagemap, PAGE),
    };
    return { path, parent };
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
    const { path, parent } = parentDump();
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
    const { path, parent } = parentDump();
    const { error } = await receive(send({ command: OPEN2, dstId: dst(5) }, ...holes), { parent });
    expect((error as DumpError).code).toBe('NO_PARENT');
    expect((error as DumpError).message).toMatch(
      `: expected ${address} in the parent dump, which is to have it, found no`,
    );
    expect(openFiles(path)).toEqual([]);
  });

  it('refuses pages of a process that the parent dump did not have', async () => {
    const { parent } = parentDump();
    const { error } = await receive(send({ command: OPEN2, dstId: dst(6) }, hole(0x1000n, 1, 6)), { parent });
    expect((error as DumpError).code).toBe('NO_PARENT');
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
      'pagemap-1000.img: expected runs with a kind of memory, found a class alone',
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

/** Sends a whole dump as CRIU does, waiting for its answers; resolves to the status. */
async function dumpTo(
  output: { write(bytes: Uint8Array): unknown },
  client: PageClient,
  spaces: readonly SentSpace[] = SPACES,
): Promise<number> {
  for (const space of spaces) {
    output.write(open(client.form, space));
    expect(await client.read(1)).toEqual(Buffer.alloc(1));
    for (const entry of space.entries) for (const bytes of add(client.form, space, entry)) output.write(bytes);
  }
  return client.close();
}

/** A client on a port that sends all of a dump. */
function dumpToPort(port: number, form: Form = 32): Promise<number> {
  const socket = connection(port);
  return dumpTo(socket, new PageClient(socket, form));
}

const receiveAt = (words: string[], options = {}) =>
  new Running(['receive', ...words, '--listen', '127.0.0.1:0'], options);

describe('receive', () => {
  it.each(FORMS)('takes a dump of %d bytes a message, says so, and ends', async (form) => {
    const dir = tempDir();
    const running = receiveAt([join(dir, 'out')]);
    const port = await running.port();
    expect(await dumpToPort(port, form)).toBe(0);
    expect(await running.code()).toBe(0);
    expect(sorted(filesIn(join(dir, 'out')))).toEqual(sorted(filesOf(form, SPACES)));
    expect(readdirSync(dir)).toEqual(['out']);
    expect(running.out).toBe('');
    const lines = [
      `pagepipe: listening at 127\\.0\\.0\\.1:${port}`,
      'pagepipe: 127\\.0\\.0\\.1:\\d+: received 12 pages, 49152 bytes of 3 address spaces in [\\d.]+ s',
      'pagepipe: warning: .*: never restore this directory without --lazy-pages.*',
    ];
    expect(running.err).toMatch(new RegExp(`^${lines.join('\\n')}\\n$`));
  });

  it('prints JSON lines', async () => {
    const running = receiveAt([join(tempDir(), 'out'), '--json']);
    const [, first] = await running.prints(/^(.*)\n/, 'out');
    const { event, host, port } = JSON.parse(first as string);
    expect({ event, host }).toEqual({ event: 'listening', host: '127.0.0.1' });
    expect(await dumpToPort(port)).toBe(0);
    expect(await running.code()).toBe(0);
    expect(JSON.parse(running.out.split('\n')[1] as string)).toMatchObject({
      event: 'received',
      spaces: 3,
      runs: 6,
      pages: 12,
      bytes: 49152,
    });
  });

  it('has one client at a time', async () => {
    const out = join(tempDir(), 'out');
    const running = receiveAt([out]);
    const port = await running.port();
    const socket = connection(port);
    const first = new PageClient(socket, 24);
    first.send({ command: PARENT, dstId: dst(1) });
    expect(await first.read(4)).toEqual(Buffer.alloc(4));
    const second = new PageClient(connection(port), 24);
    expect((await second.rest()).length).toBe(0);
    await running.prints(/turned away/);
    expect(await dumpTo(socket, first)).toBe(0);
    expect(await running.code()).toBe(0);
  });

  it.each([
    [
      'leaves',
      (client: ReturnType<typeof connection>) => client.end(),
      /expected 8192 more bytes of pages, found the end of the connection/,
    ],
    [
      'breaks off',
      (client: ReturnType<typeof connection>) => client.resetAndDestroy(),
      // Whether the reset overtakes the bytes before it is up to the kernel.
      /(expected 8192 more bytes of pages, found the end of the connection|expected the rest of the dump, found the connection broken)/,
    ],
    ['falls silent', () => {}, /expected the rest of the dump, found nothing sent and nothing taken for 1 s/],
    [
      'talks nonsense',
      (client: ReturnType<typeof connection>) => client.write(Buffer.alloc(8192 + 32, 9)),
      /expected a command of a dump, found 0x909/,
    ],
  ])('leaves nothing of a client that %s', async (_, end, complaint) => {
    const dir = tempDir();
    const running = receiveAt([join(dir, 'out'), '--idle-timeout', '1']);
    const socket = connection(await running.port());
    const client = new PageClient(socket, 32);
    socket.write(open(32, SPACES[0] as SentSpace));
    await client.read(1);
    socket.write(message(32, { command: ADD_F, flags: 4, pages: 3, dstId: dst(0x12a, SHMEM) }));
    socket.write(Buffer.alloc(PAGE), () => end(socket));
    void client.rest();
    expect(await running.code()).toBe(1);
    expect(running.err).toMatch(new RegExp(`\\npagepipe: error: 127\\.0\\.0\\.1:\\d+: ${complaint.source}\\n$`));
    expect(readdirSync(dir)).toEqual([]);
  });

  it('does not answer CLOSE where the dump cannot be put in its place', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    const running = receiveAt([out]);
    const socket = connection(await running.port());
    mkdirSync(out);
    writeFileSync(join(out, 'other'), '');
    await expect(dumpTo(socket, new PageClient(socket, 32))).rejects.toThrow('a status of 0 bytes');
    expect(await running.code()).toBe(1);
    expect(running.err).toMatch(/\npagepipe: error: .*out: .*ENOTEMPTY/);
    expect(readdirSync(dir)).toEqual(['out']);
    expect(readdirSync(out)).toEqual(['other']);
  });

  it('refuses a place that is taken before anybody comes, unless it may replace it', async () => {
    const dir = tempDir();
    const out = join(dir, 'out');
    mkdirSync(out);
    writeFileSync(join(out, 'other'), '');
    const refused = await cli(['receive', out, '--listen', '127.0.0.1:0']);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toMatch(
      /^pagepipe: error: .*found files in it\npagepipe: hint: use --force to replace it\n$/,
    );
    const running = receiveAt([out, '--force']);
    expect(await dumpToPort(await running.port())).toBe(0);
    expect(await running.code()).toBe(0);
    expect(existsSync(join(out, 'other'))).toBe(false);
    expect(readdirSync(dir)).toEqual(['out']);
  });

  it('leaves nothing where it cannot listen', async () => {
    const dir = tempDir();
    const first = receiveAt([join(dir, 'out')]);
    const port = await first.port();
    const second = await cli(['receive', join(dir, 'second'), '--listen', `127.0.0.1:${port}`]);
    expect(second.code).toBe(1);
    expect(second.stderr).toMatch(/^pagepipe: error: 127\.0\.0\.1:\d+: address already in use \(EADDRINUSE\)\n$/);
    expect(await dumpToPort(port)).toBe(0);
    await first.code();
    expect(readdirSync(dir)).toEqual(['out']);
  });

  it('warns once where others may reach it', async () => {
    const dir = tempDir();
    const running = new Running(['receive', join(dir, 'out'), '--listen', '0.0.0.0:0']);
    expect(await dumpToPort(await running.port())).toBe(0);
    await running.code();
    expect(running.err).toMatch(/^pagepipe: warning: whoever reaches 0\.0\.0\.0:0 can send a dump; --tls asks for/);
    expect(running.err.match(/whoever/g)?.length).toBe(1);
  });

  it('links to the parent dump', async () => {
    const dir = tempDir();
    mkdirSync(join(dir, '1'));
    writeFileSync(join(dir, '1/pagemap-1000.img'), image('PAGEMAP', [new Message().int(1, 1)]));
    const running = receiveAt([join(dir, '2'), '--prev-images-dir', '../1']);
    const socket = connection(await running.port());
    const client = new PageClient(socket, 32);
    socket.write(open(32, SPACES[1] as SentSpace));
    expect(await client.read(1)).toEqual(Buffer.of(1));
    expect(await client.close()).toBe(0);
    expect(await running.code()).toBe(0);
    expect(readlinkSync(join(dir, '2/parent'))).toBe('../1');
    expect(running.err).not.toContain('parent');
    const none = await cli(['receive', join(dir, '3'), '--prev-images-dir', '../0', '--listen', '127.0.0.1:0']);
    expect(none.code).toBe(1);
    expect(none.stderr).toMatch(/^pagepipe: error: .*\/0: expected the directory of the dump before, found none\n$/);
    expect(readdirSync(dir).sort()).toEqual(['1', '2']);
  });

  it('asks for certificates', async () => {
    const folder = fileURLToPath(new URL('certificates/', import.meta.url));
    const file = (name: string) => join(folder, `${name}.pem`);
    const words = ['--tls', '--tls-cacert', file('ca'), '--tls-cert', file('server'), '--tls-key', file('server-key')];
    const out = join(tempDir(), 'out');
    const running = receiveAt([out, ...words]);
    const port = await running.port();
    const secure = (name: string) => {
      const pem = (what: string) => readFileSync(file(what));
      const socket = connectTls({ host: '127.0.0.1', port, ca: pem('ca'), cert: pem(name), key: pem(`${name}-key`) });
      socket.on('error', () => {});
      return socket;
    };
    // Who is not let in does not end it.
    secure('stranger');
    await running.prints(/: TLS: .*\n/);
    const socket = secure('client');
    expect(await dumpTo(socket, new PageClient(socket, 32))).toBe(0);
    expect(await running.code()).toBe(0);
    expect(sorted(filesIn(out))).toEqual(sorted(filesOf(32, SPACES)));
  });

  it.each([
    [['receive'], 'expected OUT, found nothing'],
    [['receive', 'a', 'b'], 'found one more: b'],
    [['receive', 'a', '--listen', 'here'], '--listen: expected HOST:PORT'],
    [['receive', 'a', '--page-size', '5'], '--page-size: expected 4096'],
    [['receive', '-', '--stdio'], '--stdio: expected OUT to be a directory'],
    [['receive', '-', '--force'], '--force: expected OUT to be a directory'],
    [['receive', '-', '--prev-images-dir', '../1'], '--prev-images-dir: expected OUT to be a directory'],
    [['receive', '-'], 'refusing to write binary data to a terminal'],
  ])('refuses %j', async (words, complaint) => {
    const { code, stderr } = await cli(words as string[], { stdoutIsTerminal: true });
    expect(code).toBe(2);
    expect(stderr).toContain(complaint);
  });
});

describe('receive -', () => {
  /** A stream of the dump in a file. */
  async function streamTo(file: string, form: Form): Promise<void> {
    const stdoutFd = openSync(file, 'w');
    const running = receiveAt(['-', '--json'], { stdoutFd });
    const [, first] = await running.prints(/^(.*)\n/);
    expect(await dumpToPort(JSON.parse(first as string).port, form)).toBe(0);
    expect(await running.code()).toBe(0);
    closeSync(stdoutFd);
  }

  it.each(FORMS)('is a stream that becomes the same dump, or a small one: %d bytes a message', async (form) => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    await streamTo(at('stream'), form);
    expect((await cli(['write', at('out')], { stdin: at('stream') })).code).toBe(0);
    expect(sorted(filesIn(at('out')))).toEqual(sorted(filesOf(form, SPACES)));
    const small = SPACES.map((space) => ({
      ...space,
      entries: space.entries.map((entry) => ({ ...entry, flags: entry.flags === 6 ? 2 : entry.flags })),
    }));
    for (const stages of ['filter --drop lazy | rebuild', 'classify | filter --drop lazy | rebuild']) {
      expect((await cli(['run', stages], { stdin: at('stream'), stdout: at('small.stream') })).code).toBe(0);
      expect((await cli(['write', at('small'), '--force'], { stdin: at('small.stream') })).code).toBe(0);
      expect(sorted(filesIn(at('small')))).toEqual(sorted(filesOf(form, small)));
    }
  });

  it('is cut where the dump is, and its reader knows', async () => {
    const dir = tempDir();
    const stdoutFd = openSync(join(dir, 'stream'), 'w');
    const running = receiveAt(['-'], { stdoutFd });
    const socket = connection(await running.port());
    socket.end(conversation(32, SPACES).subarray(0, -40));
    expect(await running.code()).toBe(1);
    closeSync(stdoutFd);
    const { code, stderr } = await cli(['write', join(dir, 'out')], { stdin: join(dir, 'stream') });
    expect(code).toBe(1);
    expect(stderr).toContain('the stream was cut');
    expect(readdirSync(dir)).toEqual(['stream']);
  });

  it('fails when its reader leaves, and so does the dump', async () => {
    const { child, stderr, prints } = start(['receive', '-', '--listen', '127.0.0.1:0']);
    const [, port] = await prints(/listening at [\d.]+:(\d+)\n/);
    child.stdout.destroy();
    const socket = connection(Number(port));
    const client = new PageClient(socket, 32);
    socket.write(conversation(32, SPACES.slice(0, 2)));
    // The answers of the two pagemaps at the most.
    expect((await client.rest()).length).toBeLessThan(4);
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text).toMatch(/pagepipe: error: stdout: expected a reader up to the end of the dump, found it gone/);
  });
});

describe('receive as a process', () => {
  it('takes a dump from stdin and answers on stdout', async () => {
    const dir = tempDir();
    const { child, stderr } = start(['receive', join(dir, 'out'), '--stdio']);
    expect(await dumpTo(child.stdin, new PageClient(child, 24))).toBe(0);
    expect(await exitOf(child)).toBe(0);
    expect(stderr.text).toMatch(/^pagepipe: stdio: received 12 pages, /);
    expect(sorted(filesIn(join(dir, 'out')))).toEqual(sorted(filesOf(24, SPACES)));
  });

  it('leaves nothing of half a dump from stdin', async () => {
    const dir = tempDir();
    const { child, stderr } = start(['receive', join(dir, 'out'), '--stdio']);
    child.stdin.end(conversation(24, SPACES).subarray(0, 10_000));
    expect(await exitOf(child)).toBe(1);
    expect(stderr.text).toMatch(/^pagepipe: error: stdin: expected \d+ more bytes of pages, found the end of the conn/);
    expect(readdirSync(dir)).toEqual([]);
  });

  it.each([
    ['SIGINT', 130, false],
    ['SIGTERM', 143, true],
  ] as const)('leaves nothing at %s', async (signal, code, connected) => {
    const dir = tempDir();
    const { child, prints } = start(['receive', join(dir, 'out'), '--listen', '127.0.0.1:0']);
    const [, port] = await prints(/listening at [\d.]+:(\d+)\n/);
    if (connected) {
      const socket = connection(Number(port));
      socket.write(open(32, SPACES[0] as SentSpace));
      await new PageClient(socket, 32).read(1);
    }
    child.kill(signal);
    expect(await exitOf(child)).toBe(code);
    expect(readdirSync(dir)).toEqual([]);
  });
});
