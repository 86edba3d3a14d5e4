/** What is wrong with a dump is said in one line that names the place; nothing is written, nothing is touched. */
import { execFileSync } from 'node:child_process';
import { chmodSync, chownSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it, onTestFinished, type TestContext } from 'vitest';
import { findingText } from '../src/verify/findings.js';
import { quickFindings } from '../src/verify/verify.js';
import { AREAS, build, METADATA, MM, PAGES, type Row, SOUND, TABLES, withTask } from './helpers/broken-dumps.js';
import { cli, type Outcome, pagepipe } from './helpers/cli.js';
import { directory } from './helpers/dump-files.js';
import { ANON, diffMemory, FILE, readMemory, STATUS, writeDump } from './helpers/dump-writer.js';
import { expectError } from './helpers/expect-error.js';
import { copyFixture, describeTree, openFiles, tempDir } from './helpers/temp.js';

const leftovers = (directory: string): string[] =>
  existsSync(directory) ? readdirSync(directory).filter((name) => name.includes('.pagepipe-')) : [];

async function expectRefused(row: Row, run: (words: string[]) => Promise<Outcome>): Promise<void> {
  const { root, dump, out } = build(row);
  const before = describeTree(root);
  const outcome = await run(['make-lazy', dump, out, ...(row.options ?? [])]);
  const { error } = row;
  expectError(outcome, error.replace(/\bDUMP\b/, dump).replace(/\bOUT\b/, out), row.hint);
  expect(describeTree(root)).toEqual(before);
  expect(leftovers(dirname(out))).toEqual([]);
}

for (const [name, rows] of Object.entries(TABLES)) {
  describe(`make-lazy refuses: ${name.toLowerCase()}`, () => {
    for (const row of rows) it(row.what, () => expectRefused(row, (words) => cli(words)));
  });
}

describe('make-lazy refuses, as a process', () => {
  for (const what of ['a pagemap cut in an entry', 'pages too short by an entry', 'OUT inside DUMP by a link']) {
    const row = Object.values(TABLES)
      .flat()
      .find((candidate) => candidate.what === what) as Row;
    it(what, () => expectRefused(row, (words) => pagepipe(words)));
  }
});

describe('the same by read', () => {
  for (const row of [...METADATA, ...MM, ...PAGES]) {
    it(row.what, async () => {
      const { root, dump } = build(row);
      const stream = join(root, 'stream');
      const found = quickFindings(directory(dump));
      const lines = found.map((finding) => `${finding.severity}: ${findingText(finding)}`);
      const outcome = await cli(['read', dump], { stdout: stream });
      const isRefused = found.some(({ severity }) => severity === 'error');
      if (isRefused) {
        expect(outcome).toMatchObject({ code: 1, stdout: '' });
        const said = outcome.stderr.split('\n').map((line) => line.replace(/^pagepipe(?: \w+)?: (hint: .*)?/, ''));
        expect(said.filter((line) => line !== '').sort()).toEqual(lines.sort());
        expect(readFileSync(stream)).toHaveLength(0);
      }
      // By force it goes on until it can read no further.
      const forced = isRefused ? await cli(['read', dump, '--incomplete'], { stdout: stream }) : outcome;
      const last = forced.stderr.split('\n').slice(found.length).join('\n');
      const { error } = row;
      expectError({ ...forced, stderr: last }, error.replace(/^DUMP:/, `${dump}:`));
      // What has been sent of it has no end, so that nobody takes it for a dump.
      expectError(
        await cli(['write', join(root, 'out')], { stdin: stream }),
        /^stdin(: it is empty; expected a page stream|@0x[0-9a-f]+: expected more frames and an end, found the end of the input: the stream was cut)$/,
      );
      expect(readdirSync(root).sort()).toEqual(['dump', 'stream']);
    });
  }
});

