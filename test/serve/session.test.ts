/** One client of the page server: every page of every kind of dump, and everything that can be wrong with a request. */
import { statSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DumpMemory } from '../../src/serve/memory.js';
import { ANON, GENERATIONS, PE, pageContent, writeDump } from '../helpers/dump-writer.js';
import {
  ADD_F,
  CLOSE,
  FORCE_CLOSE,
  FORMS,
  type Form,
  GET,
  message,
  PE_PRESENT,
  takeAnswers,
} from '../helpers/page-client.js';
import { compressPages, converse, makeCold, memoryOf, openMemory, pagesAt, served } from '../helpers/serving.js';
import { copyFixture, FIXTURES, fixture, tempDir } from '../helpers/temp.js';

type Memory = Map<number, Map<bigint, Uint8Array>>;

/** GETs for every page of every task, in steps; the answers must be what the oracle says. */
async function fetchAll(
  memory: DumpMemory,
  oracle: Memory,
  form: Form,
  step: number,
  pageSize = 4096,
): Promise<number> {
  const requests = [...oracle].flatMap(([pid, pages]) => {
    const starts: { pid: number; vaddr: bigint; expected: Buffer }[] = [];
    let next = 0n;
    for (const vaddr of [...pages.keys()].sort((a, b) => (a < b ? -1 : 1))) {
      if (vaddr < next) continue;
      const expected = pagesAt(pages, vaddr, step, pageSize);
      next = vaddr + BigInt(expected.length);
      starts.push({ pid, vaddr, expected });
    }
    return starts;
  });
  const chunks = requests.map(({ pid, vaddr }) => message(form, { command: GET, pages: step, vaddr, dstId: pid }));
  const { end, sent, session } = await converse(memory, [...chunks, message(form, { command: CLOSE })]);
  expect(end).toEqual({ client: 'wire', closed: true });
  const { answers, rest } = takeAnswers(sent, form, pageSize);
  expect(rest).toEqual(Buffer.alloc(4));
  expect(answers.length).toBe(requests.length);
  let total = 0;
  requests.forEach(({ pid, vaddr, expected }, i) => {
    const answer = answers[i] as (typeof answers)[number];
    const { command, flags, dstId, bytes } = answer;
    expect({ command, flags, dstId, vaddr: answer.vaddr }).toEqual({
      command: ADD_F,
      flags: PE_PRESENT,
      dstId: pid,
      vaddr,
    });
    expect(bytes.equals(expected)).toBe(true);
    total += answer.pages;
  });
  expect(session.stats.summary()).toMatchObject({ pages: total, requests: requests.length, bytes: total * pageSize });
  return total;
}

const pagesOf = (oracle: Memory): number => [...oracle.values()].reduce((sum, pages) => sum + pages.size, 0);

