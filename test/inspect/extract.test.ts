/** Memory of a process as bytes, as a file with holes and a map, and as a hexdump. */
import { spawnSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync, statSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { buffer } from 'node:stream/consumers';
import { beforeEach, describe, expect, it } from 'vitest';
import { Hexdump } from '../../src/inspect/hexdump.js';
import { extractMemory } from '../../src/library/extract.js';
import { cli } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { ANON, FILE, PE, pageContent, readMemory, writeDump } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { expectFits } from '../helpers/json-schema.js';
import { fixture, tempDir } from '../helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');

let dir: string;
let dump: string;
beforeEach(() => {
  dir = tempDir();
  dump = at('dump');
});

const at = (name: string) => join(dir, name);

const page = (address: bigint): Buffer => Buffer.from(pageContent('pagemap-7.img', address));
const zeros = (pages: number): Buffer => Buffer.alloc(pages * 4096);

/** Stored 10-11, zeros 11-12, lazy 12-13, stored 13-14; a file 20-22 with one page of its own. */
function small(): void {
  writeDump(dump, {
    tasks: [
      {
        pid: 7,
        vmas: [
          { start: 0x10000n, end: 0x14000n, ...ANON },
          { start: 0x20000n, end: 0x22000n, ...FILE },
        ],
        entries: [
          { vaddr: 0x10000n, pages: 1 },
          { vaddr: 0x12000n, pages: 1, flags: PE.LAZY },
          { vaddr: 0x13000n, pages: 1 },
          { vaddr: 0x21000n, pages: 1 },
        ],
      },
      { pid: 8, dead: true },
    ],
  });
}

async function extract(...words: string[]): Promise<{ bytes: Buffer; stderr: string }> {
  const stdout = at('stdout');
  const { code, stderr } = await cli(['extract', dump, '--pid', '7', ...words], { stdout });
  expect(code, stderr).toBe(0);
  return { bytes: readFileSync(stdout), stderr };
}

