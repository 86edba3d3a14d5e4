/** template and untemplate: the same memory again, page for page, and all other images byte for byte. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { cli, type InProcessOptions } from '../helpers/cli.js';
import { type DumpSpec, PE, pageContent, readMemory, writeDump } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { anyDump } from '../helpers/random-dumps.js';
import { copyFixture, describeTree, FIXTURES, fixture, openFiles, tempDir } from '../helpers/temp.js';

const ALL = ['--min-size', '0', '--allow-dontneed', 'all'];
const COMPRESSED = readdirSync(fixture('compressed-criu-4.3')).map((name) => `compressed-criu-4.3/${name}`);
const TIB = 2 ** 40;

async function run(words: readonly string[], options: InProcessOptions = {}): Promise<void> {
  const outcome = await cli(words, options);
  expect(outcome.code, outcome.stderr).toBe(0);
}

const isMemory = (name: string): boolean => /^(pagemap|pages)-/.test(name) || name === 'parent';

/** All files but those that hold memory. */
const otherFiles = (dump: string) =>
  Object.fromEntries(
    readdirSync(dump)
      .filter((name) => !isMemory(name) && statSync(join(dump, name)).isFile())
      .map((name) => [name, readFileSync(join(dump, name)).toString('hex')]),
  );

/** All pages that are not zeros, as their sums. */
function memoryOf(...chain: string[]) {
  const spaces = new Map<string, Record<string, string>>();
  for (const [pagemap, pages] of chain.flatMap((dump) => [...readMemory(dump)])) {
    const sums = spaces.get(pagemap) ?? {};
    for (const [address, bytes] of pages) {
      if (bytes.some((byte) => byte !== 0)) sums[address.toString(16)] = createHash('md5').update(bytes).digest('hex');
    }
    spaces.set(pagemap, sums);
  }
  return Object.fromEntries(spaces);
}

const CHAINS = FIXTURES.filter((name) => name.startsWith('chain/'));

describe.each([...FIXTURES.filter((name) => !name.startsWith('chain/')), ...COMPRESSED])('%s', (name) => {
  it('is the same dump again', async () => {
    const dump = copyFixture(name, tempDir());
    const [out, full] = [join(dump, '..', 'out'), join(dump, '..', 'full')];
    const before = describeTree(dump);
    await run(['template', dump, out, ...ALL]);
    await run(['untemplate', out, full]);
    expect(memoryOf(full)).toEqual(memoryOf(dump));
    expect(otherFiles(full)).toEqual(otherFiles(dump));
    expect(describeTree(dump)).toEqual(before);
    expect(openFiles(join(dump, '..'))).toEqual([]);
  });
});

describe.each(CHAINS)('%s', (name) => {
  it('has the pages of the dumps that it builds on', async () => {
    const dump = copyFixture(name, tempDir());
    const [out, full] = [join(dump, '..', 'out'), join(dump, '..', 'full')];
    await run(['template', dump, out, ...ALL]);
    await run(['untemplate', out, full]);
    const [pagemap] = Object.keys(memoryOf(dump)).filter((space) => /^pagemap-\d/.test(space)) as [string];
    const chain = memoryOf(join(dump, '../1'), join(dump, '../2'), dump)[pagemap];
    const pages = memoryOf(full)[pagemap] ?? {};
    // A page that is in a dump of the chain may have been unmapped since.
    expect(chain).toMatchObject(pages);
    expect(pages).toMatchObject(memoryOf(dump)[pagemap] ?? {});
    expect(Object.keys(pages).length).toBeGreaterThan(20);
    expect(readdirSync(full)).not.toContain('parent');
    expect(otherFiles(full)).toEqual(otherFiles(dump));
  });
});

/** Pages that are the same in all tasks, but every fifth. */
const family: typeof pageContent = (pagemap, address, pageSize) =>
  pageContent((address / 4096n) % 5n === 0n ? pagemap : 'all', address, pageSize);

describe('any dump', () => {
  it('is the same again, through a directory and through a pipe', async () => {
    const whole = anyDump.filter(({ tasks }) =>
      tasks.every(({ entries = [] }) => entries.every(({ flags = 0 }) => (flags & PE.PRESENT) !== 0)),
    );
    await fc.assert(
      fc.asyncProperty(whole, fc.boolean(), async (spec, isFamily) => {
        const directory = tempDir();
        const [dump, out, full, stream, templated, memory, piped, fullPiped] = [
          ...['dump', 'out', 'full', 'stream', 'templated', 'memory', 'piped', 'full-piped'],
        ].map((name) => join(directory, name)) as [string, string, string, string, string, string, string, string];
        writeDump(dump, isFamily ? { ...spec, content: family } : spec);
        await run(['template', dump, out, ...ALL]);
        await run(['untemplate', out, full]);
        expect(memoryOf(full)).toEqual(memoryOf(dump));
        expect(otherFiles(full)).toEqual(otherFiles(dump));
        await run(['read', dump], { stdout: stream });
        await run(['template', '--memory', memory, ...ALL], { stdin: stream, stdout: templated });
        await run(['write', piped], { stdin: templated });
        await run(['untemplate', piped, fullPiped]);
        expect(describeTree(fullPiped)).toEqual(describeTree(full));
      }),
      { numRuns: 60 },
    );
  });
});