describe('a session gives every page', () => {
  it.each(GENERATIONS)('of a dump of generation %s', async (generation) => {
    const dump = join(tempDir(), 'dump');
    writeDump(dump, served(generation));
    const memory = openMemory(dump);
    const oracle = memoryOf(dump);
    for (const form of FORMS) {
      for (const step of [1, 2, 7, 300, 1024]) expect(await fetchAll(memory, oracle, form, step)).toBe(pagesOf(oracle));
    }
  });

  it.each([2, 4, 64])('of compressed blocks of %d pages, stored raw', async (pagesPerBlock) => {
    const dump = join(tempDir(), 'dump');
    writeDump(dump, served('4.3', pagesPerBlock));
    const oracle = memoryOf(dump);
    for (const step of [1, 3, 1024]) expect(await fetchAll(openMemory(dump), oracle, 32, step)).toBe(pagesOf(oracle));
  });

  it.each([1, 4, 64])('of LZ4 blocks of %d pages', async (pagesPerBlock) => {
    const dump = join(tempDir(), 'dump');
    const entries = [
      { vaddr: 0x10000n, pages: 130 },
      { vaddr: 0x200000n, pages: 1 },
    ];
    writeDump(dump, {
      tasks: [{ pid: 5, vmas: [{ start: 0n, end: 1n << 40n, ...ANON }], entries }],
      generation: '4.3',
    });
    const pages = compressPages(dump, 5, pagesPerBlock);
    const stored = statSync(join(dump, 'pages-1.img')).size;
    expect(stored).toBeLessThan(131 * 4096);
    for (const step of [1, 3, 7, 200])
      expect(await fetchAll(openMemory(dump), new Map([[5, pages]]), 24, step)).toBe(131);
  });

  it.each(FIXTURES)('of the real dump %s', async (name) => {
    const dump = fixture(name);
    const parents = name.startsWith('chain') ? [join(dump, '../2'), join(dump, '../1')] : [];
    const oracle = memoryOf(dump, ...parents);
    const memory = openMemory(dump);
    expect(pagesOf(oracle)).toBeGreaterThan(20);
    for (const form of FORMS) {
      for (const step of [1, 16, 1024]) expect(await fetchAll(memory, oracle, form, step)).toBe(pagesOf(oracle));
    }
  });

  it('of a cold directory: pagemaps and pages alone, lazy ones alone', async () => {
    const dump = join(tempDir(), 'cold');
    const entries = [
      { vaddr: 0x10000n, pages: 20, flags: PE.PRESENT | PE.LAZY },
      { vaddr: 0x40000n, pages: 3, flags: PE.PRESENT | PE.LAZY },
    ];
    const vmas = [{ start: 0n, end: 1n << 40n, ...ANON }];
    writeDump(dump, {
      tasks: [
        { pid: 7, vmas, entries },
        { pid: 8, vmas, entries },
      ],
    });
    makeCold(dump);
    expect(await fetchAll(openMemory(dump), memoryOf(dump), 32, 5)).toBe(46);
  });

  it('of a cold directory of a chain, from its parent', async () => {
    const dir = tempDir();
    const dump = copyFixture('chain/mprotect00/3', dir);
    makeCold(dump);
    const oracle = memoryOf(dump, join(dump, '../2'), join(dump, '../1'));
    expect(await fetchAll(openMemory(dump), oracle, 24, 64)).toBe(pagesOf(oracle));
  });

  it.each([16384, 65536])('of %d bytes', async (pageSize) => {
    const dir = tempDir();
    const entries = [
      { vaddr: 0x100000n, pages: 9 },
      { vaddr: 0x900000n, pages: 2 },
    ];
    // 64 KiB is found out from the size of the pages file; a cold directory must be told.
    writeDump(dir, {
      tasks: [{ pid: 5, vmas: [{ start: 0n, end: 1n << 40n, ...ANON }], entries }],
      pageSize,
      march: 3,
    });
    const pages = new Map(
      entries.flatMap(({ vaddr, pages: count }) =>
        Array.from({ length: count }, (_, i): [bigint, Uint8Array] => {
          const address = vaddr + BigInt(i * pageSize);
          return [address, pageContent('pagemap-5.img', address, pageSize)];
        }),
      ),
    );
    for (const step of [1, 4, 1000]) {
      expect(await fetchAll(openMemory(dir), new Map([[5, pages]]), 32, step, pageSize)).toBe(11);
    }
    makeCold(dir);
    expect(await fetchAll(openMemory(dir, { pageSize }), new Map([[5, pages]]), 32, 3, pageSize)).toBe(11);
  });

  it('to requests of any kind, however many at a time and however cut, in their order', async () => {
    const dump = join(tempDir(), 'dump');
    writeDump(dump, served('4.2'));
    const memory = openMemory(dump);
    const oracle = memoryOf(dump);
    const addresses = [...oracle].flatMap(([pid, pages]) => [...pages.keys()].map((vaddr) => ({ pid, vaddr })));
    const request = fc.tuple(
      fc.constantFrom(...addresses),
      fc.oneof(fc.constant(1), fc.integer({ min: 1, max: 2000 })),
    );
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...FORMS),
        fc.array(request, { minLength: 1, maxLength: 8 }),
        fc.array(fc.integer({ min: 1, max: 300 }), { maxLength: 6 }),
        async (form, requests, cuts) => {
          const bytes = Buffer.concat(
            requests.map(([{ pid, vaddr }, pages]) =>
              message(form, { command: GET, pages, vaddr, dstId: pid, padding: 0x80000001 }),
            ),
          );
          const places = [0, ...new Set(cuts.filter((cut) => cut < bytes.length)), bytes.length].sort((a, b) => a - b);
          const chunks = places.slice(1).map((place, i) => bytes.subarray(places[i], place));
          const { end, sent } = await converse(memory, chunks);
          expect(end).toEqual({ client: 'wire', closed: false });
          const { answers } = takeAnswers(sent, form);
          expect(answers.map(({ dstId, vaddr }) => ({ pid: dstId, vaddr }))).toEqual(requests.map(([at]) => at));
          answers.forEach(({ bytes: found }, i) => {
            const [{ pid, vaddr }, pages] = requests[i] as (typeof requests)[number];
            expect(found.equals(pagesAt(oracle.get(pid), vaddr, pages))).toBe(true);
          });
        },
      ),
      { numRuns: 60 },
    );
  });
});

