/** Pages of an order that come from an object store: few requests, in the order in which they are needed. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { openRandom } from '../../src/arrival/open.js';
import { DumpSource } from '../../src/lazy/dump-source.js';
import type { FarPages } from '../../src/lazy/far-pages.js';
import { PageOrder } from '../../src/lazy/order.js';
import { DumpMemory } from '../../src/serve/memory.js';
import { ANON, PE, pageContent, writeDump } from '../helpers/dump-writer.js';
import { S3Server } from '../helpers/s3-server.js';
import { tempDir } from '../helpers/temp.js';

const BUCKET = 'dumps';
const PAGE = 4096;
const KIB = 1024;
const BASE = 0x10_0000_0000n;
const FIRST = Number(BASE) / PAGE;
const PAGES = 1024;

let server: S3Server;
let source: DumpSource;

beforeAll(async () => {
  server = await S3Server.start(BUCKET);
});
beforeEach(async () => {
  server.stubEnvironment();
  const dump = tempDir();
  const end = BASE + BigInt(PAGES * PAGE);
  const entries = [{ vaddr: BASE, pages: PAGES, flags: PE.PRESENT | PE.LAZY }];
  writeDump(dump, { tasks: [{ pid: 7, vmas: [{ start: BASE, end, ...ANON }], entries }] });
  await server.setFolder(BUCKET, 'dump/', dump);
  const files = await openRandom(`s3://${BUCKET}/dump/`);
  if (!files) throw new Error('the dump is open to random access');
  source = new DumpSource(files, new DumpMemory(files));
  await server.log();
});
afterEach(() => source.close());
afterAll(() => server.close());

const orderOf = (pages: readonly number[]): PageOrder =>
  PageOrder.of(
    pages.map((page) => [7, BASE + BigInt(page * PAGE)] as const),
    PAGE,
  );

/** Pages from the first one of the dump on. */
function pagesIn(order: PageOrder): number[] {
  const pages: number[] = [];
  for (let i = 0; i < order.length; i++) pages.push(order.at(i, 1).page - FIRST);
  return pages;
}

/** Position and bytes of each range that was asked for, in KiB. */
const ranges = async () =>
  (await server.log()).flatMap(({ url, range }) => {
    const [, from = '', last = ''] = (url.includes('pages-') && /^bytes=(\d+)-(\d+)$/.exec(range ?? '')) || [];
    return from === '' ? [] : [[Number(from) / KIB, (Number(last) + 1 - Number(from)) / KIB]];
  });

/** Resolves when the pages are here. */
async function come(page: number, pages: number): Promise<void> {
  while (source.ready(7, FIRST + page, pages) === 0) {
    await new Promise<void>((resolve) => {
      source.onChange = resolve;
    });
  }
}

const content = (page: number): Buffer => Buffer.from(pageContent('pagemap-7.img', BASE + BigInt(page * PAGE)));

describe('pages from far away', () => {
  it('come with those in small gaps between them, what is needed first before the others', () => {
    const far = source.far as FarPages;
    expect(pagesIn(far.gathered(orderOf([900, 500, 503, 501, 10, 10, 902])))).toEqual([
      900, 901, 902, 500, 501, 502, 503, 10,
    ]);
    // What the dump does not have is not asked for.
    expect(pagesIn(far.gathered(orderOf([PAGES - 1, PAGES, PAGES + 5])))).toEqual([PAGES - 1]);
  });

  it('come by requests that are under way at the same time, of a mebibyte at most', async () => {
    const far = source.far as FarPages;
    const order = far.gathered(orderOf([...Array.from({ length: 300 }, (_, i) => 700 + i), 100, 110, 400]));
    expect(order.length).toBe(300 + 11 + 1);
    far.prepare(order);
    expect(far.begin()).toBe(order.length);
    expect(far.begin()).toBe(0);
    await come(700, 300);
    await come(100, 11);
    await come(400, 1);
    expect(await ranges()).toEqual([
      [2800, 600],
      [3400, 600],
      [400, 44],
      [1600, 4],
    ]);
    const bytes = new Uint8Array(2 * PAGE);
    source.read(7, FIRST + 955, bytes);
    expect(Buffer.compare(bytes, Buffer.concat([content(955), content(956)]))).toBe(0);
    expect(await ranges()).toEqual([]);
  });

  it('are not waited for: a page is asked for, and read when it is here', async () => {
    expect(source.ready(7, FIRST + 600, 1, false)).toBe(0);
    expect(await ranges()).toEqual([]);
    expect(source.ready(7, FIRST + 600, 1)).toBe(0);
    await come(600, 1);
    expect(source.ready(7, FIRST + 600, 1)).toBe(1);
    expect(await ranges()).toEqual([[2400, 64]]);
    // Who goes on backwards finds larger blocks.
    for (const page of [595, 590, 580, 530]) {
      await come(page, 1);
      const bytes = new Uint8Array(PAGE);
      source.read(7, FIRST + page, bytes);
      expect(Buffer.compare(bytes, content(page))).toBe(0);
    }
    expect((await ranges()).length).toBeLessThanOrEqual(2);
  });

  it('are delivered also when their request fails: the read says why', async () => {
    await server.misbehave({ method: 'GET', url: /pages-/, how: 'status', status: 403, code: 'AccessDenied' });
    await come(20, 1);
    expect(() => source.read(7, FIRST + 20, new Uint8Array(PAGE))).toThrow(/access denied/);
    await server.misbehave();
  });
});
