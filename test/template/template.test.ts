/** template and untemplate: the same memory again, page for page, and all other images byte for byte. */
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  truncateSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { directorySink } from '../../src/containers.js';
import { type DumpRecord, openDumpFiles, template, untemplate } from '../../src/index.js';
import { cli, type InProcessOptions } from '../helpers/cli.js';
import { type DumpSpec, PE, pageContent, readMemory, writeDump } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { expectFits } from '../helpers/json-schema.js';
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
      { numRuns: 20 },
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

  it('whose manifest is gone are refused', async () => {
    const dump = copyFixture('mosaic-criu-4.2.1', tempDir());
    const [out, full] = [join(dump, '..', 'out'), join(dump, '..', 'full')];
    await run(['template', dump, out, ...ALL]);
    rmSync(join(out, 'memory/template.json'));
    const [name] = readdirSync(join(out, 'memory')) as [string];
    expectError(
      await cli(['untemplate', out, full]),
      `${out}/memory/template.json: expected the folder of ${out}/memory/${name}, which areas of the dump map, found none`,
      'say with --memory where the folder is here',
    );
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

/** A dump of one process with an area of 300 pages, and a smaller one. */
function plainDump(): { dump: string; at: (name: string) => string } {
  const directory = tempDir();
  const at = (name: string) => join(directory, name);
  const entries = [
    { vaddr: 0x100000n, pages: 300 },
    { vaddr: 0x400000n, pages: 3 },
  ];
  const vmas = [
    { start: 0x100000n, end: 0x22c000n, flags: 0x22, status: 0x201 },
    { start: 0x400000n, end: 0x403000n, flags: 0x22, status: 0x201 },
  ];
  writeDump(at('dump'), { tasks: [{ pid: 7, vmas, entries }] });
  return { dump: at('dump'), at };
}

const MAPPED = '7-100000.pagepipe-memory';

/** What verify says of mapped files. */
async function mappedFindings(dump: string, ...words: string[]): Promise<string[]> {
  const stdout = join(tempDir(), 'findings');
  await cli(['verify', dump, ...words], { stdout });
  return readFileSync(stdout, 'utf8')
    .split('\n')
    .filter((line) => /pagepipe-memory|template/.test(line));
}

const ANY = ['--allow-dontneed', 'all'];

describe('template', () => {
  it('maps areas from --min-size on, and says what it does', async () => {
    const { dump, at } = plainDump();
    const { stdout } = await cli(['template', dump, at('out'), ...ANY, '--json']);
    expectFits('template', JSON.parse(stdout));
    expect(JSON.parse(stdout)).toMatchObject({
      memory: at('out/memory'),
      tasks: [
        {
          pid: 7,
          mapped: { areas: 1, pages: 300 },
          kept: [{ why: 'smaller than --min-size', areas: 1, pages: 3 }],
        },
      ],
    });
    expect(readdirSync(at('out/memory')).sort()).toEqual([MAPPED, 'README', 'template.json']);
    expect(readdirSync(at(''))).toEqual(['dump', 'out']);
    const text = await cli(['template', dump, at('out2'), ...ANY]);
    expect(text.stderr).toBe(`pid 7 task7: 1.17 MiB mapped in 1 area

size    12.4 KiB are read at a restore
memory  ${at('out2/memory')}: keep it as it is, and in its place

restore it, any number of times, with the options that the dump was made with:
  criu restore -D ${at('out2')} -d
`);
  });

  it('has the hole behind the area also where its last pages are zeros', async () => {
    const { at } = plainDump();
    const zeroPages = Array.from({ length: 32 }, (_, i) => 268 + i);
    const vmas = [{ start: 0x100000n, end: 0x22c000n, flags: 0x22, status: 0x201 }];
    writeDump(at('zeros'), { tasks: [{ pid: 7, vmas, entries: [{ vaddr: 0x100000n, pages: 300, zeroPages }] }] });
    await run(['read', at('zeros')], { stdout: at('stream') });
    await run(['template', '--memory', at('memory'), ...ANY], { stdin: at('stream'), stdout: at('out') });
    await run(['template', at('zeros'), at('out2'), ...ANY]);
    for (const folder of ['memory', 'out2/memory']) {
      expect(statSync(at(`${folder}/${MAPPED}`)).size).toBe(300 * 4096 + TIB);
    }
  });

  it('says what it would do, and writes nothing', async () => {
    const { dump, at } = plainDump();
    const real = JSON.parse((await cli(['template', dump, at('out'), ...ANY, '--json'])).stdout);
    rmSync(at('out'), { recursive: true });
    const dry = JSON.parse((await cli(['template', dump, at('out'), ...ANY, '--json', '--dry-run'])).stdout);
    expect(dry).toEqual({ ...real, dryRun: true });
    expect(readdirSync(at(''))).toEqual(['dump']);
  });

  it('says so if nothing is mapped', async () => {
    const { dump, at } = plainDump();
    const { stderr } = await cli(['template', dump, at('out'), ...ANY, '--min-size', '1G']);
    expect(stderr).toBe(
      'pid 7 task7: not mapped, it has no memory of the right kind and of at least --min-size\n\n' +
        'size    1.18 MiB are read at a restore\n' +
        'memory  none is mapped\n\n' +
        'restore it, any number of times, with the options that the dump was made with:\n' +
        `  criu restore -D ${at('out')} -d\n`,
    );
  });

  it('leaves the memory of programs that cannot be looked at, and of others with --pid', async () => {
    const { dump, at } = plainDump();
    for (const [words, eager] of [
      [[], 'its program has an allocator that cannot be told'],
      [['--allow-dontneed', '8'], 'its program has an allocator that cannot be told'],
      [['--pid', '8'], 'not selected'],
    ] as const) {
      const { stdout } = await cli(['template', dump, at('out'), ...words, '--json', '--dry-run']);
      expect(JSON.parse(stdout).tasks).toMatchObject([{ eager, mapped: { areas: 0, pages: 0 } }]);
    }
    expect(
      JSON.parse((await cli(['template', dump, at('out'), '--allow-dontneed', '7', '--json'])).stdout).tasks,
    ).toMatchObject([{ mapped: { areas: 1, pages: 300 } }]);
  });

  it('puts the files elsewhere, under the name that the tasks will see', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY, '--memory', at('files'), '--memory-name', '/mnt/memory']);
    expect(readdirSync(at('out'))).not.toContain('memory');
    const { stdout } = await cli(['decode', at('out/files.img')], { stdout: at('json') });
    expect(stdout).toBe('');
    expect(readFileSync(at('json'), 'utf8')).toContain(`"name": "/mnt/memory/${MAPPED}"`);
    expectError(
      await cli(['untemplate', at('out'), at('full')]),
      `/mnt/memory/template.json: expected the folder of /mnt/memory/${MAPPED}, which areas of the dump map, found none`,
      'say with --memory where the folder is here',
    );
    await run(['untemplate', at('out'), at('full'), '--memory', at('files')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
    expect(await mappedFindings(at('out'), '--memory', at('files'))).toEqual([]);
    expectError(
      await cli(['template', at('out'), at('again'), ...ANY]),
      `/mnt/memory/template.json: expected the folder of /mnt/memory/${MAPPED}, which areas of the dump map, found none`,
      `pagepipe untemplate ${at('out')} FULL --memory DIR makes an ordinary dump, where DIR is that folder`,
    );
  });

  it('writes new names after a move, also once more', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY]);
    renameSync(at('out'), at('moved'));
    for (let again = 0; again < 2; again++) {
      const { stderr } = await cli(['template', '--move', at('moved')]);
      expect(stderr).toBe(`pagepipe: ${at('moved')}: 1 name of mapped files written\n`);
    }
    expect(await mappedFindings(at('moved'), '--content')).toEqual([]);
    await run(['untemplate', at('moved'), at('full')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
    expect(otherFiles(at('full'))).toEqual(otherFiles(dump));
    const dryRun = await cli(['template', '--move', at('moved'), '--memory-name', '/mnt', '--dry-run']);
    expect(dryRun).toMatchObject({
      code: 2,
      stderr: 'pagepipe: --dry-run does not go with --move\npagepipe: hint: pagepipe template --help\n',
    });
    const { stdout } = await cli(['template', '--move', at('moved'), '--memory-name', '/mnt', '--json']);
    expectFits('template move', JSON.parse(stdout));
    expectError(
      await cli(['template', '--move', dump, '--memory', at('moved/memory')]),
      `${dump}/files.img: expected names of mapped files, found none`,
    );
  });

  it('maps areas from the dump itself with --in-place', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY, '--in-place', '--min-size', '0']);
    expect(readdirSync(at('out/memory')).sort()).toEqual(['README', 'template.json']);
    expect(JSON.parse(readFileSync(at('out/memory/template.json'), 'utf8'))).toMatchObject({
      files: [{ name: join(dump, 'pages-1.img'), path: join(dump, 'pages-1.img'), size: 303 * 4096 }],
      areas: [
        { start: 0x100, end: 0x22c, file: 0, offset: 0 },
        { start: 0x400, end: 0x403, file: 0, offset: 300 * 4096 },
      ],
    });
    expect(statSync(at('out/pages-1.img')).size).toBe(0);
    await run(['untemplate', at('out'), at('full')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
    expect(otherFiles(at('full'))).toEqual(otherFiles(dump));
  });

  it('with --in-place says that the folder of a dump of its clone must be given', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ALL, '--in-place']);
    renameSync(at('out/memory'), at('elsewhere'));
    const what = `files.img: areas map ${dump}/pages-1.img, so the folder of their template cannot be found`;
    expectError(await cli(['untemplate', at('out'), at('full')]), what, 'say with --memory where the folder is here');
    expectError(
      await cli(['template', at('out'), at('out2'), ...ALL]),
      what,
      `pagepipe untemplate ${at('out')} FULL --memory DIR makes an ordinary dump, where DIR is that folder`,
    );
    await run(['untemplate', at('out'), at('full'), '--memory', at('elsewhere')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
  });

  it('has the names that the kernel will have, also where its folder is a link', async () => {
    const { dump, at } = plainDump();
    mkdirSync(at('files'));
    symlinkSync('files', at('link'));
    await run(['template', dump, at('out'), ...ANY, '--memory', at('link')]);
    expect(JSON.parse(readFileSync(at('files/template.json'), 'utf8')).files).toMatchObject([
      { name: at(`files/${MAPPED}`) },
    ]);
  });

  it('counts pages of the size of the dump', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY]);
    const manifest = at('out/memory/template.json');
    const text = readFileSync(manifest, 'utf8');
    rmSync(manifest);
    writeFileSync(manifest, text.replace('"pageSize": 4096', '"pageSize": 65536'));
    expectError(
      await cli(['untemplate', at('out'), at('full')]),
      `${manifest}: expected pages of 4096 bytes, found 65536`,
    );
  });

  it('refuses a page that is in no parent', async () => {
    const { at } = plainDump();
    const vmas = [{ start: 0x100000n, end: 0x120000n, flags: 0x22, status: 0x201 }];
    writeDump(at('first'), { tasks: [{ pid: 7, vmas, entries: [] }] });
    const entries = [{ vaddr: 0x101000n, pages: 2, flags: PE.PARENT }];
    writeDump(at('second'), { tasks: [{ pid: 7, vmas, entries }] });
    symlinkSync('../first', at('second/parent'));
    for (const command of ['template', 'untemplate']) {
      expectError(
        await cli([command, at('second'), at('out'), '--quiet']),
        'pagemap-7.img: the page at 0x101000 is in none of the parent dumps',
      );
    }
    expect(existsSync(at('out'))).toBe(false);
  });

  it('copies areas with holes even with --in-place', async () => {
    const dump = copyFixture('mosaic-criu-4.2.1', tempDir());
    const at = (name: string) => join(dump, '..', name);
    await run(['template', dump, at('out'), ...ALL, '--in-place']);
    const files = readdirSync(at('out/memory')).filter((name) => name.endsWith('.pagepipe-memory'));
    expect(files.length).toBeGreaterThan(0);
    await run(['untemplate', at('out'), at('full')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
  });

  it('is a template of a template, which depends on its own files', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY]);
    await run(['template', at('out'), at('out2'), ...ALL]);
    rmSync(at('out'), { recursive: true });
    await run(['untemplate', at('out2'), at('full')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
    expect(otherFiles(at('full'))).toEqual(otherFiles(dump));
  });

  it('from an archive, and into one again', async () => {
    const { dump, at } = plainDump();
    await run(['copy', dump, at('dump.tar.zst')]);
    await run(['template', at('dump.tar.zst'), at('out'), ...ANY]);
    await run(['untemplate', at('out'), at('full.tar')]);
    await run(['copy', at('full.tar'), at('full')]);
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
  });
});

