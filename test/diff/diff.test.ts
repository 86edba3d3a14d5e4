/** `pagepipe diff`: fields, areas, pages and shared memory of two dumps. */
import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { beforeEach, describe, expect, it } from 'vitest';
import { changedImages } from '../../src/diff/images.js';
import { changedFields } from '../../src/diff/values.js';
import { type AreaSpec, image, mm } from '../explore/images.js';
import { cli } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { type EntrySpec, pageContent, STATUS, writeDump } from '../helpers/dump-writer.js';
import { expectFits, jsonLines } from '../helpers/json-schema.js';
import { fixture, tempDir } from '../helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');

let dir: string;
beforeEach(() => {
  dir = tempDir();
});
const at = (name: string): string => join(dir, name);

async function diff(a: string, b: string, ...options: string[]) {
  const stdout = at('stdout');
  const { code, stderr } = await cli(['diff', a, b, ...options], { stdout });
  return { code, stderr, lines: readFileSync(stdout, 'utf8').split('\n').slice(0, -1) };
}

/** A dump of process 7 with these areas and entries; each page has its content and then what `changes` says. */
function dumpOf(
  name: string,
  areas: AreaSpec[],
  entries: EntrySpec[],
  changes: Record<number, number[]> = {},
  shmem: { id: number; entries: EntrySpec[] }[] = [],
): string {
  const content: typeof pageContent = (pagemap, address, pageSize) => {
    const page = Uint8Array.from(pageContent(pagemap, address, pageSize));
    for (const i of changes[Number(address)] ?? []) page[i] = 255 - (page[i] as number);
    return page;
  };
  writeDump(at(name), { tasks: [{ pid: 7, entries }], shmem, content });
  writeFileSync(join(at(name), 'mm-7.img'), image('MM', [mm(1, areas)]));
  return at(name);
}

