/** The primitive: any page of any address space, against an oracle that goes page by page through the chain. */
import { mkdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { compressSync } from 'lz4-napi';
import { describe, expect, it } from 'vitest';
import { openAddressSpace } from '../../src/dump/pagemap.js';
import { DumpError } from '../../src/errors.js';
import { decodeLz4Block } from '../../src/image/lz4.js';
import { PagemapDecoder } from '../../src/image/pagemap.js';
import { AddressSpace, RunTable } from '../../src/memory/space.js';
import { directory } from '../helpers/dump-files.js';
import {
  ANON,
  compressed,
  GENERATIONS,
  image,
  Message,
  PE,
  pageContent,
  pagemapBlocks,
  readMemory,
  readPagemap,
  writeDump,
} from '../helpers/dump-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';

/** State of each page of a range, with its bytes. */
function readPages(space: AddressSpace, from: number, pages: number, pieceBytes?: number) {
  const found: { state: string; bytes?: Buffer }[] = [];
  let next = from;
  for (const piece of space.read(from, pages, pieceBytes)) {
    expect(piece.pageNumber).toBe(next);
    next += piece.pages;
    for (let i = 0; i < piece.pages; i++) {
      const bytes = piece.bytes && Buffer.from(piece.bytes.slice(i * 4096, (i + 1) * 4096));
      found.push({ state: piece.state, ...(bytes ? { bytes } : {}) });
    }
  }
  expect(next).toBe(from + pages);
  return found;
}

const FIRST = 256;
const PAGES = 24;

/** What each level of a chain says of each page: nothing, present, in the parent, or lazy. */
const chainOfPages = fc
  .record({
    levels: fc.array(
      fc.array(fc.constantFrom('', 'present', 'parent', 'lazy'), { minLength: PAGES, maxLength: PAGES }),
      {
        minLength: 1,
        maxLength: 4,
      },
    ),
    generation: fc.constantFrom(...GENERATIONS),
    pagesPerBlock: fc.constantFrom(undefined, 2, 4),
  })
  .map(({ levels, generation, pagesPerBlock }) => ({
    generation,
    ...(pagesPerBlock && generation === '4.3' ? { pagesPerBlock } : {}),
    // The first dump has no parent; CRIU 2 knew no lazy pages.
    levels: levels.map((pages, level) =>
      pages.map((state) =>
        (state === 'parent' && level === 0) || (state === 'lazy' && generation === '2.x') ? 'present' : state,
      ),
    ),
  }));

const FLAGS = { present: PE.PRESENT, parent: PE.PARENT, lazy: PE.LAZY } as const;

function entriesOf(pages: string[]) {
  const entries: { vaddr: bigint; pages: number; flags: number; state: string }[] = [];
  pages.forEach((state, i) => {
    const last = entries.at(-1);
    const vaddr = BigInt(FIRST + i) * 4096n;
    if (state === '') return;
    if (last && last.state === state && last.vaddr + BigInt(last.pages) * 4096n === vaddr) last.pages++;
    else entries.push({ vaddr, pages: 1, flags: FLAGS[state as keyof typeof FLAGS], state });
  });
  return entries;
}

describe('an address space', () => {
  it('gives every page of every range, through the chain of parents', () => {
    fc.assert(
      fc.property(
        chainOfPages,
        fc.integer({ min: 0, max: PAGES }),
        fc.integer({ min: 1, max: PAGES }),
        fc.constantFrom(4096, 8192, 1 << 20),
        ({ levels, ...form }, from, pages, pieceBytes) => {
          const dir = tempDirOnce();
          levels.forEach((states, level) => {
            const vmas = [{ start: 0n, end: 1n << 40n, ...ANON }];
            // The same page differs from level to level.
            const content = (pagemap: string, address: bigint) => pageContent(`${level}/${pagemap}`, address);
            const tasks = [{ pid: 5, vmas, entries: entriesOf(states) }];
            writeDump(join(dir, String(level)), { tasks, content, ...form });
            if (level > 0) symlinkSync(`../${level - 1}`, join(dir, String(level), 'parent'));
          });
          const memory = levels.map((_, level) => readMemory(join(dir, String(level))).get('pagemap-5.img'));
          const space = openAddressSpace(directory(join(dir, String(levels.length - 1))), 'pagemap-5.img', 4096);
          const expected = Array.from({ length: pages }, (_, i) => {
            let level = levels.length - 1;
            const at = (l: number) => levels[l]?.[from + i] ?? '';
            while (at(level) === 'parent') level--;
            if (at(level) !== 'present') return { state: at(level) === 'lazy' ? 'lazy' : 'absent' };
            const bytes = memory[level]?.get(BigInt(FIRST + from + i) * 4096n) as Uint8Array;
            return { state: 'stored', bytes: Buffer.from(bytes) };
          });
          expect(readPages(space, FIRST + from, pages, pieceBytes)).toEqual(expected);
          const states = levels.at(-1)?.slice(from, from + pages) as string[];
          const isPresent = states.length === pages && states.every((state) => state === 'present');
          const position = space.positionOf(FIRST + from, pages);
          // Pages that do not compress may be stored plain in a dump of compressed ones.
          if (form.generation !== '4.3' || !isPresent) expect(position >= 0).toBe(isPresent);
          if (position < 0) return;
          const bytes = Buffer.alloc(pages * 4096);
          space.file.read(bytes, position);
          expect(bytes.equals(Buffer.concat(expected.map(({ bytes }) => bytes as Buffer)))).toBe(true);
        },
      ),
      { numRuns: 60 },
    );
  });

  it.each(['mprotect00', 'socket_queues'])('finds the pages of the real chain %s in its parents', (name) => {
    const dumps = [1, 2, 3].map((level) => fixture(`chain/${name}/${level}`));
    const [pagemap] = [...readMemory(dumps[0] as string).keys()].filter((file) => !file.includes('shmem')) as [string];
    const memory = dumps.map((dump) => readMemory(dump).get(pagemap));
    const space = openAddressSpace(directory(dumps[2] as string), pagemap, 4096);
    let parentPages = 0;
    for (const { vaddr, pages, flags } of readPagemap(join(dumps[2] as string, pagemap)).entries) {
      const found = readPages(space, Number(vaddr / 4096n), pages);
      for (let i = 0; i < pages; i++) {
        const address = vaddr + BigInt(i * 4096);
        const newest = [2, 1, 0].find((level) => memory[level]?.has(address)) as number;
        expect(found[i]?.bytes?.equals(memory[newest]?.get(address) as Uint8Array)).toBe(true);
        if (flags & PE.PARENT) {
          parentPages++;
          expect(newest).toBeLessThan(2);
        }
      }
    }
    expect(parentPages).toBeGreaterThan(0);
  });

  it('decodes LZ4 blocks of one page and of a region, raw ones, zeros, and a short last one', () => {
    for (const pagesPerBlock of [1, 4]) {
      const pages = 10;
      const plain = Buffer.concat(
        Array.from({ length: pages }, (_, i) =>
          i % 3 === 0 ? Buffer.alloc(4096, `text ${i} `) : Buffer.from(pageContent('x', BigInt(i))),
        ),
      );
      const { stored, sizes } = compressed(plain, pagesPerBlock);
      expect(sizes.some((size) => size > 0 && size < pagesPerBlock * 4096)).toBe(true);
      const space = spaceOf(oneEntry(pages, pagemapBlocks(sizes, pagesPerBlock)), Buffer.concat(stored));
      for (let from = 0; from < pages; from++) {
        for (let count = 1; count <= pages - from; count++) {
          const found = Buffer.concat(readPages(space, 16 + from, count, 3 * 4096).map(({ bytes }) => bytes as Buffer));
          expect(found.equals(plain.subarray(from * 4096, (from + count) * 4096))).toBe(true);
        }
      }
    }
  });

  it.each([
    ['damaged', Buffer.from('12345'), 1],
    ['of more than its pages', compressSync(Buffer.alloc(64 * 4096)).subarray(4), 1],
    ['of less than its pages', compressSync(Buffer.alloc(4096, 'text')).subarray(4), 2],
    ['cut', compressSync(Buffer.alloc(4096, 'some text that takes several matches, and more')).subarray(4, -3), 1],
  ])('says where a block is that is %s', (_, block, pages) => {
    const space = spaceOf(oneEntry(pages, pagemapBlocks([block.length], pages)), block);
    expect(() => readPages(space, 16, 1)).toThrow(
      new RegExp(`^pages@0x0: this is no LZ4 block of ${pages * 4096} bytes: `),
    );
  });

  it('refuses pages of a parent that does not have them', () => {
    const dir = tempDir();
    const vmas = [{ start: 0n, end: 1n << 40n, ...ANON }];
    writeDump(join(dir, 'a'), { tasks: [{ pid: 6, vmas, entries: [] }] });
    writeDump(join(dir, 'b'), { tasks: [{ pid: 5, vmas, entries: [{ vaddr: 4096n, pages: 1, flags: PE.PARENT }] }] });
    symlinkSync('../a', join(dir, 'b', 'parent'));
    const space = openAddressSpace(directory(join(dir, 'b')), 'pagemap-5.img', 4096);
    expect(() => readPages(space, 1, 1)).toThrow(DumpError);
  });
});

/** A pagemap of one entry, from page 16 on. */
const oneEntry = (pages: number, blocks: Message): Uint8Array =>
  image('PAGEMAP', [
    new Message().int(1, 1),
    new Message().int(1, 0x10000).int(2, 0).int(4, PE.PRESENT).int(5, pages).field(6, blocks),
  ]);

/** A space over bytes in memory. */
function spaceOf(pagemap: Uint8Array, pages: Buffer): AddressSpace {
  const decoder = new PagemapDecoder(4096, 'pagemap-1.img');
  const runs = decoder.push(pagemap);
  decoder.end();
  const table = new RunTable(4096);
  if (runs) table.add(runs);
  const file = {
    name: 'pages',
    size: pages.length,
    read: (buffer: Uint8Array, position: number) => {
      expect(position + buffer.length).toBeLessThanOrEqual(pages.length);
      buffer.set(pages.subarray(position, position + buffer.length));
    },
  };
  return new AddressSpace(table.finish(), file, { name: 'pagemap-1.img', pageSize: 4096, decodeBlock: decodeLz4Block });
}

/** A fresh directory for each run of a property, removed with the test. */
let runs = 0;
let root = '';
function tempDirOnce(): string {
  root ||= tempDir();
  const path = join(root, String(runs++));
  mkdirSync(path, { recursive: true });
  return path;
}