describe('an image', () => {
  it('of files that is damaged is named', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY]);
    const damaged = Buffer.concat([readFileSync(join(dump, 'files.img')), Buffer.from([1, 0, 0, 0, 0x0f])]);
    for (const place of [dump, at('out')]) writeFileSync(join(place, 'files.img'), damaged);
    const what = 'entry 0: expected a file_entry, found something else: expected a wire type from 0 to 5, found 7';
    expectError(await cli(['template', '--move', at('out')]), `${at('out')}/files.img@0xc ${what}`);
    await run(['read', dump], { stdout: at('stream') });
    const { code, stderr } = await cli(['template', '--memory', at('memory'), ...ANY], { stdin: at('stream') });
    expect({ code, stderr }).toEqual({ code: 1, stderr: `pagepipe: error: files.img@0xc ${what}\n` });
  });

  it('of a file has an id that nothing else has', async () => {
    const dump = copyFixture('family-criu-4.2.1', tempDir());
    const at = (name: string) => join(dump, '..', name);
    await run(['template', dump, at('out'), ...ALL]);
    await cli(['decode', at('out/files.img')], { stdout: at('files') });
    const ids = (JSON.parse(readFileSync(at('files'), 'utf8')).entries as { id: number }[]).map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
    expect(ids.length).toBeGreaterThan(8);
  });

  it('says where in a file an area begins, also beyond 4 GiB', async () => {
    const { at } = plainDump();
    const pages = 2 ** 20 + 16;
    const vmas = [
      { start: 0x100000n, end: 0x100000n + BigInt(pages) * 4096n, flags: 0x22, status: 0x201 },
      { start: 0x400000000n, end: 0x400003000n, flags: 0x22, status: 0x201 },
    ];
    const entries = vmas.map(({ start, end }) => ({ vaddr: start, pages: Number(end - start) / 4096 }));
    writeDump(at('large'), { tasks: [{ pid: 7, vmas, entries }], sparse: true });
    await run(['template', at('large'), at('out'), ...ALL, '--in-place']);
    await cli(['decode', at('out/mm-7.img')], { stdout: at('mm') });
    expect(JSON.parse(readFileSync(at('mm'), 'utf8')).entries[0].vmas).toMatchObject([
      { pgoff: 0, shmid: 1, flags: 2, status: 65, fdflags: 0 },
      { pgoff: pages * 4096, shmid: 1, flags: 2, status: 65, fdflags: 0 },
    ]);
    await run(['untemplate', at('out'), at('full')]);
    expect(otherFiles(at('full'))).toEqual(otherFiles(at('large')));
  });

  it('is right with pages of 64 KiB', async () => {
    const { at } = plainDump();
    const vmas = [{ start: 0x100000n, end: 0x300000n, flags: 0x22, status: 0x201 }];
    const entries = [
      { vaddr: 0x100000n, pages: 9 },
      { vaddr: 0x200000n, pages: 3 },
    ];
    writeDump(at('arm'), { tasks: [{ pid: 7, vmas, entries }], pageSize: 65536, march: 3 });
    const page = ['--page-size', '65536'];
    await run(['template', at('arm'), at('out'), ...ALL, ...page]);
    await run(['untemplate', at('out'), at('full'), ...page]);
    expect(readMemory(at('full'), 65536)).toEqual(readMemory(at('arm'), 65536));
    expect(otherFiles(at('full'))).toEqual(otherFiles(at('arm')));
  });
});

