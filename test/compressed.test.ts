/** Dumps with compressed pages, of CRIU 4.3: through every command and container they stay what they were. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { cli } from './helpers/cli.js';
import { ANON, diffMemory, FILE, PE, readMemory, readPagemap, writeDump } from './helpers/dump-writer.js';
import { openMemory } from './helpers/serving.js';
import { describeTree, fixture, tempDir } from './helpers/temp.js';

const RAW = fixture('compressed-criu-4.3/raw');

/** Entries of one page that are LZ4 and raw by turns: what is raw comes after padding. */
function writeGaps(dump: string): void {
  const entries = Array.from({ length: 24 }, (_, i) => ({
    vaddr: 0x10000n + BigInt(i) * 0x8000n + BigInt(i % 4) * 0x1000n,
    pages: 1 + (i % 3),
    flags: PE.PRESENT | (i % 5 ? PE.LAZY : 0),
    zeroPages: i % 4 === 3 ? [0] : [],
  }));
  writeDump(dump, {
    tasks: [
      {
        pid: 7,
        vmas: [
          { start: 0x10000n, end: 0x70000n, ...ANON },
          { start: 0x70000n, end: 0x200000n, ...FILE },
        ],
        entries,
      },
    ],
    shmem: [{ id: 9, entries: [{ vaddr: 0n, pages: 6 }] }],
    generation: '4.3',
  });
}

/** Padding in a pages file: how many of its entries do not begin where the one before ends. */
function gaps(dump: string, pagemap: string): number {
  let end = 0;
  let count = 0;
  for (const { flags, isAligned, pages, storedBytes } of readPagemap(join(dump, pagemap)).entries) {
    if (!(flags & PE.PRESENT)) continue;
    const start = isAligned ? Math.ceil(end / 4096) * 4096 : end;
    if (start !== end) count++;
    end = start + (storedBytes ?? pages * 4096);
  }
  return count;
}

const DUMPS = ['page', 'region64k-aligned', 'region256k', 'with padding'] as const;

describe.each(DUMPS)('a compressed dump: %s', (name) => {
  let root: string;
  let dump: string;
  const run = async (...args: string[]) => {
    const { code, stderr } = await cli(args);
    expect(code, stderr).toBe(0);
  };

  /** The dump with padding has not all that processes need, but its memory is as it must be. */
  const expectSound = async (source: string, ...options: string[]) => {
    const { stdout } = await cli(['verify', source, ...options, '--json']);
    const findings = stdout.split('\n').filter((line) => /"error".*"(pagemap|pages)-/.test(line));
    expect(findings).toEqual([]);
  };

  beforeEach(() => {
    root = tempDir();
    dump = join(root, 'dump');
    if (name === 'with padding') {
      writeGaps(dump);
      expect(gaps(dump, 'pagemap-7.img')).toBeGreaterThan(3);
    } else {
      dump = fixture(`compressed-criu-4.3/${name}`);
    }
  });

  it('has the memory that it had before', () => {
    const plain = readMemory(name === 'with padding' ? dump : RAW);
    expect(diffMemory(readMemory(dump), plain)).toEqual([]);
    const memory = openMemory(dump);
    for (const pid of memory.pids) {
      for (const [address, bytes] of plain.get(`pagemap-${pid}.img`) ?? []) {
        const [span] = memory.space(pid)?.read(Number(address / 4096n), 1) ?? [];
        expect(Buffer.compare(span?.bytes ?? new Uint8Array(0), bytes), `0x${address.toString(16)}`).toBe(0);
      }
    }
  });

  it('is the same after every container', async () => {
    // What compresses an archive does not know what is in it.
    const archives = name === 'with padding' ? ['dump.tar', 'dump.tar.gz', 'dump.tar.zst'] : ['dump.tar'];
    const sources = archives.map((file) => join(root, file));
    const shards = ['a', 'b'].map((file) => join(root, file)).join(',');
    for (const file of sources) await run('copy', dump, file);
    await run('copy', dump, shards, '--to', 'shards');
    for (const [i, source] of [...sources, shards].entries()) {
      const from = source === shards ? ['--from', 'shards'] : [];
      await run('copy', source, join(root, `out${i}`), ...from);
      expect(content(join(root, `out${i}`))).toEqual(content(dump));
      await expectSound(source, ...from);
    }
    const stream = join(root, 'stream');
    expect((await cli(['read', dump], { stdout: stream })).code).toBe(0);
    expect((await cli(['write', join(root, 'written')], { stdin: stream })).code).toBe(0);
    expect(content(join(root, 'written'))).toEqual(content(dump));
  });

  it('is the same after split and merge, and what is in neither half is nowhere', async () => {
    const [hot, cold, merged] = ['hot', 'cold', 'merged'].map((file) => join(root, file)) as [string, string, string];
    await run('split', dump, hot, cold);
    await run('merge', hot, cold, merged);
    expect(describeTree(merged)).toEqual(describeTree(dump));
    const whole = readMemory(dump);
    const halves = [readMemory(hot), readMemory(cold)] as const;
    for (const [pagemap, pages] of whole) {
      for (const [address, bytes] of pages) {
        const found = halves.map((half) => half.get(pagemap)?.get(address)).filter((page) => page !== undefined);
        expect(found.map((page) => Buffer.from(page as Uint8Array).equals(bytes))).toEqual([true]);
      }
    }
  });

  it('is made lazy as a plain one is: what stays has its bytes, and is verified', async () => {
    const small = join(root, 'small');
    const { stdout } = await cli(['make-lazy', dump, small, '--dry-run', '--json']);
    await run('make-lazy', dump, small);
    const sizes = readdirSync(small).map((file) => statSync(join(small, file)).size);
    expect(JSON.parse(stdout).bytesAfter).toBe(sizes.reduce((sum, bytes) => sum + bytes, 0));
    await expectSound(small);
    const whole = readMemory(dump);
    const kept = readMemory(small);
    let taken = 0;
    for (const [pagemap, pages] of whole) {
      for (const [address, bytes] of pages) {
        const page = kept.get(pagemap)?.get(address);
        if (page) expect(Buffer.from(page).equals(bytes)).toBe(true);
        else taken++;
      }
    }
    expect(taken).toBeGreaterThan(10);
    expect(taken).toBeLessThan([...whole.values()].reduce((sum, pages) => sum + pages.size, 0));
  });
});

/** Files of a dump, with their bytes. */
const content = (dump: string): [string, string][] =>
  readdirSync(dump)
    .sort()
    .map((file) => [file, readFileSync(join(dump, file)).toString('base64')]);