describe('OUT is there already', () => {
  const sound = () => {
    const root = tempDir();
    writeDump(join(root, 'dump'), SOUND);
    return { root, dump: join(root, 'dump'), out: join(root, 'out') };
  };

  it('and holds files: they stay, unless by force', async () => {
    const { root, dump, out } = sound();
    mkdirSync(join(out, 'folder'), { recursive: true });
    writeFileSync(join(out, 'folder/old'), 'old');
    writeFileSync(join(out, 'inventory.img'), 'old');
    const before = describeTree(root);
    expectError(
      await cli(['make-lazy', dump, out]),
      `${out}: expected a new or empty directory, found files in it`,
      'use --force to replace it',
    );
    expect(describeTree(root)).toEqual(before);

    expect(await cli(['make-lazy', dump, out, '--force'])).toMatchObject({ code: 0 });
    expect(await cli(['make-lazy', dump, join(root, 'fresh')])).toMatchObject({ code: 0 });
    expect(describeTree(out)).toEqual(describeTree(join(root, 'fresh')));
    expect(readdirSync(root).sort()).toEqual(['dump', 'fresh', 'out']);
  });

  it('and holds files: they stay where force fails', async () => {
    const { root, dump, out } = sound();
    mkdirSync(out);
    writeFileSync(join(out, 'inventory.img'), 'old');
    writeFileSync(join(dump, 'pages-3.img'), '');
    const before = describeTree(root);
    expectError(
      await cli(['make-lazy', dump, out, '--force']),
      'pages-3.img@0x0: expected at least 8192 bytes of pages by entry 0 of pagemap-shmem-3.img, found 0',
    );
    expect(describeTree(root)).toEqual(before);
  });

  it('and is empty: it is replaced', async () => {
    const { root, dump, out } = sound();
    mkdirSync(out);
    expect(await cli(['make-lazy', dump, out])).toMatchObject({ code: 0 });
    expect(readdirSync(out)).toContain('pages-1.img');
    expect(readdirSync(root).sort()).toEqual(['dump', 'out']);
  });

  it.each([[[]], [['--force']]])('and is a file, with %j', async (options) => {
    const { root, dump, out } = sound();
    writeFileSync(out, 'a file');
    const before = describeTree(root);
    expectError(
      await cli(['make-lazy', dump, out, ...options]),
      `${out}: expected a new or empty directory, found something else`,
    );
    expect(describeTree(root)).toEqual(before);
  });

  it('and holds the dump', async () => {
    const { root, dump } = sound();
    const before = describeTree(root);
    expectError(await cli(['make-lazy', dump, root]), `${root}: the output must not contain what is read: ${dump}`);
    expectError(
      await cli(['make-lazy', dump, root, '--force']),
      `${root}: the output must not contain what is read: ${dump}`,
    );
    expect(describeTree(root)).toEqual(before);
  });
});

/** Says why a test cannot run here, where everybody sees it. */
function skip(context: TestContext, reason: string): never {
  console.warn(`skipped: ${context.task.name}: ${reason}`);
  context.skip(reason);
}

const isRoot = process.getuid?.() === 0;
const NOBODY = 65534;

const WHO = { uid: NOBODY, gid: NOBODY, cwd: '/' };
let nobodyRuns: Promise<boolean> | undefined;

/** Runs a command line as somebody whom permissions bind. */
async function asNobody(context: TestContext, words: string[]): Promise<Outcome> {
  if (!isRoot) return pagepipe(words);
  nobodyRuns ??= pagepipe(['--version'], WHO).then(
    ({ code }) => code === 0,
    () => false,
  );
  if (!(await nobodyRuns)) skip(context, 'another user cannot run the program from here');
  return pagepipe(words, WHO);
}

describe('permissions', () => {
  const sound = () => {
    const root = tempDir();
    writeDump(join(root, 'dump'), SOUND);
    chmodSync(root, 0o777);
    return { root, dump: join(root, 'dump'), out: join(root, 'out') };
  };

  it.for([
    ['core-7.img', 'core-7.img: permission denied (EACCES)'],
    ['mm-9.img', 'mm-9.img: permission denied (EACCES)'],
    ['pages-1.img', 'pages-1.img: permission denied (EACCES)'],
    ['files.img', 'files.img: permission denied (EACCES)'],
  ] as const)('no right to read %s', async ([name, error], context) => {
    const { root, dump, out } = sound();
    chmodSync(join(dump, name), 0);
    expectError(await asNobody(context, ['make-lazy', dump, out]), error);
    expect(readdirSync(root)).toEqual(['dump']);
  });

  it('no right to list DUMP', async (context) => {
    const { root, dump, out } = sound();
    chmodSync(dump, 0o300);
    onTestFinished(() => chmodSync(dump, 0o700));
    expectError(await asNobody(context, ['make-lazy', dump, out]), `${dump}: permission denied (EACCES)`);
    expect(readdirSync(root)).toEqual(['dump']);
  });

  it('no right to write beside OUT', async (context) => {
    const { root, dump, out } = sound();
    chmodSync(root, 0o555);
    onTestFinished(() => chmodSync(root, 0o755));
    expectError(await asNobody(context, ['make-lazy', dump, out]), `${out}: permission denied (EACCES)`);
    expect(readdirSync(root)).toEqual(['dump']);
  });

  it('no right to replace OUT, which belongs to somebody else', async (context) => {
    const { root, dump, out } = sound();
    if (!isRoot) skip(context, 'only root can give files to somebody else');
    mkdirSync(out);
    writeFileSync(join(out, 'inventory.img'), 'old');
    chownSync(out, 0, 0);
    // Sticky, like /tmp: whoever does not own a name cannot take it away.
    chmodSync(root, 0o1777);
    const before = describeTree(out);
    expectError(
      await asNobody(context, ['make-lazy', dump, out, '--force']),
      `${out}: operation not permitted (EPERM)`,
    );
    expect(describeTree(out)).toEqual(before);
    expect(readdirSync(root).sort()).toEqual(['dump', 'out']);
  });
});

