import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli, type Outcome } from './helpers/cli.js';
import { GENERATIONS, rewriteGeneration } from './helpers/dump-writer.js';
import { fixture, tempDir } from './helpers/temp.js';

const TOPICS = ['ps', 'fds', 'mems', 'rss'] as const;
type Topic = (typeof TOPICS)[number];

const REFERENCES = fixture('crit-x');

/** Every dump that has images. */
const DUMPS = [
  'family-criu-4.2.1',
  'mosaic-criu-4.1.1',
  'mosaic-criu-4.2.1',
  ...['mprotect00', 'socket_queues'].flatMap((name) => [1, 2, 3].map((step) => `chain/${name}/${step}`)),
  ...readdirSync(fixture('zdtm')).map((name) => `zdtm/${name}`),
];
const isWhole = (dump: string) => existsSync(join(fixture(dump), 'pstree.img'));
const WHOLE = DUMPS.filter(isWhole);

/** What crit says; undefined where it fails. */
function reference(dump: string, topic: Topic): string | undefined {
  const path = join(REFERENCES, dump, `${topic}.txt`);
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined;
}

async function explore(dump: string, topic: Topic, ...options: string[]): Promise<string> {
  const { code, stderr, text } = await x(dump, topic, ...options);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return text;
}

async function x(...words: string[]): Promise<Outcome & { text: string }> {
  const stdout = join(tempDir(), 'stdout');
  const outcome = await cli(['x', ...words], { stdout });
  expect(outcome.stdout).toBe('');
  return { ...outcome, text: readFileSync(stdout, 'utf8') };
}

interface Process {
  pid: number;
  ppid: number;
  comm: string;
  state: string;
  threads: number[];
  fds: { fd: number; type: string; id: number; path?: string }[];
  cwd: string | null;
  root: string | null;
  exe: string | null;
  areas: Area[];
  pages: number;
}

interface Area {
  start: string;
  end: string;
  bytes: number;
  prot: string;
  kind: string;
  file: string | null;
  pages: number;
  runs: { start: string; pages: number; flags: string[] }[];
}

const exploreJson = async (dump: string, topic: Topic): Promise<Process[]> =>
  JSON.parse(await explore(fixture(dump), topic, '--json'));

describe('text', () => {
  test('the references are all there', () => {
    const found = WHOLE.flatMap((dump) => TOPICS.filter((topic) => reference(dump, topic) !== undefined));
    expect(found).toHaveLength(4 * WHOLE.length - 6);
  });

  for (const topic of TOPICS) {
    test.each(WHOLE.filter((dump) => reference(dump, topic) !== undefined))(
      `${topic} of %s as crit has it`,
      async (dump) => {
        expect(await explore(fixture(dump), topic)).toBe(reference(dump, topic));
      },
    );
  }

  test('a zombie has an id and nothing else, where crit fails', async () => {
    const family = fixture('family-criu-4.2.1');
    expect(await explore(family, 'fds')).toBe(
      `${['15', '19', '20'].map((pid) => `${pid}\n${FAMILY_FDS}`).join('')}21\n`,
    );
    for (const topic of ['fds', 'mems', 'rss'] as const) {
      const lines = (await explore(family, topic)).split('\n');
      expect(lines.filter((line) => /^\d/.test(line))).toEqual(['15', '19', '20', '21']);
      expect(lines.slice(-2)).toEqual(['21', '']);
      const forked = (await explore(fixture('zdtm/h-transition_fork'), topic)).split('\n');
      expect(forked).toContain('486');
    }
  });

  test('what a zombie lacks does not change what is said of others', async () => {
    // The program of this dump is that of family, in one process: its areas of the program are the same.
    const program = (text: string) => text.split('\n').filter((line) => line.includes('/app/mosaic'));
    const family = program(await explore(fixture('family-criu-4.2.1'), 'mems'));
    expect(family.slice(0, 6)).toEqual(program(reference('mosaic-criu-4.2.1', 'mems') as string).slice(0, 6));
  });

  test.each(GENERATIONS)('pages are counted in pagemaps of generation %s', async (generation) => {
    const dump = join(tempDir(), 'dump');
    rewriteGeneration(fixture('mosaic-criu-4.2.1'), dump, generation);
    expect(await explore(dump, 'rss')).toBe(reference('mosaic-criu-4.2.1', 'rss'));
  });

  test.each(DUMPS.filter((dump) => !isWhole(dump)))('no processes in %s', async (dump) => {
    for (const topic of TOPICS) {
      expect(await x(fixture(dump), topic)).toMatchObject({
        code: 1,
        stderr:
          'pagepipe: error: pstree.img: the image is missing; every dump of processes has it\n' +
          'pagepipe: hint: a pre-dump holds memory alone: explore the last dump of its chain\n',
        text: '',
      });
    }
  });
});