describe('the library', () => {
  it('makes templates and ordinary dumps', async () => {
    const { dump, at } = plainDump();
    const files = await openDumpFiles(dump, { pages: 'hold' });
    const options = { memory: at('memory'), allowDontneed: 'all' } as const;
    expect(await template(files, await directorySink(at('out')), options)).toEqual([
      { pid: 7, mappedAreas: 1, mappedPages: 300 },
    ]);
    await untemplate(await openDumpFiles(at('out'), { pages: 'hold' }), await directorySink(at('full')));
    expect(memoryOf(at('full'))).toEqual(memoryOf(dump));
  });

  it('leaves no folder of a template that could not be put in its place', async () => {
    const { dump, at } = plainDump();
    const sink = await directorySink(at('out'));
    const failing = {
      write: (record: DumpRecord) => sink.write(record),
      finish: () => Promise.reject(new Error('no place')),
      discard: () => sink.discard(),
    };
    const files = await openDumpFiles(dump, { pages: 'hold' });
    const made = template(files, failing, { memory: at('memory'), allowDontneed: 'all' });
    await expect(made).rejects.toThrow('no place');
    expect(readdirSync(at(''))).toEqual(['dump']);
  });
});

describe('what is refused', () => {
  it.each([
    [['--memory', 'out/files'], '--memory and OUT must be two places, neither of them inside the other'],
    [['--memory-name', 'relative'], '--memory-name: expected an absolute path, found relative'],
    [['--kind', 'heap'], '--kind: expected anon, the only kind that can be mapped, found heap'],
    [['--allow-dontneed', 'some'], '--allow-dontneed: expected a process id or all, found some'],
  ])('%s', async (words, message) => {
    const { dump, at } = plainDump();
    const given = words.map((word) => (word === 'out/files' ? at(word) : word));
    const { code, stderr } = await cli(['template', dump, at('out'), ...given]);
    expect({ code, stderr }).toEqual({
      code: 2,
      stderr: `pagepipe: ${message}\npagepipe: hint: pagepipe template --help\n`,
    });
    expect(readdirSync(at(''))).toEqual(['dump']);
  });

  it('a dump whose lazy pages are elsewhere', async () => {
    const { dump, at } = plainDump();
    await run(['make-lazy', dump, at('lazy'), '--policy', 'vma']);
    expectError(
      await cli(['template', at('lazy'), at('out'), ...ANY]),
      'pagemap-7.img: the page at 0x100000 is not in this dump, and an area with it cannot be mapped',
      'give the whole dump; pagepipe merge makes one of two halves',
    );
    expect(readdirSync(at(''))).toEqual(['dump', 'lazy']);
  });

  it('pages in a parent, in a stream', async () => {
    const dump = copyFixture('chain/mprotect00/3', tempDir());
    const at = (name: string) => join(dump, '..', name);
    await run(['read', dump], { stdout: at('stream') });
    expectError(
      await cli(['template', '--memory', at('memory'), ...ALL], { stdin: at('stream'), stdout: at('out') }),
      'parent: some of its pages are in the parent dump, which is not in the stream',
      'give the dump itself to pagepipe template',
    );
    expect(readdirSync(at('')).filter((name) => name.includes('memory'))).toEqual([]);
  });

  it('a manifest that is none', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY]);
    const manifest = at('out/memory/template.json');
    const whole = JSON.parse(readFileSync(manifest, 'utf8'));
    for (const [content, message] of [
      // V8 says what is wrong with it.
      ['{', /^expected the manifest of a template, found no JSON: /],
      ['7', 'expected the manifest of a template, found something else'],
      [JSON.stringify({ ...whole, template: 9 }), 'expected version 1 of a template, found 9'],
      [
        JSON.stringify({ ...whole, files: [{ ...whole.files[0], size: -1 }] }),
        'expected a file in files[0], found something else',
      ],
      [
        JSON.stringify({ ...whole, areas: [{ ...whole.areas[0], file: 1 }] }),
        'expected an area in areas[0], found something else',
      ],
    ] as const) {
      rmSync(manifest);
      writeFileSync(manifest, content);
      const outcome = await cli(['untemplate', at('out'), at('full')]);
      if (typeof message === 'string') expectError(outcome, `${manifest}: ${message}`);
      else expect(outcome.stderr.replace(`pagepipe: error: ${manifest}: `, '')).toMatch(message);
      expect(existsSync(at('full'))).toBe(false);
    }
  });
});