it('a full disk', async (context) => {
  if (!isRoot) skip(context, 'only root can mount a small disk');
  const root = tempDir();
  const disk = join(root, 'disk');
  mkdirSync(disk);
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk], { stdio: 'pipe' });
  } catch (error) {
    skip(context, `a small disk cannot be mounted: ${(error as Error).message}`);
  }
  try {
    writeDump(join(root, 'dump'), {
      tasks: [{ pid: 7, vmas: [{ start: 0n, end: 0x200000n, ...FILE }], entries: [{ vaddr: 0n, pages: 512 }] }],
    });
    expectError(
      await cli(['make-lazy', join(root, 'dump'), join(disk, 'out')]),
      /^pages-1\.img@0x[0-9a-f]+: no space left on device \(ENOSPC\)$/,
      undefined,
      75,
    );
    expect(readdirSync(disk)).toEqual([]);
    expect(openFiles(disk)).toEqual([]);
  } finally {
    execFileSync('umount', ['--lazy', disk]);
  }
});

describe('make-lazy accepts', () => {
  it('guard areas behind all others, wherever they lie', async () => {
    const root = tempDir();
    const guard = { flags: ANON.flags, status: STATUS.GUARD };
    const guards = [
      { start: 0x11000n, end: 0x12000n, ...guard },
      { start: 0x35000n, end: 0x36000n, ...guard },
    ];
    writeDump(join(root, 'dump'), withTask({ vmas: [...AREAS, ...guards] }));
    expect(await cli(['make-lazy', join(root, 'dump'), join(root, 'out')])).toMatchObject({ code: 0 });
    const kept = readMemory(join(root, 'out'));
    expect([...(kept.get('pagemap-7.img')?.keys() ?? [])]).toEqual([0x20000n, 0x21000n, 0x30000n]);
    expect(readFileSync(join(root, 'out/mm-7.img'))).toEqual(readFileSync(join(root, 'dump/mm-7.img')));
  });

  it('areas in any order', async () => {
    const root = tempDir();
    writeDump(join(root, 'dump'), withTask({ vmas: AREAS.toReversed() }));
    writeDump(join(root, 'sorted'), SOUND);
    for (const name of ['dump', 'sorted']) {
      expect(await cli(['make-lazy', join(root, name), join(root, `${name}-out`)])).toMatchObject({ code: 0 });
    }
    expect(diffMemory(readMemory(join(root, 'dump-out')), readMemory(join(root, 'sorted-out')))).toEqual([]);
  });

  it('a zombie, which has no mm', async () => {
    const root = tempDir();
    writeDump(join(root, 'dump'), SOUND);
    expect(existsSync(join(root, 'dump/mm-11.img'))).toBe(false);
    const outcome = await cli(['make-lazy', join(root, 'dump'), join(root, 'out'), '--json']);
    expect(outcome.code).toBe(0);
    expect(JSON.parse(outcome.stdout)).toMatchObject({ zombies: [11] });
  });

  it('a task without memory', async () => {
    const root = tempDir();
    writeDump(join(root, 'dump'), withTask({ vmas: [], entries: [] }));
    expect(await cli(['make-lazy', join(root, 'dump'), join(root, 'out')])).toMatchObject({ code: 0 });
    expect(readFileSync(join(root, 'out/pagemap-7.img'))).toEqual(readFileSync(join(root, 'dump/pagemap-7.img')));
    expect(readFileSync(join(root, 'out/pages-1.img'))).toHaveLength(0);
  });

  it('the rule of 2016 on locked memory, by force', async () => {
    const root = tempDir();
    writeDump(join(root, 'dump'), SOUND);
    const words = ['make-lazy', join(root, 'dump'), join(root, 'out'), '--policy', 'seed', '--unsafe-policy'];
    expect(await cli(words)).toMatchObject({ code: 0 });
    expect([...(readMemory(join(root, 'out')).get('pagemap-7.img')?.keys() ?? [])]).toEqual([0x20000n, 0x21000n]);
  });

  it('pages in a parent, which stay there', async () => {
    const root = tempDir();
    const dump = copyFixture('chain/mprotect00/3', root);
    const out = join(dirname(dump), 'out');
    const outcome = await cli(['make-lazy', dump, out, '--json']);
    expect(outcome).toMatchObject({ code: 0, stderr: '' });
    expect(JSON.parse(outcome.stdout).spaces[0]).toMatchObject({ pid: 62, parentPages: 21 });
  });
});