const FAMILY_FDS = [
  '      0: /dev/null',
  '      1: /dev/null',
  '      2: /dev/null',
  '      3: /tmp/out',
  '    cwd: /',
  '   root: /',
]
  .map((line) => `\t${line}\n`)
  .join('');

describe('JSON says what the text says', () => {
  test.each(WHOLE)('ps of %s', async (dump) => {
    const text = await explore(fixture(dump), 'ps');
    const processes = await exploreJson(dump, 'ps');
    const rows = text
      .split('\n')
      .slice(1, -1)
      .map((line) => [Number(line.slice(0, 7)), line.slice(24).trim()]);
    expect(new Map(processes.map(({ pid, comm }) => [pid, comm]))).toEqual(new Map(rows as [number, string][]));
    for (const { pid, ppid, state, threads } of processes) {
      expect(['alive', 'stopped', 'zombie']).toContain(state);
      expect(threads.includes(pid)).toBe(state !== 'zombie');
      expect(ppid === 0 || processes.some((other) => other.pid === ppid)).toBe(true);
    }
  });

  test.each(WHOLE)('fds of %s', async (dump) => {
    const text = await explore(fixture(dump), 'fds');
    const said = (await exploreJson(dump, 'fds')).map(({ pid, fds, cwd, root, exe }) => {
      expect(exe === null).toBe(cwd === null);
      const places = cwd === null ? [] : [`\t    cwd: ${cwd}\n`, `\t   root: ${root}\n`];
      const files = fds.map((entry) => `\t${String(entry.fd).padStart(7)}: ${fileText(entry)}\n`);
      return [`${pid}\n`, ...files, ...places].join('');
    });
    expect(said.join('')).toBe(text);
  });

  function fileText(entry: { type: string; id: number; path?: string | null; pipe?: number; unix?: object }): string {
    if (entry.type === 'REG') return entry.path ?? 'unknown path';
    if (entry.type === 'PIPE') return `pipe[${entry.pipe}]`;
    if (entry.type !== 'UNIXSK') return `${entry.type}.${entry.id}`;
    const { ino, peer, name } = entry.unix as { ino: number; peer: number; name: string | null };
    return `unix[${ino} (${peer})${name === null ? '' : ` ${name}=00`}]`;
  }

  test.each(WHOLE)('mems of %s', async (dump) => {
    const text = await explore(fixture(dump), 'mems');
    const said = (await exploreJson(dump, 'mems')).flatMap(({ pid, exe, areas }) => [
      String(pid),
      ...(exe === null ? [] : [`\t${'exe'.padEnd(40)}${exe}`]),
      ...areas.map(({ start, end, prot, bytes }) => {
        expect(BigInt(end) - BigInt(start)).toBe(BigInt(bytes));
        const addresses = [start, end].map((address) => address.slice(2).padStart(8, '0')).join('-');
        return `\t${addresses.padEnd(36)}${prot}`;
      }),
    ]);
    const lines = text.split('\n').slice(0, -1);
    const isArea = (line: string) => /^\t[\da-f]+-/.test(line);
    const areaPart = (line: string) => (isArea(line) ? line.slice(0, 40) : line);
    expect(said).toEqual(lines.map(areaPart));
    const files = (await exploreJson(dump, 'mems')).flatMap(({ areas }) => areas.flatMap(({ file }) => file ?? []));
    const named = lines.filter((line) => isArea(line) && line[41] === '/');
    expect(files).toEqual(named.map((line) => line.slice(41).replace(/( \+ 0x[\da-f]+)?( \(s\))?( \*)?$/, '')));
  });

  test.each(WHOLE)('rss of %s', async (dump) => {
    const entries = (await explore(fixture(dump), 'rss')).matchAll(/^\t([\da-f]+) \/ (\d+)/gm);
    const pages = [...entries].flatMap(([, vaddr, count]) =>
      Array.from({ length: Number(count) }, (_, i) => BigInt(`0x${vaddr}`) + BigInt(i) * 4096n),
    );
    const said: bigint[] = [];
    for (const process of await exploreJson(dump, 'rss')) {
      expect(process.pages).toBe(process.areas.reduce((sum, area) => sum + area.pages, 0));
      for (const { start, end, pages: count, runs } of process.areas) {
        expect(count).toBe(runs.reduce((sum, run) => sum + run.pages, 0));
        for (const run of runs) {
          expect(BigInt(run.start)).toBeGreaterThanOrEqual(BigInt(start));
          expect(BigInt(run.start) + BigInt(run.pages) * 4096n).toBeLessThanOrEqual(BigInt(end));
          for (let i = 0; i < run.pages; i++) said.push(BigInt(run.start) + BigInt(i) * 4096n);
        }
      }
    }
    expect(said).toEqual(pages);
  });

  test('pages that are elsewhere', async () => {
    const flags = async (dump: string) =>
      new Set(
        (await exploreJson(dump, 'rss')).flatMap(({ areas }) =>
          areas.flatMap(({ runs }) => runs.map((run) => run.flags.join('|'))),
        ),
      );
    expect(await flags('zdtm/lazymig-ns-maps00')).toContain('LAZY');
    expect(await flags('chain/mprotect00/3')).toContain('PARENT');
    expect(await flags('mosaic-criu-4.2.1')).toEqual(new Set(['PRESENT', 'LAZY|PRESENT']));
  });
});