/** Two relatives with an area of 32 pages: the second one has written three of them, and has no memory for one. */
const RELATIVES: DumpSpec = {
  tasks: [7, 8].map((pid) => ({
    pid,
    vmas: [{ start: 0x100000n, end: 0x120000n, flags: 0x22, status: 0x201 }],
    entries:
      pid === 7
        ? [{ vaddr: 0x100000n, pages: 32 }]
        : [
            { vaddr: 0x100000n, pages: 20 },
            { vaddr: 0x115000n, pages: 11 },
          ],
  })),
  content: (pagemap, address, pageSize) =>
    pageContent([0x103000n, 0x104000n, 0x11f000n].includes(address) ? pagemap : 'all', address, pageSize),
};

describe('relatives', () => {
  it('share a file, and only what differs is in the dump', async () => {
    const directory = tempDir();
    const [dump, out] = [join(directory, 'dump'), join(directory, 'out')];
    writeDump(dump, RELATIVES);
    await run(['template', dump, out, ...ALL]);
    expect(readdirSync(join(out, 'memory')).sort()).toEqual(['7-100000.pagepipe-memory', 'README', 'template.json']);
    const addresses = [...(readMemory(out).get('pagemap-8.img')?.keys() ?? [])].map((address) => address.toString(16));
    expect(addresses).toEqual(['103000', '104000', '114000', '11f000']);
    expect(readMemory(out).get('pagemap-8.img')?.get(0x114000n)).toEqual(Buffer.alloc(4096));
    expect([...(readMemory(out).get('pagemap-7.img')?.keys() ?? [])]).toEqual([]);
  });

  it('that have nothing in common have files of their own', async () => {
    const directory = tempDir();
    const [dump, out] = [join(directory, 'dump'), join(directory, 'out')];
    writeDump(dump, { ...RELATIVES, content: pageContent });
    await run(['template', dump, out, ...ALL]);
    expect(readdirSync(join(out, 'memory')).sort()).toEqual([
      '7-100000.pagepipe-memory',
      '8-100000.pagepipe-memory',
      'README',
      'template.json',
    ]);
  });
});

describe('the mapped files', () => {
  it('have the pages at their places, a hole behind them, and are for their owner to read', async () => {
    const dump = copyFixture('mosaic-criu-4.2.1', tempDir());
    const out = join(dump, '..', 'out');
    await run(['template', dump, out, ...ALL]);
    const memory = readMemory(dump).get('pagemap-15.img');
    for (const name of readdirSync(join(out, 'memory')).filter((file) => file.endsWith('.pagepipe-memory'))) {
      const path = join(out, 'memory', name);
      const stats = statSync(path);
      const start = BigInt(`0x${name.slice('15-'.length, name.indexOf('.'))}`);
      expect(stats.mode & 0o777).toBe(0o400);
      expect(stats.size).toBeGreaterThan(TIB);
      expect(stats.blocks * 512).toBeLessThan(2 ** 20);
      const area = readStart(path, stats.size - TIB);
      for (let at = 0; at < area.length; at += 4096) {
        const page = memory?.get(start + BigInt(at)) ?? new Uint8Array(4096);
        expect(Buffer.compare(area.subarray(at, at + 4096), page), `${name} at ${at}`).toBe(0);
      }
    }
  });

  it('are no part of a copy, which maps them as well', async () => {
    const dump = copyFixture('mosaic-criu-4.2.1', tempDir());
    const [out, copy] = [join(dump, '..', 'out'), join(dump, '..', 'copy')];
    await run(['template', dump, out, ...ALL]);
    const { stderr } = await cli(['copy', out, copy]);
    expect(stderr).toBe(
      `pagepipe: note: ${out} maps files of its folder memory, and so will what is made of it; see pagepipe untemplate\n`,
    );
    expect(readdirSync(copy)).not.toContain('memory');
    const full = join(dump, '..', 'full');
    await run(['untemplate', copy, full]);
    expect(memoryOf(full)).toEqual(memoryOf(dump));
  });

  it('that were changed, or are gone, are refused', async () => {
    const dump = copyFixture('mosaic-criu-4.2.1', tempDir());
    const [out, full] = [join(dump, '..', 'out'), join(dump, '..', 'full')];
    await run(['template', dump, out, ...ALL]);
    const [name] = readdirSync(join(out, 'memory')) as [string];
    const path = join(out, 'memory', name);
    utimesSync(path, 1, 1);
    expectError(await cli(['untemplate', out, full]), `${path}: it has been written since the template was made`);
    rmSync(path);
    expectError(
      await cli(['untemplate', out, full]),
      `${path}: expected this file, which areas of the dump map, found none`,
    );
    expect(existsSync(full)).toBe(false);
  });
});

function readStart(path: string, bytes: number): Buffer {
  const fd = openSync(path, 'r');
  try {
    const buffer = Buffer.alloc(bytes);
    readSync(fd, buffer, 0, bytes, 0);
    return buffer;
  } finally {
    closeSync(fd);
  }
}