describe('extract', () => {
  it('gives ranges at any byte, in ascending order', async () => {
    small();
    const { bytes, stderr } = await extract(
      '--range',
      '0x13ffe-0x14000',
      '--range',
      '0x10ffc+8',
      '--range',
      '69632-69640',
    );
    expect(bytes).toEqual(Buffer.concat([page(0x10000n).subarray(-4), Buffer.alloc(8), page(0x13000n).subarray(-2)]));
    expect(stderr).toBe('');
  });

  it('gives areas by kind, by name and by an address in them', async () => {
    small();
    const all = Buffer.concat([page(0x10000n), zeros(2), page(0x13000n)]);
    expect((await extract('--kind', 'anon')).bytes).toEqual(all);
    expect((await extract('--area', '[anon]')).bytes).toEqual(all);
    expect((await extract('--area', '0x12345')).bytes).toEqual(all);
    const file = await extract('--kind', 'file-private');
    expect(file.bytes).toEqual(Buffer.concat([zeros(1), page(0x21000n)]));
    expect(file.stderr).toBe(
      'pagepipe: warning: what is not in the dump became zeros: 4 KiB in mapped files; --skip-gaps leaves it out, --map says where it is\n',
    );
    expect((await extract('--all')).bytes).toEqual(Buffer.concat([all, file.bytes]));
    const { code } = await cli(['extract', FAMILY, '--pid', '15', '--area', 'mosaic', '-o', at('program')]);
    expect(code).toBe(0);
    const own = readMemory(FAMILY).get('pagemap-15.img')?.get(0x401000n);
    expect(readFileSync(at('program')).subarray(4096, 8192)).toEqual(Buffer.from(own as Uint8Array));
  });

  it('writes a file with holes, that only its owner can read', async () => {
    writeDump(dump, {
      tasks: [
        {
          pid: 7,
          vmas: [{ start: 0x10000000n, end: 0x30000000n, ...ANON }],
          entries: [{ vaddr: 0x18000000n, pages: 2 }],
        },
      ],
    });
    const { stderr } = await extract('--all', '-o', at('out'));
    expect(stderr).toBe('');
    const { size, blocks, mode } = statSync(at('out'));
    expect([size, mode & 0o777]).toEqual([0x20000000, 0o600]);
    expect(blocks * 512).toBeLessThan(64 * 1024);
    const written = await extract('--range', '0x18000000-0x18003000');
    expect(written.bytes).toEqual(Buffer.concat([page(0x18000000n), page(0x18001000n), zeros(1)]));
  });

  it('leaves gaps out, and says in a map where everything is', async () => {
    small();
    const { stderr } = await extract('--all', '--skip-gaps', '-o', at('out'), '--map', at('map'));
    expect(stderr).toBe('');
    expect(readFileSync(at('out'))).toEqual(Buffer.concat([page(0x10000n), page(0x13000n), page(0x21000n)]));
    expect(readFileSync(at('map'), 'utf8')).toBe(
      [
        '0x0 0x10000-0x11000 stored anon',
        '- 0x11000-0x12000 zero anon',
        '- 0x12000-0x13000 lazy anon',
        '0x1000 0x13000-0x14000 stored anon',
        '- 0x20000-0x21000 file file-private',
        '0x2000 0x21000-0x22000 stored file-private',
        '',
      ].join('\n'),
    );
    await extract('--kind', 'anon', '-o', at('out'), '--map', at('map'), '--force');
    expect(readFileSync(at('map'), 'utf8').split('\n')).toContain('0x3000 0x13000-0x14000 stored anon');
  });

  it('reads parents, compressed pages and shared memory, from archives too', async () => {
    for (const [path, pid] of [
      [fixture('chain/mprotect00/3'), undefined],
      [fixture('compressed-criu-4.3/region256k'), undefined],
      [FAMILY, 20],
    ] as const) {
      const files = directory(path);
      const id =
        pid ?? Number(/core-(\d+)/.exec(files.entries().find(({ name }) => name.startsWith('core-'))?.name ?? '')?.[1]);
      const report = await extractMemory(files, id, { all: true }, at('out'), { force: true });
      expect(report.states.stored).toBeGreaterThan(0);
      expect(report.written).toBe(report.selected);
      expect(statSync(at('out')).size).toBe(report.written);
    }
    const plain = readFileSync(at('out'));
    await cli(['copy', FAMILY, at('family.tar.gz')]);
    const { code } = await cli(['extract', at('family.tar.gz'), '--pid', '20', '--all', '-o', at('again')]);
    expect(code).toBe(0);
    expect(readFileSync(at('again')).equals(plain)).toBe(true);
  });

  it('goes to a stream', async () => {
    small();
    const stream = new PassThrough();
    const [bytes, report] = await Promise.all([
      buffer(stream),
      extractMemory(directory(dump), 7, { kinds: ['anon'] }, stream),
    ]);
    expect(bytes).toEqual(Buffer.concat([page(0x10000n), zeros(2), page(0x13000n)]));
    expect(report).toEqual({
      pid: 7,
      selected: 16384,
      written: 16384,
      states: { stored: 8192, zero: 4096, lazy: 4096 },
    });
  });

  it('reports as JSON', async () => {
    small();
    const { code, stdout } = await cli(['extract', dump, '--pid', '7', '--all', '-o', at('out'), '--json']);
    expect(code).toBe(0);
    expectFits('extract', JSON.parse(stdout));
    expect(JSON.parse(stdout)).toMatchObject({ selected: 24576, states: { stored: 12288, file: 4096 } });
    const { stderr } = await extract('--kind', 'anon', '--skip-gaps', '--json');
    expectFits('extract', JSON.parse(stderr));
  });

  it.each<[string[], number, string]>([
    [['--pid', '7'], 2, 'expected one of --range, --kind, --area and --all, found none'],
    [['--pid', '7', '--all', '--kind', 'heap'], 2, 'expected one of --range, --kind, --area and --all, found several'],
    [['--all'], 2, '--pid: expected one process, found none'],
    [['--all', '--pid', '7', '--pid', '8'], 2, '--pid: expected one process, found several'],
    [['--pid', '7', '--kind', 'heaps'], 2, '--kind: expected one of'],
    [['--pid', '7', '--range', '5-4'], 2, '--range: expected START-END or START+BYTES'],
    [['--pid', '7', '--range', '0xffffffffffffffff+2'], 2, '--range: expected START-END'],
    [['--pid', '7', '--range', '0x1000-0x2000'], 1, 'process 7 has no memory there'],
    [['--pid', '7', '--kind', 'heap'], 1, 'process 7 has no such area'],
    [['--pid', '7', '--area', '/bin/sh'], 1, 'process 7 has no such area'],
    [['--pid', '8', '--all'], 1, 'process 8 is a zombie, and has no memory'],
    [['--pid', '9', '--all'], 1, 'the dump has no process 9'],
  ])('refuses %j', async (words, code, message) => {
    small();
    const outcome = await cli(['extract', dump, ...words, '-o', at('out')]);
    expect(outcome).toMatchObject({ code, stderr: expect.stringContaining(message) });
    expect(existsSync(at('out'))).toBe(false);
  });

  it('keeps its outputs apart from the dump and from each other', async () => {
    small();
    writeFileSync(at('there'), 'mine');
    symlinkSync(join(dump, 'pages-1.img'), at('link'));
    for (const words of [
      ['-o', join(dump, 'pages-1.img'), '--force'],
      ['-o', at('link'), '--force'],
      ['-o', at('there')],
      ['-o', at('out'), '--map', at('there')],
      ['-o', at('there'), '--map', at('there'), '--force'],
    ]) {
      const outcome = await cli(['extract', dump, '--pid', '7', '--all', ...words]);
      expect(outcome.code, outcome.stderr).toBe(1);
      expect(existsSync(at('out'))).toBe(false);
    }
    const same = await cli(['extract', dump, '--pid', '7', '--all', '-o', at('out'), '--map', at('out')]);
    expectError(same, `${at('out')}: the map must be another file than the memory`);
    expect(readFileSync(at('there'), 'utf8')).toBe('mine');
    expect((await cli(['extract', dump, '--pid', '7', '--all'], { stdoutIsTerminal: true })).code).toBe(2);
    // Pages that are cut off leave nothing behind.
    truncateSync(join(dump, 'pages-1.img'), 4096);
    expect((await cli(['extract', dump, '--pid', '7', '--all', '-o', at('out')])).code).toBe(1);
    rmSync(join(dump, 'pages-1.img'));
    expect((await cli(['extract', dump, '--pid', '7', '--all', '-o', at('out')])).code).toBe(1);
    expect(existsSync(at('out'))).toBe(false);
  });
});

