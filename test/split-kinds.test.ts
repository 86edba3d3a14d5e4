/** split and merge wherever the dump and its halves are: archives, shards, pipes and page streams. */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { filesOf, packed, putAll, rawMembers, sha256Of, tar, writeShards } from './helpers/archives.js';
import { cli, type InProcessOptions } from './helpers/cli.js';
import { writeDump } from './helpers/dump-writer.js';
import { anyDump } from './helpers/random-dumps.js';
import { copyFixture, describeTree, fixture, openFiles, tempDir } from './helpers/temp.js';

const DUMP = 'mosaic-criu-4.2.1';

async function run(words: readonly string[], options: InProcessOptions = {}): Promise<void> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
}

/** A dump where it is: what a command takes for it. */
interface Place {
  path: string;
  stdin?: string;
  from?: string;
}

/** Puts a directory somewhere else. */
const PLACES = {
  directory: (dump: string): Place => ({ path: dump }),
  tar: (dump: string, at: string): Place => {
    writeFileSync(at, packed(dump));
    return { path: at };
  },
  'tar from a pipe': (dump: string, at: string): Place => {
    writeFileSync(at, packed(dump));
    return { path: '-', stdin: at };
  },
  gzip: (dump: string, at: string): Place => {
    writeFileSync(at, gzipSync(packed(dump), { level: 1 }));
    return { path: at };
  },
  'one shard': (dump: string, at: string): Place => {
    writeFileSync(at, writeShards(filesOf(dump))[0] as Buffer);
    return { path: at };
  },
  shards: (dump: string, at: string): Place => {
    const shards = putAll(dirname(at), `${basename(at)}-`, writeShards(filesOf(dump), { shards: 3 }));
    return { path: shards.join(','), from: 'shards' };
  },
  'page stream': async (dump: string, at: string): Promise<Place> => {
    await run(['read', dump], { stdout: at });
    return { path: '-', stdin: at };
  },
};
type PlaceName = keyof typeof PLACES;
const PLACE_NAMES = Object.keys(PLACES) as PlaceName[];

/** What halves may become. */
const SINKS = ['directory', 'tar', 'gzip', 'shards'] as const;
type Sink = (typeof SINKS)[number];

const insist = (option: string, { from }: Pick<Place, 'from'>): string[] => (from === undefined ? [] : [option, from]);
const onStdin = ({ stdin }: Place): InProcessOptions => (stdin === undefined ? {} : { stdin });

/** Splits a dump into halves of one kind; archives are compressed if the dump is. */
async function split(source: Place, kind: Sink, at: (name: string) => string, ...options: string[]) {
  const place = (half: string): Place =>
    kind === 'shards'
      ? { path: `${at(`${half}-a`)},${at(`${half}-b`)}`, from: 'shards' }
      : { path: at(`${half}.${kind}`) };
  const halves = { hot: place('hot'), cold: place('cold') };
  const to = kind === 'gzip' ? 'tar' : kind;
  const words = [source.path, halves.hot.path, halves.cold.path, '--to', to, ...insist('--from', source), ...options];
  await run(['split', ...words], onStdin(source));
  return halves;
}

async function merge(hot: Place, cold: Place, out: string, ...options: string[]): Promise<void> {
  const words = [...insist('--from', hot), ...insist('--cold-from', cold), ...options];
  await run(['merge', hot.path, cold.path, out, ...words], onStdin(hot));
}

describe('any dump, from anywhere to anywhere', () => {
  it('is the same again', async () => {
    const dir = tempDir();
    let count = 0;
    const law = fc.asyncProperty(
      anyDump,
      fc.constantFrom(...PLACE_NAMES),
      fc.constantFrom(...SINKS),
      fc.constantFrom('auto', 'flags', 'vma'),
      fc.constantFrom('0', '64'),
      async (spec, from, to, wanted, buffer) => {
        const at = (name: string) => join(dir, `${count}-${name}`);
        count++;
        writeDump(at('dump'), spec);
        const spill = ['--buffer', buffer, '--spill-dir', dir];
        const kind = from === 'gzip' && to === 'tar' ? 'gzip' : from !== 'gzip' && to === 'gzip' ? 'tar' : to;
        // By areas a block of several pages would have to be cut.
        const policy = wanted === 'vma' && spec.pagesPerBlock !== undefined ? 'auto' : wanted;
        const { hot, cold } = await split(
          await PLACES[from](at('dump'), at('in')),
          kind,
          at,
          '--policy',
          policy,
          ...spill,
        );
        await merge(hot, cold, at('out'), '--to', 'directory', ...spill);
        expect(sha256Of(filesOf(at('out')))).toEqual(sha256Of(filesOf(at('dump'))));
        expect(openFiles(dir)).toEqual([]);
      },
    );
    await fc.assert(law, { numRuns: 10 });
    expect(readdirSync(dir).filter((name) => name.startsWith('.'))).toEqual([]);
  });
});

