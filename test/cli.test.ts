/** The command line: what it understands, what it prints where, what it leaves behind. */
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { GROUPS } from '../src/command-line/commands/spec.js';
import { COMMANDS, type CommandName, namesOf } from '../src/command-line/commands.js';
import { KINDS } from '../src/memory/vma.js';
import { BIN, cli, type Outcome, pagepipe, runProcess } from './helpers/cli.js';
import { ANON, FILE, GENERATIONS, PE, rewriteGeneration, writeDump } from './helpers/dump-writer.js';
import { makePipe } from './helpers/pipe.js';
import { copyFixture, describeTree, dumpAndOut, FIXTURES, fixture, ROOT, tempDir } from './helpers/temp.js';

const NAMES = Object.keys(COMMANDS) as CommandName[];

describe('help', () => {
  it.each([['--help'], ['-h'], ['help']])('%s lists the commands', async (word) => {
    const { code, stdout, stderr } = await cli([word]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const group of Object.keys(GROUPS) as (keyof typeof GROUPS)[]) {
      const lines = namesOf(group).map((name) => `  ${name.padEnd(12)} ${COMMANDS[name].summary}\n`);
      expect(stdout).toContain(`\n${GROUPS[group]}\n${lines.join('')}`);
    }
    expect(stdout).not.toMatch(/^ {2}accept/m);
    expect(stdout.split('\n').filter((line) => line.length > 79)).toEqual([]);
    expect(stdout).toContain('Exit codes: 0 done, 1 bad input');
  });

  it.each(NAMES)('%s: --help, -h, and help', async (command) => {
    const { code, stdout, stderr } = await cli([command, '--help']);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage\\n  pagepipe ${command}\\b`));
    expect(stdout.endsWith('\n')).toBe(true);
    expect(stdout.split('\n').filter((line) => line.length > 79)).toEqual([]);
    expect(await cli([command, '-h'])).toEqual({ code, stdout, stderr });
    expect(await cli(['help', command])).toEqual({ code, stdout, stderr });
    // Whatever else is on the command line.
    expect(await cli([command, 'a', 'b', 'c', '--help'])).toEqual({ code, stdout, stderr });
  });

  it('--version', async () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    for (const word of ['--version', '-V', '-v', 'version']) {
      expect(await cli([word])).toEqual({ code: 0, stdout: `${version}\n`, stderr: '' });
    }
    expect(await pagepipe(['--version'])).toMatchObject({ code: 0, stdout: `${version}\n`, stderr: '' });
  });
});

describe('wrong usage', () => {
  const DUMP = fixture('mosaic-criu-4.2.1');
  const RANGE = '--range: expected START-END, such as 0x7f0000000000-0x7f0000100000, found ';
  const PIPELINE = "expected a pipeline, such as 'classify | filter --drop lazy | rebuild'";
  const rows: [words: string[], error: string][] = [
    [[], 'expected a command'],
    [['make-lasy'], 'unknown command "make-lasy"; did you mean make-lazy?'],
    [['reed'], 'unknown command "reed"; did you mean read?'],
    [['clasify'], 'unknown command "clasify"; did you mean classify?'],
    [['something'], 'unknown command "something"; pagepipe help lists them'],
    [['help', 'makelazy'], 'unknown command "makelazy"; did you mean make-lazy?'],
    [['constructor'], 'unknown command "constructor"; pagepipe help lists them'],
    [['__proto__'], 'unknown command "__proto__"; pagepipe help lists them'],
    [['--json'], 'unknown command "--json"; pagepipe help lists them'],
    [['make-lazy'], 'expected DUMP, found nothing'],
    [['make-lazy', DUMP], 'expected OUT, found nothing'],
    [['make-lazy', DUMP, 'OUT', 'x'], 'expected DUMP and OUT, found one more: x'],
    [['make-lazy', DUMP, ''], 'expected OUT, found an empty argument'],
    [['make-lazy', DUMP, 'OUT', '--nope'], 'unknown option --nope'],
    [['make-lazy', DUMP, 'OUT', '--nope=1'], 'unknown option --nope'],
    [['make-lazy', DUMP, 'OUT', '--dry-ran'], 'unknown option --dry-ran; did you mean --dry-run?'],
    [['make-lazy', DUMP, 'OUT', '--polici', 'vma'], 'unknown option --polici; did you mean --policy?'],
    [['make-lazy', DUMP, 'OUT', '--dry-run=no'], '--dry-run: expected no value, found "no"'],
    [['make-lazy', DUMP, 'OUT', '--dry-run', '--dry-run'], '--dry-run: expected once'],
    [['make-lazy', DUMP, 'OUT', '--constructor'], 'unknown option --constructor'],
    [['make-lazy', DUMP, 'OUT', '-f'], 'unknown option -f'],
    [['make-lazy', DUMP, 'OUT', '-n'], 'unknown option -n'],
    [['make-lazy', DUMP, 'OUT', '--policy', 'lazy'], '--policy: expected auto, flags, vma, seed, found "lazy"'],
    [['make-lazy', DUMP, 'OUT', '--policy', 'vma', '--policy', 'seed'], '--policy: expected once'],
    [['make-lazy', DUMP, 'OUT', '--policy='], '--policy: expected a value'],
    [['make-lazy', DUMP, 'OUT', '--policy'], '--policy: expected a value'],
    [['make-lazy', DUMP, 'OUT', '--holes', 'keep'], '--holes: expected flag, drop, found "keep"'],
    [
      ['make-lazy', DUMP, 'OUT', '--page-size', '5000'],
      '--page-size: expected 4096, 8192, 16384, 32768, 65536, found 5000',
    ],
    [['make-lazy', DUMP, 'OUT', '--page-size', 'x'], '--page-size: expected a number, found "x"'],
    [['make-lazy', DUMP, 'OUT', '--page-size', '04096'], '--page-size: expected a number, found "04096"'],
    [['make-lazy', DUMP, 'OUT', '--page-size'], '--page-size: expected a number'],
    [['read'], 'expected DUMP, found nothing'],
    [['read', DUMP, 'x'], 'expected DUMP, found one more: x'],
    [['read', DUMP, '--page-size', '1'], '--page-size: expected 4096, 8192, 16384, 32768, 65536, found 1'],
    [['write'], 'expected OUT, found nothing'],
    [['write', 'OUT', 'x'], 'expected OUT, found one more: x'],
    [['write', 'OUT', '--pretty'], 'unknown option --pretty'],
    [['classify', 'x'], 'expected no arguments, found one more: x'],
    [['classify', '--policy', 'x'], '--policy: expected auto, flags, vma, seed, found "x"'],
    [['rebuild', '--holes', 'x'], '--holes: expected flag, drop, found "x"'],
    [['filter'], 'expected one of --drop and --keep, with lazy, eager or all'],
    [['filter', '--drop', 'lazy', '--keep', 'lazy'], 'expected one of --drop and --keep, with lazy, eager or all'],
    [['filter', '--drop', 'x'], '--drop: expected lazy, eager, all, found "x"'],
    [['filter', '--drop', 'all', '--pid', '0'], '--pid: expected a process id'],
    [['filter', '--drop', 'all', '--pid', 'x'], '--pid: expected a number, found "x"'],
    [['filter', '--drop', 'all', '--pid', '1k'], '--pid: expected a number, found "1k"'],
    [['filter', '--drop', 'all', '--pid', '1.5'], '--pid: expected a process id'],
    [
      ['filter', '--drop', 'all', '--kind', 'heaps'],
      `--kind: expected one of ${KINDS.slice(1).join(', ')}, found "heaps"`,
    ],
    [['filter', '--drop', 'all', '--range', '1'], `${RANGE}"1"`],
    [['filter', '--drop', 'all', '--range', '0x2000-0x1000'], `${RANGE}"0x2000-0x1000"`],
    [['filter', '--drop', 'all', '--range', '0x1000-0x1000'], `${RANGE}"0x1000-0x1000"`],
    [['filter', '--drop', 'all', '--range', '-0x1000'], `${RANGE}"-0x1000"`],
    [['run'], `${PIPELINE}, found nothing`],
    [['run', ''], `${PIPELINE}, found an empty argument`],
    [['run', 'classify |'], 'expected a stage (classify, filter, rebuild), found ""'],
    [['run', 'classify | write out'], 'expected a stage (classify, filter, rebuild), found "write"'],
    [['run', 'classify --nope'], 'unknown option --nope'],
    [['run', 'classify x'], 'expected no arguments, found one more: x'],
    [['run', 'filter'], 'expected one of --drop and --keep, with lazy, eager or all'],
    [['run', 'classify', 'rebuild'], `${PIPELINE}, found one more: rebuild`],
  ];

  const isStage = (word = '') => namesOf('stages').includes(word as CommandName);

  it.each(rows)('%j', async (words, error) => {
    const root = tempDir();
    const { code, stdout, stderr } = await cli(words.map((word) => (word === 'OUT' ? join(root, 'out') : word)));
    expect({ code, stdout, error: stderr.split('\n')[0] }).toEqual({
      code: 2,
      stdout: '',
      error: `pagepipe${isStage(words[0]) ? ` ${words[0]}` : ''}: ${error}`,
    });
    expect(readdirSync(root)).toEqual([]);
  });

  it('is one line and a hint, as a process', async () => {
    expect(await pagepipe(['make-lazy', DUMP])).toMatchObject({
      code: 2,
      stdout: '',
      stderr: 'pagepipe: expected OUT, found nothing\npagepipe: hint: pagepipe make-lazy --help\n',
    });
  });

  it('takes words behind -- as they are', async () => {
    const root = tempDir();
    expect((await cli(['make-lazy', '--', DUMP, join(root, '--out')])).code).toBe(0);
    expect(readdirSync(root)).toEqual(['--out']);
  });
});

/** A dump with all that a directory may hold beside images. */
function richDump(root: string): string {
  const dump = join(root, 'dump');
  writeDump(join(root, 'before'), { tasks: [{ pid: 7 }] });
  writeDump(dump, {
    tasks: [
      {
        pid: 7,
        vmas: [
          { start: 0x10000n, end: 0x20000n, ...FILE },
          { start: 0x20000n, end: 0x30000n, ...ANON },
        ],
        entries: [
          { vaddr: 0x10000n, pages: 2 },
          { vaddr: 0x20000n, pages: 1, flags: PE.PARENT | PE.LAZY },
        ],
      },
    ],
  });
  mkdirSync(join(dump, 'folder/deeper'), { recursive: true });
  writeFileSync(join(dump, 'folder/deeper/note'), 'hello');
  writeFileSync(join(dump, 'empty'), '');
  writeFileSync(join(dump, 'dump.log'), '(00.000000) a log\n');
  writeFileSync(join(dump, 'ein Name mit Ümlaut\nund Zeile'), 'x');
  symlinkSync('folder/deeper/note', join(dump, 'note'));
  symlinkSync('../../dump.log', join(dump, 'folder/deeper/log'));
  symlinkSync('nowhere', join(dump, 'dangling'));
  symlinkSync('../before', join(dump, 'parent'));
  chmodSync(join(dump, 'pages-1.img'), 0o600);
  chmodSync(join(dump, 'pagemap-7.img'), 0o640);
  chmodSync(join(dump, 'core-7.img'), 0o600);
  chmodSync(join(dump, 'empty'), 0o777);
  chmodSync(join(dump, 'folder/deeper/note'), 0o440);
  chmodSync(join(dump, 'folder/deeper'), 0o550);
  chmodSync(join(dump, 'folder'), 0o750);
  chmodSync(dump, 0o700);
  return dump;
}

/** `read DUMP | write OUT` in this process; `read` may have something to say. */
const NEVER_WITHOUT =
  'never restore this directory without --lazy-pages: its lazy pages are not in it, and CRIU would spin forever, ' +
  'or restore a process that computes on zeros';

async function readWrite(dump: string, out: string, stderr = ''): Promise<Outcome> {
  const stream = join(tempDir(), 'stream');
  const read = await cli(['read', dump], { stdout: stream });
  expect(read).toEqual({ code: 0, stdout: '', stderr });
  return cli(['write', out], { stdin: stream });
}

describe('read and write', () => {
  it.each(FIXTURES)('give the same bytes: %s', async (name) => {
    const { dump, out } = dumpAndOut(name);
    expect(await readWrite(dump, out)).toEqual({ code: 0, stdout: '', stderr: '' });
    expect(describeTree(out)).toEqual(describeTree(dump));
  });

  it.each(GENERATIONS.flatMap((generation) => [[generation, undefined] as const, [generation, 4] as const]))(
    'give the same bytes in the form of %s, %s pages in a block',
    async (generation, pagesPerBlock) => {
      const root = tempDir();
      const dump = join(root, 'dump');
      rewriteGeneration(
        fixture('mosaic-criu-4.2.1'),
        dump,
        generation,
        pagesPerBlock === undefined ? {} : { pagesPerBlock },
      );
      expect(await readWrite(dump, join(root, 'out'))).toMatchObject({ code: 0 });
      expect(describeTree(join(root, 'out'))).toEqual(describeTree(dump));
    },
  );

  it('keep modes as far as the umask allows, folders, links and files that are no images', async () => {
    const root = tempDir();
    const dump = richDump(root);
    const umask = process.umask(0);
    try {
      expect(await readWrite(dump, join(root, 'out'))).toEqual({ code: 0, stdout: '', stderr: '' });
    } finally {
      process.umask(umask);
    }
    const tree = describeTree(join(root, 'out'));
    expect(tree).toEqual(describeTree(dump));
    expect(tree).toContain('. 700');
    expect(tree).toContain('folder/deeper/ 550');
    expect(tree).toContain('note -> folder/deeper/note');
    expect(tree).toContain('parent -> ../before');
    expect(tree.find((line) => line.startsWith('pagemap-7.img'))).toMatch(/ 640 /);
    chmodSync(join(dump, 'folder/deeper'), 0o700);
    chmodSync(join(root, 'out/folder/deeper'), 0o700);
  });

  it('so does make-lazy', async () => {
    const root = tempDir();
    const dump = richDump(root);
    const umask = process.umask(0);
    try {
      expect(await cli(['make-lazy', dump, join(root, 'out'), '--json'])).toMatchObject({ code: 0, stderr: '' });
    } finally {
      process.umask(umask);
    }
    // There is nothing lazy in it but in its parent.
    expect(describeTree(join(root, 'out'))).toEqual(describeTree(dump));
    chmodSync(join(dump, 'folder/deeper'), 0o700);
    chmodSync(join(root, 'out/folder/deeper'), 0o700);
  });

  it('give the same bytes through a pipe', async () => {
    const { dump, out } = dumpAndOut('mosaic-criu-4.2.1');
    const script = '"$NODE" "$BIN" read "$1" | "$NODE" "$BIN" write "$2"';
    const env = { ...process.env, NODE: process.execPath, BIN };
    expect(await runProcess('sh', ['-c', script, 'sh', dump, out], { env })).toMatchObject({ code: 0, stderr: '' });
    expect(describeTree(out)).toEqual(describeTree(dump));
  });

  it('warn of what is no dump of its own', async () => {
    const { dump, out } = dumpAndOut('mosaic-criu-4.2.1');
    expect((await cli(['make-lazy', dump, out])).code).toBe(0);
    const said =
      'pagepipe read: warning: pagemap-15.img: 170 pages are not in this dump: it can only be restored lazily, ' +
      'by criu restore --lazy-pages with the full dump or a page server behind it\n';
    const stderr = `pagepipe write: warning: ${out}-2: ${NEVER_WITHOUT}\n`;
    expect(await readWrite(out, `${out}-2`, said)).toEqual({ code: 0, stdout: '', stderr });
    expect(describeTree(`${out}-2`)).toEqual(describeTree(out));
  });
});

describe('what cannot be carried', () => {
  const copy = async (dump: string, out: string) => {
    const outcome = await cli(['make-lazy', dump, out, '--quiet']);
    expect(outcome.code).toBe(0);
    return outcome.stderr;
  };
  const small = (root: string) => {
    writeDump(join(root, 'dump'), { tasks: [{ pid: 7 }] });
    return join(root, 'dump');
  };

  it('a socket is left out, and said', async () => {
    const root = tempDir();
    const dump = small(root);
    const server = createServer().listen(join(dump, 'lazy-pages.socket'));
    await once(server, 'listening');
    try {
      const stderr = await copy(dump, join(root, 'out'));
      expect(stderr).toBe('pagepipe: warning: lazy-pages.socket: left out, it is neither a file nor a link\n');
      expect(describeTree(join(root, 'out'))).toEqual(describeTree(dump).filter((line) => !line.endsWith('special')));
    } finally {
      server.close();
    }
  });

  it('a pipe is left out, and said; nobody waits for it', async () => {
    const root = tempDir();
    const dump = small(root);
    makePipe(join(dump, 'pages-9.img'));
    const stderr = await copy(dump, join(root, 'out'));
    expect(stderr).toBe('pagepipe: warning: pages-9.img: left out, it is neither a file nor a link\n');
  });

  it('a link that leads outside gives its content, or is left out', async () => {
    const root = tempDir();
    const dump = small(root);
    writeFileSync(join(root, 'config'), 'content');
    mkdirSync(join(root, 'folder'));
    symlinkSync('../config', join(dump, 'config'));
    symlinkSync('../folder', join(dump, 'folder'));
    symlinkSync('/nowhere/at/all', join(dump, 'nowhere'));
    expect((await copy(dump, join(root, 'out'))).split('\n').sort()).toEqual([
      '',
      'pagepipe: warning: folder: left out, a link that leads outside the dump',
      'pagepipe: warning: nowhere: left out, a link that leads outside the dump',
    ]);
    expect(lstatSync(join(root, 'out/config')).isFile()).toBe(true);
    expect(readFileSync(join(root, 'out/config'), 'utf8')).toBe('content');
    expect(existsSync(join(root, 'out/folder'))).toBe(false);
  });

  it('images may be links, their content is taken', async () => {
    const root = tempDir();
    const dump = small(root);
    const plain = describeTree(dump).filter((line) => line !== '. 755');
    for (const name of ['pages-1.img', 'pagemap-7.img', 'mm-7.img']) {
      renameSync(join(dump, name), join(root, name));
      symlinkSync(`../${name}`, join(dump, name));
    }
    expect(await copy(dump, join(root, 'out'))).toBe('');
    expect(describeTree(join(root, 'out'))).toEqual(expect.arrayContaining(plain));
  });

  it('a name that is not UTF-8 is left out, with a warning', async () => {
    const root = tempDir();
    const dump = small(root);
    writeFileSync(Buffer.concat([Buffer.from(`${dump}/na`), Buffer.of(0xff), Buffer.from('me')]), '');
    const { code, stderr } = await cli(['make-lazy', dump, join(root, 'out')]);
    expect(stderr.split('\n')[0]).toBe('pagepipe: warning: "naÿme": left out, its name is not UTF-8');
    expect(code).toBe(0);
    expect(readdirSync(join(root, 'out'))).toEqual(readdirSync(dump).filter((name) => !name.startsWith('na')));
  });
});

describe('pipelines', () => {
  const SEPARATE = [['classify'], ['filter', '--drop', 'lazy'], ['rebuild']];

  it('of five processes do what make-lazy does', async () => {
    const { dump, out } = dumpAndOut('family-criu-4.2.1');
    const stages = SEPARATE.map((words) => `"$NODE" "$BIN" ${words.join(' ')}`);
    const script = ['"$NODE" "$BIN" read "$1"', ...stages, '"$NODE" "$BIN" write "$2"'].join(' | ');
    const env = { ...process.env, NODE: process.execPath, BIN };
    const piped = await runProcess('sh', ['-c', script, 'sh', dump, `${out}-piped`], { env });
    const stderr = `pagepipe write: warning: ${out}-piped: ${NEVER_WITHOUT}\n`;
    expect(piped).toMatchObject({ code: 0, stdout: '', stderr });
    expect((await cli(['make-lazy', dump, out])).code).toBe(0);
    expect(describeTree(`${out}-piped`)).toEqual(describeTree(out));
  });

  const lost = (pages: number, kinds: string): string =>
    `warning: ${pages} pages were taken out that no lazy restore can fetch: ${kinds}\n`;

  it.each([
    [SEPARATE, ''],
    [
      [
        ['classify', '--policy', 'vma'],
        ['filter', '--keep', 'all', '--pid', '15', '--kind', 'heap'],
        ['rebuild', '--holes', 'drop'],
      ],
      lost(51, '21 file-private, 8 locked, 6 vdso, 16 shmem'),
    ],
    [[['filter', '--drop', 'all', '--range', '0x0-0x7f0000000000']], lost(34, '34 unknown')],
  ])('run does in one process what several do: %j', async (stages, warning) => {
    const root = tempDir();
    const file = (n: number) => join(root, `stream-${n}`);
    expect((await cli(['read', fixture('family-criu-4.2.1')], { stdout: file(0) })).code).toBe(0);
    for (const [i, words] of stages.entries()) {
      const outcome = await cli(words, { stdin: file(i), stdout: file(i + 1) });
      expect(outcome).toEqual({
        code: 0,
        stdout: '',
        stderr: words[0] === 'filter' && warning ? `pagepipe filter: ${warning}` : '',
      });
    }
    const pipeline = stages.map((words) => words.join(' ')).join(' | ');
    const outcome = await cli(['run', pipeline], { stdin: file(0), stdout: join(root, 'run') });
    expect(outcome).toEqual({ code: 0, stdout: '', stderr: warning && `pagepipe run: ${warning}` });
    expect(readFileSync(join(root, 'run')).equals(readFileSync(file(stages.length)))).toBe(true);
    expect(readFileSync(file(0)).equals(readFileSync(join(root, 'run')))).toBe(false);
  });

  it('fail where a stage before them fails', async () => {
    const root = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', root);
    writeFileSync(join(dump, 'pages-2.img'), '');
    const script = '"$NODE" "$BIN" read "$1" | "$NODE" "$BIN" classify | "$NODE" "$BIN" write "$2"';
    const env = { ...process.env, NODE: process.execPath, BIN };
    const { code, stderr } = await runProcess('sh', ['-c', script, 'sh', dump, join(root, 'out')], { env });
    expect(code).toBe(1);
    expect(stderr.split('\n').sort()).toEqual([
      '',
      'pagepipe classify: error: stdin: it is empty; expected a page stream',
      'pagepipe read: error: pages-2.img@0x0: expected 765952 bytes of pages by pagemap-15.img, found 0: pages are missing from entry 0 on',
      'pagepipe read: hint: pagepipe verify does all checks; --incomplete reads what can be read',
      'pagepipe write: error: stdin: it is empty; expected a page stream',
    ]);
    expect(readdirSync(root)).toEqual(['dump']);
  });
});