describe('a hexdump', () => {
  it('is that of xxd, byte for byte', async () => {
    small();
    const range = '0x10ff1-0x11033';
    const { bytes } = await extract('--range', range);
    const { bytes: text } = await extract('--range', range, '--hexdump');
    expect(text.toString()).toMatch(/^00010ff1: [0-9a-f]{4} /);
    const xxd = spawnSync('xxd', ['-o', '0x10ff1'], { input: bytes, encoding: 'utf8' });
    if (!xxd.error) expect(text.toString()).toBe(xxd.stdout);
    const lines: string[] = [];
    const dumped = new Hexdump((line) => lines.push(line));
    dumped.push(0x7ffd00000000n, Buffer.from('The quick brown fox\n\0'));
    dumped.push(0x7ffe00000000n, Buffer.from([0x7f, 0x80]));
    dumped.end();
    expect(lines).toEqual([
      '7ffd00000000: 5468 6520 7175 6963 6b20 6272 6f77 6e20  The quick brown \n',
      '7ffd00000010: 666f 780a 00                             fox..\n',
      '7ffe00000000: 7f80                                     ..\n',
    ]);
  });

  it('leaves gaps out, and goes to a terminal', async () => {
    small();
    const { bytes } = await extract('--kind', 'anon', '--hexdump', '--skip-gaps');
    const lines = bytes.toString().trimEnd().split('\n');
    expect(lines.length).toBe(512);
    expect(lines[256]).toMatch(/^00013000: /);
    const { code } = await cli(['extract', dump, '--pid', '7', '--all', '--hexdump'], { stdoutIsTerminal: true });
    expect(code).toBe(0);
    const refused = await cli(['extract', dump, '--pid', '7', '--all', '--hexdump', '--map', at('map')]);
    expect(refused).toMatchObject({
      code: 2,
      stderr: expect.stringContaining('--map is for bytes: a hexdump has its addresses in it'),
    });
  });
});