describe('a dump of CRIU', () => {
  /** In a folder of its own, with its halves beside it. */
  async function halves() {
    const dir = tempDir();
    const at = (file: string) => join(dir, file);
    const dump = copyFixture(DUMP, dir);
    await run(['split', dump, at('hot'), at('cold')]);
    return { dir, at, dump, files: sha256Of(filesOf(dump)) };
  }

  it('has the same halves wherever it is', async () => {
    const { dir, at, dump } = await halves();
    for (const name of PLACE_NAMES) {
      const source = await PLACES[name](dump, at(`in ${name}`));
      const { hot, cold } = await split(source, 'directory', (half) => at(`${half} of ${name}`));
      // Shards keep no modes.
      const [one, other] = [hot, cold].map(({ path }) => sha256Of(filesOf(path)));
      expect(one, name).toEqual(sha256Of(filesOf(at('hot'))));
      expect(other, name).toEqual(sha256Of(filesOf(at('cold'))));
    }
    expect(openFiles(dir)).toEqual([]);
  });

  it.each(PLACE_NAMES)('is merged with a hot half as %s', async (name) => {
    const { at, files } = await halves();
    const hot = await PLACES[name](at('hot'), at('half'));
    await merge(hot, { path: at('cold') }, at('out'), '--to', 'directory');
    expect(sha256Of(filesOf(at('out')))).toEqual(files);
  });

  it.each(PLACE_NAMES)('is merged with a cold half as %s', async (name) => {
    const { at, files } = await halves();
    const cold = await PLACES[name](at('cold'), at('half'));
    const words = ['--spill-dir', at('.'), '--buffer', '0', ...insist('--cold-from', cold)];
    await run(['merge', at('hot'), cold.path, at('out'), ...words], onStdin(cold));
    expect(sha256Of(filesOf(at('out')))).toEqual(files);
  });

  it('is merged of page streams, also of one whose runs were cut and marked', async () => {
    const { at, files } = await halves();
    await run(['read', at('hot')], { stdout: at('stream') });
    await run(['merge', '-', at('cold'), at('out')], { stdin: at('stream') });
    expect(sha256Of(filesOf(at('out')))).toEqual(files);
    await run(['classify', '--policy', 'vma'], { stdin: at('stream'), stdout: at('classified') });
    await run(['merge', '-', at('cold'), at('out2')], { stdin: at('classified') });
    expect(sha256Of(filesOf(at('out2')))).toEqual(files);

    const damaged = readFileSync(at('stream'));
    // In the last page, behind which stand a check of 16 bytes or so and the end.
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 1000) ^ 1, damaged.length - 1000);
    writeFileSync(at('damaged'), damaged);
    const { code, stderr } = await cli(['merge', '-', at('cold'), at('out3')], { stdin: at('damaged') });
    expect([code, stderr]).toEqual([
      1,
      'pagepipe: error: pagemap-shmem-1181.img: the payload does not match its checksum\n',
    ]);
    expect(existsSync(at('out3'))).toBe(false);
  });

  it.each(['directory', 'tar from a pipe'] as const)(
    'goes on as a page stream, the cold half of a %s',
    async (name) => {
      const { at, dump } = await halves();
      const source = await PLACES[name](dump, at('in'));
      const words = ['split', source.path, at('hot2'), '--cold', '-', '--to', 'directory'];
      await run(words, { ...onStdin(source), stdout: at('stream') });
      await run(['write', at('cold2')], { stdin: at('stream') });
      expect(describeTree(at('hot2')).slice(1)).toEqual(describeTree(at('hot')).slice(1));
      expect(describeTree(at('cold2')).slice(1)).toEqual(describeTree(at('cold')).slice(1));
    },
  );

  it('goes to stdout, either half and all of it', async () => {
    const { at, dump, files } = await halves();
    await run(['split', dump, '-', at('cold2'), '--to', 'tar'], { stdout: at('hot.tar') });
    await run(['split', dump, at('hot2'), '-', '--to', 'tar'], { stdout: at('cold.tar') });
    await run(['merge', at('hot.tar'), at('cold.tar'), '-', '--to', 'tar'], { stdout: at('out.tar') });
    mkdirSync(at('out'));
    tar(at('out'), '-xf', at('out.tar'));
    expect(sha256Of(filesOf(at('out')))).toEqual(files);
    expect(describeTree(at('cold2'))).toEqual(describeTree(at('cold')));
    expect(describeTree(at('hot2'))).toEqual(describeTree(at('hot')));
  });
});

