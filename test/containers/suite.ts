/**
 * What holds of every container of a dump, whoever made it: it reads as the dump that is in it, however its bytes arrive;
 * what the code writes reads back the same; and what is cut off, hostile or cannot be read is one error that names the file.
 * `containers.test.ts` lists the containers.
 */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, onTestFinished } from 'vitest';
import { openRandom } from '../../src/arrival/open.js';
import { diffDumps } from '../../src/diff/diff.js';
import type { DumpFiles } from '../../src/dump/files.js';
import { InternalError } from '../../src/errors.js';
import { filesOf } from '../helpers/archives.js';
import { cli, type InProcessOptions } from '../helpers/cli.js';
import { contentOf, directory, openSource } from '../helpers/dump-files.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { type Call, faults } from '../helpers/faults.js';
import { anyDump } from '../helpers/random-dumps.js';
import { describeTree, FIXTURES, fixture, openFiles, tempDir } from '../helpers/temp.js';

/** All that is said of a container that is cut off, without the place. */
const CUT = new RegExp(
  `^in\\d?: (${[
    'it is empty; expected a dump directory, tar, shards or a page stream',
    'expected a dump directory, tar, shards or a page stream, found none of them',
    'expected \\d+ more bytes of a (file|header), found the end of the archive',
    'expected (an extension|the end of a block), found something else',
    'the gzip data is cut off or damaged after \\d+ plain bytes: unexpected end of file',
    'the zstd data is cut off or damaged after \\d+ plain bytes: zstd ended with exit code 1',
    'expected \\d+ more bytes of pages-1\\.img, found the end of the shard',
    'expected a marker, found the end of the shard',
    'marker \\d+ is in no shard: one is cut off or missing',
    'expected (\\d+ more bytes of payload|more frames and an end), found the end of the input: the stream was cut',
  ].join('|')})$`,
);

/** A file or link with a name of its own choice. */
export interface RawFile {
  name: string;
  bytes?: Uint8Array;
  /** Of a link. */
  target?: string;
}

/** A place for containers that is not the disk. */
export interface Store {
  /** The name in the store that is to a path what the path is on the disk. */
  nameOf(path: string): string;
  /** Puts a file or a folder under this name. */
  upload(path: string): Promise<void>;
  /** All that is there below the name of a folder. */
  list(path: string): Promise<readonly string[]>;
}

export interface Container {
  /** How many files it is in. */
  shards?: number;
  /** Whether it is open to random access. */
  isRandom: boolean;
  /** Whether it has folders, links and modes. */
  hasTrees: boolean;
  /** Bytes at its end that it can do without. */
  spareBytes?: number;
  /**
   * How far apart it is cut, if not at every block of 512 bytes. A program that unpacks it says the same of each cut, and from a
   * store it is read by the code that reads it from the disk.
   */
  cutEveryBytes?: number;
  /** The container of files, made without the code under test; a directory has none. */
  pack?(files: readonly RawFile[]): readonly Uint8Array[];
  /** Of a dump with folders and links; without it, of its files. */
  packTree?(dump: string): Promise<readonly Uint8Array[]>;
  /** Where it is, if that is not the disk. */
  store?: Store;
  /** The words that write it from a source; without a place among them, it goes to stdout. */
  write(source: readonly string[], places: string): readonly string[];
}

const MOSAIC = 'mosaic-criu-4.2.1';
const DUMPS = FIXTURES.filter((name) => !name.startsWith('chain/'));

/** The calls that opening and reading make. */
const READ_CALLS: readonly Call[] = ['openSync', 'readSync', 'writeSync', 'statSync', 'fstatSync'];

const SMALL = 'the small dump';

/** The smallest dump that is one. */
function smallDump(dir: string): string {
  const dump = join(dir, 'dump');
  const vma = { start: 0x10000n, end: 0x14000n, ...ANON };
  writeDump(dump, { tasks: [{ pid: 7, vmas: [vma], entries: [{ vaddr: 0x10000n, pages: 2 }] }] });
  return dump;
}

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex');

async function run(words: readonly string[], options: InProcessOptions = {}): Promise<string> {
  const { code, stderr } = await cli(words, options);
  expect(code, stderr).toBe(0);
  return stderr;
}

/** What `x` prints of a dump, by topic, and `search` finds in its pages. */
async function explored([path = '', ...options]: readonly string[]): Promise<Record<string, string>> {
  const stdout = join(tempDir(), 'stdout');
  const said: Record<string, string> = {};
  for (const topic of ['ps', 'fds', 'mems', 'rss']) {
    await run(['x', path, topic, ...options], { stdout });
    said[topic] = readFileSync(stdout, 'utf8');
  }
  await run(['search', path, 'mosaic', ...options], { stdout });
  said['search'] = readFileSync(stdout, 'utf8');
  return said;
}