describe('diff', () => {
  it('says nothing of equal dumps, whatever they are in', async () => {
    const archive = at('family.tar.zst');
    await cli(['copy', FAMILY, archive]);
    expect(await diff(FAMILY, archive)).toEqual({ code: 0, stderr: '', lines: [] });
  });

  it('says which fields of which entries differ', async () => {
    cpSync(FAMILY, at('b'), { recursive: true });
    await cli(['edit', join(at('b'), 'core-15.img'), '--set', 'entries[0].tc.comm=a\x1bb']);
    await cli(['edit', join(at('b'), 'files.img'), '--set', 'entries[3].reg.pos=77']);
    rmSync(join(at('b'), 'seccomp.img'), { force: true });
    const { code, lines, stderr } = await diff(FAMILY, at('b'), '--images');
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(lines).toEqual([
      'core-15.img 0: tc.comm: "mosaic" -> "a\\u001bb"',
      'files.img REG id 4: reg.pos: 9 -> 77',
      'seccomp.img: only in A',
    ]);
    for (const change of jsonLines((await diff(FAMILY, at('b'), '--json')).lines.join('\n'))) {
      expectFits('diff', change);
    }
  });

  it('says which entries, images and processes are only in one', async () => {
    const area = { start: 0x10000n, end: 0x12000n };
    dumpOf('a', [area], []);
    writeDump(at('b'), { tasks: [{ pid: 7 }, { pid: 8, comm: 'new' }] });
    writeFileSync(join(at('b'), 'mm-7.img'), image('MM', [mm(1, [area])]));
    const { lines } = await diff(at('a'), at('b'));
    expect(lines[0]).toBe('process 8: only in B');
    expect(lines).toContain('core-8.img: only in B');
    expect(lines).toContain('pstree.img pid 8: only in B');
    expect((await diff(at('b'), at('a'))).lines[0]).toBe('process 8: only in A');
  });

  it('says which areas came, went, grew or changed their protection', async () => {
    const same = { start: 0x10000n, end: 0x12000n };
    const a = dumpOf(
      'a',
      [
        same,
        { start: 0x20000n, end: 0x22000n },
        { start: 0x30000n, end: 0x32000n },
        { start: 0x50000n, end: 0x51000n },
      ],
      [],
    );
    const b = dumpOf(
      'b',
      [
        same,
        { start: 0x20000n, end: 0x24000n },
        { start: 0x2f000n, end: 0x32000n, prot: 5 },
        { start: 0x40000n, end: 0x41000n },
      ],
      [],
    );
    expect((await diff(a, b, '--memory')).lines).toEqual([
      '7 0x20000-0x22000 anon rw- -> 0x20000-0x24000 anon rw-',
      '7 0x30000-0x32000 anon rw- -> 0x2f000-0x32000 anon r-x',
      '7 0x40000-0x41000 anon: only in B',
      '7 0x50000-0x51000 anon: only in A',
    ]);
    for (const change of jsonLines((await diff(a, b, '--json')).lines.join('\n'))) expectFits('diff', change);
    expect((await diff(a, b, '--images')).lines).toEqual([]);
  });

  it('counts pages and bytes that differ, by area and by kind', async () => {
    const areas = [
      { start: 0x10000n, end: 0x18000n },
      { start: 0x20000n, end: 0x22000n, status: 0x201 | (1 << 5) },
    ];
    const whole = [
      { vaddr: 0x10000n, pages: 4 },
      { vaddr: 0x20000n, pages: 1 },
    ];
    const cut = [
      { vaddr: 0x10000n, pages: 1 },
      { vaddr: 0x11000n, pages: 2 },
      { vaddr: 0x13000n, pages: 1, flags: 2 },
      { vaddr: 0x20000n, pages: 1 },
    ];
    const a = dumpOf('a', areas, whole);
    const b = dumpOf('b', areas, cut, { 65536: [1, 2, 4095], 73728: [0], 131072: [7] });
    const lines = [
      '7 0x10000-0x18000 anon: 2 of 3 pages changed, 4 bytes; 1 page only in A',
      '7 0x20000-0x22000 heap: 1 of 1 page changed, 1 byte',
      '7 all anon: 2 of 3 pages changed, 4 bytes; 1 page only in A',
      '7 all heap: 1 of 1 page changed, 1 byte',
    ];
    expect(await diff(a, b, '--memory')).toEqual({ code: 1, stderr: '', lines });
    const changes = jsonLines((await diff(a, b, '--memory', '--json')).lines.join('\n'));
    for (const change of changes) expectFits('diff', change);
    expect(changes[0]).toMatchObject({ change: 'pages', compared: 3, changed: 2, changedBytes: 4, onlyA: 1, onlyB: 0 });
  });

  it('takes pages that are not stored for the zeros that they are', async () => {
    const areas = [{ start: 0x10000n, end: 0x12000n }];
    const zeros = dumpOf('a', areas, [{ vaddr: 0x10000n, pages: 1, zeroPages: [0] }]);
    const none = dumpOf('b', areas, []);
    expect(await diff(zeros, none, '--memory')).toEqual({ code: 0, stderr: '', lines: [] });
  });

  it('compares shared memory once', async () => {
    const shared = { flags: 1, status: STATUS.REGULAR | STATUS.ANON_SHARED, shmid: 44n };
    const areas = [
      { start: 0x10000n, end: 0x12000n, ...shared },
      { start: 0x20000n, end: 0x22000n, ...shared },
    ];
    const segment = (pages: number) => [{ id: 44, entries: [{ vaddr: 0n, pages }] }];
    const a = dumpOf('a', areas, [], {}, segment(2));
    const b = dumpOf('b', areas, [], { 4096: [9] }, [...segment(2), { id: 45, entries: [{ vaddr: 0n, pages: 1 }] }]);
    expect((await diff(a, b, '--memory')).lines).toEqual([
      'shmem 44: 1 of 2 pages changed, 1 byte',
      'shmem 45: only in B',
    ]);
  });

  it('fails with a message if a dump cannot be read, and refuses a wrong command line', async () => {
    expect(await diff(FAMILY, at('none'))).toMatchObject({
      code: 1,
      lines: [],
      stderr: expect.stringMatching(/^pagepipe: error: /),
    });
    expect((await cli(['diff', FAMILY])).code).toBe(2);
    const { code, stderr } = await cli(['diff', '-', '-']);
    expect([code, stderr.split('\n')[0]]).toEqual([2, 'pagepipe: only one dump can come from stdin']);
  });

  it('pauses while it compares a large image', () => {
    for (const name of ['a', 'b']) {
      dumpOf(name, [], []);
      writeFileSync(join(at(name), 'ghost-file-1.img'), Buffer.alloc(4 * 2 ** 20));
    }
    const steps = [...changedImages(directory(at('a')), directory(at('b')))];
    expect(steps.length).toBeGreaterThan(16);
    expect(steps.every((step) => step === undefined)).toBe(true);
  });
});

describe('fields', () => {
  it('are the same in equal values, and lead from one value to the other', () => {
    const values = fc.object({
      maxDepth: 3,
      key: fc.constantFrom('a', 'b', 'c'),
      values: [fc.integer(), fc.bigInt(), fc.string(), fc.uint8Array()],
    });
    fc.assert(
      fc.property(values, values, (a, b) => {
        expect([...changedFields(a, structuredClone(a))]).toEqual([]);
        const changes = [...changedFields(a, b)];
        expect(new Set(changes.map(({ path }) => path)).size).toBe(changes.length);
        expect([...changedFields(b, a)].map(({ path, a: from, b: to }) => [path, to, from]).sort()).toEqual(
          changes.map(({ path, a: from, b: to }) => [path, from, to]).sort(),
        );
      }),
      { numRuns: 50 },
    );
  });
});