describe('an archive with more in it than a dump', () => {
  /** What an engine exports; images and other things, in no order. */
  function archive(dir: string, ...words: string[]): string {
    const folder = join(dir, 'in');
    mkdirSync(folder);
    cpSync(fixture(DUMP), join(folder, 'checkpoint'), { recursive: true });
    writeFileSync(join(folder, 'config.dump'), '{"name":"container"}', { mode: 0o640 });
    writeFileSync(join(folder, 'rootfs-diff.tar'), Buffer.alloc(70_000, 'diff'));
    symlinkSync('/outside/of/all', join(folder, 'link'));
    symlinkSync('dump.log', join(folder, 'checkpoint/latest.log'));
    const members = ['config.dump', 'checkpoint', 'rootfs-diff.tar', 'link'];
    tar(folder, '-cf', join(dir, 'in.tar'), ...words, ...members);
    return join(dir, 'in.tar');
  }

  const plain = (path: string): Buffer => {
    const bytes = readFileSync(path);
    return bytes[0] === 0x1f ? gunzipSync(bytes) : bytes;
  };
  const members = (path: string) =>
    rawMembers(plain(path)).map(({ name, header, data }) => [name, header.toString('hex'), data.toString('hex')]);

  it.each([
    ['gnu', ['--format=gnu']],
    ['pax, with owners by number', ['--format=pax', '--numeric-owner', '--owner=1234', '--group=5678']],
    ['gzip', ['--format=ustar', '--gzip']],
  ])('%s: split and merged has the same members', async (_, words) => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const path = archive(dir, ...words);
    await run(['split', path, at('hot.tar'), at('cold.tar')]);
    await merge({ path: at('hot.tar') }, { path: at('cold.tar') }, at('out.tar'));
    // A pagemap stands right before its pages.
    expect(members(at('out.tar')).sort()).toEqual(members(path).sort());
  });

  it('has all of it with the hot half, and the cold one in the same folder', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    await run(['split', archive(dir), at('hot.tar'), at('cold.tar')]);
    const names = (path: string) => rawMembers(readFileSync(path)).map(({ name }) => name);
    expect(names(at('hot.tar')).sort()).toEqual(names(at('in.tar')).sort());
    const cold = names(at('cold.tar'));
    expect(cold).toContain('checkpoint/original-pagemap-15.img');
    expect(cold.filter((name) => !name.startsWith('checkpoint/'))).toEqual([]);
    // A directory has no place for what is beside a dump.
    await merge({ path: at('hot.tar') }, { path: at('cold.tar') }, at('out'), '--to', 'directory');
    expect(describeTree(at('out')).slice(1)).toEqual(describeTree(at('in/checkpoint')).slice(1));
  });

  it('is not where its halves go, and neither are they where it goes', async () => {
    const dir = tempDir();
    const at = (name: string) => join(dir, name);
    const path = archive(dir);
    const failed = async (words: string[], place: string) => {
      const { code, stderr } = await cli([...words, '--force']);
      expect([code, stderr]).toEqual([
        1,
        `pagepipe: error: ${place}: the output must be outside of what is read: ${place}\n`,
      ]);
    };
    await failed(['split', path, path, at('cold.tar')], path);
    await failed(['split', path, at('hot.tar'), path], path);
    expect(readdirSync(dir).sort()).toEqual(['in', 'in.tar']);
    await run(['split', path, at('hot.tar'), at('cold.tar')]);
    const before = describeTree(dir);
    for (const half of ['hot.tar', 'cold.tar'])
      await failed(['merge', at('hot.tar'), at('cold.tar'), at(half)], at(half));
    expect(describeTree(dir)).toEqual(before);
  });
});