describe('usage', () => {
  const mosaic = fixture('mosaic-criu-4.2.1');
  const hint = 'pagepipe: hint: pagepipe x --help\n';
  test.each([
    [['x'], 'expected DUMP, found nothing'],
    [['x', mosaic], 'expected ps, fds, mems, rss, found nothing'],
    [['x', mosaic, 'pages'], 'expected ps, fds, mems, rss, found "pages"'],
    [['x', mosaic, 'toString'], 'expected ps, fds, mems, rss, found "toString"'],
    [['x', mosaic, 'rss', '--page-size', '5'], '--page-size: expected 4096, 8192, 16384, 32768, 65536, found 5'],
    [['x', mosaic, 'rss', '--pretty'], 'unknown option --pretty'],
  ])('%j', async (words, message) => {
    expect(await cli(words)).toEqual({ code: 2, stdout: '', stderr: `pagepipe: ${message}\n${hint}` });
  });

  test('the page size of other machines', async () => {
    const areas = async (...options: string[]) => (await explore(mosaic, 'rss', ...options)).match(/ [\da-f]{8,} \//g);
    expect(await areas('--page-size', '4096')).toEqual(await areas());
    expect((await areas('--page-size', '65536'))?.length).toBeGreaterThan((await areas())?.length as number);
  });

  test('no directory', async () => {
    expect(await cli(['x', '/nowhere/dump', 'ps'])).toMatchObject({
      code: 1,
      stderr: 'pagepipe: error: /nowhere/dump: no such file or directory (ENOENT)\n',
    });
    const file = join(mosaic, 'pstree.img');
    expect(await cli(['x', file, 'ps'])).toMatchObject({
      code: 1,
      stderr: `pagepipe: error: ${file}: expected a dump directory, tar, shards or a page stream, found an image\npagepipe: hint: name the directory that it is in\n`,
    });
  });

  test('help', async () => {
    const { code, stdout } = await cli(['x', '--help']);
    expect(code).toBe(0);
    for (const topic of TOPICS) expect(stdout).toContain(`pagepipe x DUMP ${topic}`);
  });
});