describe('a session answers', () => {
  /** A dump with one hole, a page that is lazy and elsewhere, and one that stands in a parent that is not there. */
  const pieces = () => {
    const dir = tempDir();
    const vmas = [{ start: 0n, end: 1n << 40n, ...ANON }];
    writeDump(join(dir, 'parent-dump'), { tasks: [{ pid: 99, vmas, entries: [] }] });
    writeDump(join(dir, 'dump'), {
      tasks: [
        {
          pid: 15,
          vmas,
          entries: [
            { vaddr: 0x10000n, pages: 4 },
            { vaddr: 0x14000n, pages: 2, flags: PE.LAZY },
            { vaddr: 0x16000n, pages: 3 },
            { vaddr: 0x20000n, pages: 2, flags: PE.PARENT },
            { vaddr: 0x22000n, pages: 1 },
          ],
        },
        { pid: 16, vmas, entries: [{ vaddr: 0x10000n, pages: 700 }] },
      ],
    });
    symlinkSync('../parent-dump', join(dir, 'dump/parent'));
    return join(dir, 'dump');
  };

  it('what there is up to the next hole', async () => {
    const memory = openMemory(pieces());
    for (const form of FORMS) {
      const asked: [bigint, number, number][] = [
        [0x10000n, 100, 4],
        [0x13000n, 2, 1],
        [0x16000n, 2 ** 31, 3],
        [0x17000n, 2, 2],
        [0x22000n, 9, 1],
      ];
      const chunks = asked.map(([vaddr, pages]) => message(form, { command: GET, pages, vaddr, dstId: 15 }));
      const { answers } = takeAnswers((await converse(memory, chunks)).sent, form);
      expect(answers.map(({ pages }) => pages)).toEqual(asked.map(([, , pages]) => pages));
      expect(answers[4]?.bytes.equals(pageContent('pagemap-15.img', 0x22000n))).toBe(true);
    }
  });

  it('CLOSE and FORCE_CLOSE with the status 0, also as the first message, and nothing behind it', async () => {
    const memory = openMemory(pieces());
    for (const form of FORMS) {
      for (const command of [CLOSE, FORCE_CLOSE]) {
        const close = message(form, { command, padding: 0xffffffff });
        const behind = message(form, { command: GET, pages: 1, vaddr: 0x10000n, dstId: 15 });
        for (const chunks of [[close], [close.subarray(0, 3), close.subarray(3)], [Buffer.concat([close, behind])]]) {
          const { end, sent } = await converse(memory, chunks);
          expect(end).toEqual({ client: 'wire', closed: true });
          expect(sent).toEqual(Buffer.alloc(4));
        }
      }
    }
  });

  const refused: [string, Partial<Parameters<typeof message>[1]>, string][] = [
    ['an unknown pid', { dstId: 4711 }, 'GET of 1 page at 0x10000 of pid 4711: no such process in the dump'],
    [
      'a pid beyond all pids',
      { dstId: 2n ** 63n },
      'GET of 1 page at 0x10000 of pid 9223372036854775808: no such process in the dump',
    ],
    ['a zombie or a parent process', { dstId: 99 }, 'GET of 1 page at 0x10000 of pid 99: no such process in the dump'],
    [
      'an address that is not aligned',
      { vaddr: 0x10001n },
      'GET of 1 page at 0x10001 of pid 15: not aligned to 4096 bytes',
    ],
    ['an address in no entry', { vaddr: 0x30000n }, 'GET of 1 page at 0x30000 of pid 15: no such page in the dump'],
    [
      'an address beyond all',
      { vaddr: 2n ** 64n - 4096n },
      'GET of 1 page at 0xfffffffffffff000 of pid 15: no such page in the dump',
    ],
    [
      'a page that is lazy, and elsewhere',
      { vaddr: 0x14000n },
      'GET of 1 page at 0x14000 of pid 15: no such page in the dump',
    ],
    ['no pages', { pages: 0 }, 'GET of 0 pages at 0x10000 of pid 15: no pages asked for'],
  ];
  it.each(refused)('%s with zero pages and the end', async (_, fields, complaint) => {
    const memory = openMemory(pieces());
    const good = { command: GET, pages: 1, vaddr: 0x10000n, dstId: 15 };
    for (const form of FORMS) {
      // In the middle of others, and as the first request where it says of which form it is.
      const asFirst = fields.vaddr === 0x10001n || fields.dstId === 2n ** 63n ? [] : [[fields]];
      for (const wrong of [...asFirst.flat(), undefined]) {
        const requests = wrong ? [{ ...good, ...wrong }] : [good, { ...good, ...fields }, good];
        const { end, sent } = await converse(
          memory,
          requests.map((of) => message(form, of)),
        );
        expect(end).toMatchObject({ closed: false, error: complaint });
        const { answers, rest } = takeAnswers(sent, form);
        expect(rest.length).toBe(0);
        expect(answers.map(({ pages }) => pages)).toEqual(wrong ? [0] : [1, 0]);
        const asked = requests[answers.length - 1] as typeof good;
        expect(answers.at(-1)).toMatchObject({ command: ADD_F, flags: PE_PRESENT, vaddr: asked.vaddr });
      }
    }
  });

  it('with the end alone where a dump cannot be read', async () => {
    const memory = openMemory(pieces());
    const { end, sent } = await converse(memory, [message(24, { command: GET, pages: 1, vaddr: 0x20000n, dstId: 15 })]);
    expect(end.error).toBe('pagemap-15.img: these pages are in a parent dump, and this dump has none');
    expect(sent.length).toBe(0);
  });

  it.each(['ADD', 'HOLE', 'OPEN', 'OPEN2', 'PARENT', 'ADD_F'])(
    '%s, which is for receivers, with the end',
    async (name) => {
      const memory = openMemory(pieces());
      const command = { ADD: 1, HOLE: 2, OPEN: 3, OPEN2: 4, PARENT: 5, ADD_F: 6 }[name] as number;
      for (const form of FORMS) {
        const { end } = await converse(memory, [message(form, { command, vaddr: 0x10000n, dstId: 15, pages: 1 })]);
        expect(end.error).toBe(`a command that is not for lazy pages: ${name}`);
      }
    },
  );

  it('an unknown command, half a message and no message with the end', async () => {
    const memory = openMemory(pieces());
    const good = message(32, { command: GET, pages: 1, vaddr: 0x10000n, dstId: 15 });
    const unknown = message(32, { command: 0x99, pages: 1, vaddr: 0x10000n, dstId: 15 });
    expect((await converse(memory, [good, unknown])).end.error).toBe('a command that is not for lazy pages: 0x99');
    expect((await converse(memory, [good.subarray(0, 17)])).end.error).toBe('17 bytes of a message, then the end');
    expect((await converse(memory, [good, good.subarray(0, 31)])).end.error).toBe(
      '31 bytes of a message, then the end',
    );
    expect((await converse(memory, [])).end).toEqual({ client: 'wire', closed: false });
    expect((await converse(memory, [good])).end).toEqual({ client: 'wire', closed: false });
  });

  it('garbage with the end, whatever it is', async () => {
    const memory = openMemory(pieces());
    await fc.assert(
      fc.asyncProperty(fc.array(fc.uint8Array({ minLength: 1, maxLength: 100 }), { maxLength: 5 }), async (chunks) => {
        const { end } = await converse(memory, chunks);
        if (chunks.length > 0) expect(end.error).toMatch(/bytes of a message|not for lazy pages|of pid|^$/);
      }),
      { numRuns: 300 },
    );
  });
});