let mosaicExplored: Promise<Record<string, string>> | undefined;

/** The same of the directory: once for all containers. */
function exploredMosaic(): Promise<Record<string, string>> {
  mosaicExplored ??= explored([fixture(MOSAIC)]);
  return mosaicExplored;
}

export function containerSuite(container: Container): void {
  const { isRandom, hasTrees, shards = 1, pack, store } = container;
  const canBeStdin = pack !== undefined && shards === 1 && !store;

  /** Where the container is in a folder, as a command takes it. */
  const placesIn = (dir: string, name = 'in'): string[] =>
    Array.from({ length: shards }, (_, i) => join(dir, shards === 1 ? name : `${name}${i}`));
  const wordsOf = (places: readonly string[]): string[] =>
    places.length === 1 ? [...places] : [places.join(','), '--from', 'shards'];

  const nameOf = (path: string): string => store?.nameOf(path) ?? path;

  /** Files or a folder as the container has them. */
  const placed = async (paths: readonly string[]): Promise<string[]> => {
    for (const path of paths) await store?.upload(path);
    return paths.map(nameOf);
  };

  function put(parts: readonly Uint8Array[], dir: string): Promise<string[]> {
    const places = placesIn(dir);
    for (const [i, place] of places.entries()) writeFileSync(place, parts[i] as Uint8Array);
    return placed(places);
  }

  /** What was made of the fixtures and of the small dump: once for all tests. */
  const packed = new Map<string, readonly Uint8Array[]>();

  const filesToPack = (dump: string): RawFile[] => [...filesOf(dump)].map(([name, bytes]) => ({ name, bytes }));

  const packTree = async (dump: string): Promise<readonly Uint8Array[]> =>
    (await container.packTree?.(dump)) ?? pack?.(filesToPack(dump)) ?? [];

  /** A dump in the container, made by hand. */
  const made = async (dump: string, dir: string): Promise<string[]> =>
    pack ? put(await packTree(dump), dir) : placed([dump]);

  /** The same of a dump that never changes, by its name. */
  async function madeOnce(name: string, dir: string): Promise<string[]> {
    const dump = name === SMALL ? smallDump(dir) : fixture(name);
    if (!pack) return placed([dump]);
    const parts = packed.get(name) ?? (await packTree(dump));
    packed.set(name, parts);
    return put(parts, dir);
  }

  /** A dump in the container, written by the code under test. */
  async function written(dump: string, dir: string, name: string): Promise<string[]> {
    const places = placesIn(dir, name).map(nameOf);
    const words = container.write([dump], places.join(','));
    await run(words, words.includes(places.join(',')) ? {} : { stdout: places[0] as string });
    return places;
  }

  const open = (places: readonly string[], options: Parameters<typeof openSource>[1] = {}): Promise<DumpFiles> =>
    openSource(places[0] as string, { ...(shards > 1 ? { shards: places } : {}), ...options });

  /** What is in a dump; of a container that has no modes, without them. */
  const contents = (path: string): string[] =>
    describeTree(path)
      .slice(1)
      .map((line) => (hasTrees ? line : line.replace(/ \d+ /, ' ')));

  /** Names, kinds, modes, targets and bytes. */
  const filesIn = (files: DumpFiles) =>
    files
      .entries()
      .filter(({ name }) => !name.startsWith('../'))
      .map(({ name, kind, mode, size, target }) => ({
        name,
        kind,
        size,
        ...(hasTrees && kind !== 'link' ? { mode } : {}),
        ...(target ? { target: Buffer.from(target).toString() } : {}),
        ...(kind === 'regular' ? { bytes: sha1(contentOf(files, name)) } : {}),
      }))
      .sort((a, b) => (a.name < b.name ? -1 : 1));

  /** The same of a directory. */
  function treeOf(path: string) {
    const files = directory(path);
    try {
      return filesIn(files);
    } finally {
      files.close();
    }
  }

  /** One line of an error, which names a file; what is there stays, and nothing else. */
  async function refused(dir: string, words: readonly string[], options: InProcessOptions = {}): Promise<string> {
    const before = describeTree(dir);
    const { code, stderr, stdout } = await cli(['copy', ...words, '--to', 'directory'], options);
    expect([code, stdout]).toEqual([1, '']);
    const [, message] = /^pagepipe: error: ([^\n]+)\n(?:pagepipe: hint: [^\n]*\n)?$/.exec(stderr) ?? [];
    expect(message, stderr).toBeDefined();
    expect(describeTree(dir)).toEqual(before);
    expect(openFiles(dir)).toEqual([]);
    return (message as string)
      .replace(/^s3:\/\/[^/]+\/+/, '/')
      .replace(`${dir}/`, '')
      .replace(/@0x[0-9a-f]+:/, ':');
  }

  describe('a dump that others put in it', () => {
    it.each(DUMPS)('reads as it is: %s', async (name) => {
      const dir = tempDir();
      const places = await madeOnce(name, dir);
      const files = await open(places, { pages: 'hold', budget: { bytes: 0, directory: dir } });
      onTestFinished(() => files.close());
      expect(filesIn(files)).toEqual(treeOf(fixture(name)));
      if (name !== MOSAIC) return;
      // What is printed depends on the files alone, which are the same.
      expect(await explored(wordsOf(places))).toEqual(await exploredMosaic());
      const original = directory(fixture(name));
      onTestFinished(() => original.close());
      expect([...diffDumps(original, files)]).toEqual([]);
    });

    it('has its folders, links and modes, or is of files alone', async () => {
      const dir = tempDir();
      const dump = smallDump(dir);
      if (hasTrees) {
        mkdirSync(join(dump, 'folder'), { mode: 0o750 });
        writeFileSync(join(dump, 'folder/note'), 'hello', { mode: 0o400 });
        for (const [target, link] of Object.entries({
          'folder/note': 'link',
          link: 'second',
          gone: 'broken',
          loop: 'loop',
        })) {
          symlinkSync(target, join(dump, link));
        }
      }
      const places = await made(dump, dir);
      const files = await open(places, { pages: 'hold' });
      expect(filesIn(files)).toEqual(treeOf(dump));
      if (hasTrees) expect(contentOf(files, 'second').toString()).toBe('hello');
      for (const name of ['broken', 'loop', 'folder', 'none']) expect(files.stat(name)).toBeUndefined();
      files.close();
      await run(['copy', ...wordsOf(places), join(dir, 'out'), '--to', 'directory']);
      expect(contents(join(dir, 'out'))).toEqual(contents(dump));
      const again = wordsOf(await written(join(dir, 'out'), dir, 'again'));
      await run(['copy', ...again, join(dir, 'last'), '--to', 'directory']);
      expect(contents(join(dir, 'last'))).toEqual(contents(dump));
      expect(openFiles(dir)).toEqual([]);
    });

    it.each([13, 4095])('reads the same in reads and writes of at most %i bytes', async (bytes) => {
      const dir = tempDir();
      const places = await madeOnce(SMALL, dir);
      const dump = join(dir, 'dump');
      faults.shorten(bytes);
      const files = await open(places, { pages: 'hold', budget: { bytes: 0, directory: dir } });
      const found = filesIn(files);
      files.close();
      await run(['copy', ...wordsOf(places), join(dir, 'out'), '--to', 'directory']);
      if (canBeStdin) {
        await run(['copy', '-', join(dir, 'piped'), '--to', 'directory'], { stdin: places[0] as string });
      }
      faults.disarm();
      expect(found).toEqual(treeOf(dump));
      expect(contents(join(dir, 'out'))).toEqual(contents(dump));
      if (canBeStdin) expect(contents(join(dir, 'piped'))).toEqual(contents(dump));
    });

    it.each(READ_CALLS)('is an error that names a file when the nth %s fails, for every n', async (call) => {
      const dir = tempDir();
      mkdirSync(join(dir, 'spill'));
      const places = await madeOnce(SMALL, dir);
      const readAll = async () => {
        const files = await open(places, { pages: 'hold', budget: { bytes: 0, directory: join(dir, 'spill') } });
        try {
          filesIn(files);
        } finally {
          files.close();
        }
      };
      const before = describeTree(dir);
      faults.count(call);
      await readAll();
      const total = faults.disarm();
      for (let nth = 1; nth <= total; nth++) {
        faults.fail(call, nth);
        const error = await readAll().then(() => undefined, String);
        const where = `${call} ${nth}: ${faults.lastFailure}`;
        faults.disarm();
        expect(error, where).toMatch(/^DumpError: \S[^\n]*: input\/output error \(EIO\)$/);
        expect(openFiles(dir), where).toEqual([]);
      }
      expect(describeTree(dir)).toEqual(before);
    });

    it('is random access, or is read from front to back with its pages counted or held', async () => {
      const dir = tempDir();
      const places = await madeOnce(MOSAIC, dir);
      const random = await openRandom(places[0] as string, shards > 1 ? { shards: places } : {});
      random?.close();
      expect(random !== undefined).toBe(isRandom);
      const counted = await open(places);
      onTestFinished(() => counted.close());
      expect(counted.stat('pages-2.img')?.size).toBe(765952);
      const page = () => counted.readSome('pages-2.img', new Uint8Array(1), 0);
      if (isRandom) return expect(page()).toBe(1);
      expect(page).toThrow(InternalError);
      if (shards > 1) return;
      expect(await cli(['serve', places[0] as string])).toEqual({
        code: 1,
        stdout: '',
        stderr: `pagepipe: error: ${places[0]}: expected a directory or a plain tar archive, found another file\npagepipe: hint: what is compressed or in shards is not open to random access: pagepipe copy DUMP OUT\n`,
      });
    });
  });

  describe('a dump that is written', () => {
    it('reads back the same, whatever is in it', async () => {
      const dir = tempDir();
      let count = 0;
      await fc.assert(
        fc.asyncProperty(anyDump, async (spec) => {
          const dump = join(dir, `dump${count}`);
          writeDump(dump, spec);
          const places = await written(dump, dir, `written${count}`);
          const out = join(dir, `out${count++}`);
          await run(['copy', ...wordsOf(places.toReversed()), out, '--to', 'directory']);
          expect(contents(out)).toEqual(contents(dump));
        }),
        { numRuns: 5 },
      );
      expect(openFiles(dir)).toEqual([]);
    });

    it('appears as a whole or not at all', async () => {
      const dir = tempDir();
      const dump = smallDump(dir);
      const before = [describeTree(dir), await store?.list(dir)];
      const places = placesIn(dir, 'out').map(nameOf);
      const words = container.write([dump], places.join(','));
      if (!words.includes(places.join(','))) return;
      const aborted = AbortSignal.abort(new Error('enough'));
      expect((await cli(words, { signal: aborted })).code).not.toBe(0);
      expect([describeTree(dir), await store?.list(dir)]).toEqual(before);
      expect(openFiles(dir)).toEqual([]);
    });
  });

  if (!pack) return;

  describe('a dump that cannot be trusted', () => {
    it('is refused wherever it is cut', async () => {
      await madeOnce(SMALL, tempDir());
      const parts = packed.get(SMALL) as readonly Uint8Array[];
      const dir = tempDir();
      const out = join(dir, 'out');
      for (const [i, whole] of parts.entries()) {
        const last = whole.length - (container.spareBytes ?? 0);
        const cuts = new Set([0, 1, 7, last - 1, last - 2, last - 5, last - 9]);
        for (let at = 0; at < last; at += container.cutEveryBytes ?? 512)
          for (const cut of [at - 1, at + 1]) cuts.add(cut);
        for (const cut of [...cuts].filter((length) => length >= 0 && length < last)) {
          const places = await put(parts.with(i, whole.subarray(0, cut)), dir);
          const message = await refused(dir, [...wordsOf(places), out]);
          expect(message, `cut at ${cut}`).toMatch(CUT);
        }
      }
    });

    const names = ['../x', '/etc/x', 'a/../b', 'a//b', 'a/..'];
    it.each(names)('is refused with the name %j', async (name) => {
      const dir = tempDir();
      const files = filesToPack(smallDump(dir));
      const places = await put(pack([...files, { name, bytes: Buffer.from('x') }]), dir);
      const message = await refused(dir, [...wordsOf(places), join(dir, 'out')]);
      expect(message.replace(/^\S+: /, '')).toBe(`expected a file name inside the dump, found ${JSON.stringify(name)}`);
    });

    if (hasTrees) {
      it('is refused with a name twice', async () => {
        const dir = tempDir();
        const files = filesToPack(smallDump(dir));
        const places = await put(pack([...files, { name: 'pstree.img', bytes: Buffer.from('x') }]), dir);
        expect(await refused(dir, [...wordsOf(places), join(dir, 'out')])).toMatch(
          /^\S+: (the name occurs twice|expected each name once, found "pstree\.img")$/,
        );
      });

      it.each(['/etc/passwd', '../x', 'a/../../../x'])('is refused with a link to %s', async (target) => {
        const dir = tempDir();
        const places = await put(pack([...filesToPack(smallDump(dir)), { name: 'link', target }]), dir);
        expect(await refused(dir, [...wordsOf(places), join(dir, 'out')])).toBe(
          'link: the link leads outside the dump',
        );
      });
    }

    if (isRandom) return;

    it('is refused beyond --max-bytes', async () => {
      const dir = tempDir();
      const places = await madeOnce(SMALL, dir);
      const error = await open(places, { pages: 'hold', maxBytes: 5000 }).then(String, String);
      expect(error.replace(`${dir}/`, '')).toMatch(
        /^DumpError: \S+: expected (a dump of at most 5000 bytes|at most 5000 plain bytes), found more$/,
      );
      expect(openFiles(dir)).toEqual([]);
    });

    it('is given up when it is told to', async () => {
      const places = await madeOnce(SMALL, tempDir());
      await expect(open(places, { signal: AbortSignal.abort(new Error('stop')) })).rejects.toThrow('stop');
    });
  });
}