describe('verify', () => {
  it('compares the mapped files with what they were', async () => {
    const { dump, at } = plainDump();
    await run(['template', dump, at('out'), ...ANY]);
    const path = at(`out/memory/${MAPPED}`);
    const findings = (...words: string[]) => mappedFindings(at('out'), ...words);
    expect(await findings('--content')).toEqual([]);
    const { mtimeMs } = statSync(path);
    const fd = openSync(path, 'r+');
    writeSync(fd, 'changed', 4096);
    closeSync(fd);
    expect(await findings()).toEqual([`${path}: it has been written since the template was made`]);
    // Somebody who sets the time back is found by the content.
    const manifest = at('out/memory/template.json');
    const whole = JSON.parse(readFileSync(manifest, 'utf8'));
    utimesSync(path, mtimeMs / 1000, mtimeMs / 1000);
    whole.files[0].mtimeNs = String(statSync(path, { bigint: true }).mtimeNs);
    rmSync(manifest);
    writeFileSync(manifest, JSON.stringify(whole));
    expect(await findings()).toEqual([]);
    expect(await findings('--content')).toEqual([`${path}: its content is not what the template was made with`]);
    truncateSync(path, 4096);
    expect(await findings()).toEqual([
      `${path}: expected ${whole.files[0].size} bytes, which the template maps, found 4096`,
    ]);
    rmSync(path);
    expect(await findings()).toEqual([`${path}: expected this file, which areas of the dump map, found none`]);
  });
});
