/** Restores from a dump that still arrives: its bytes come when the test says so. */
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync, rmSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { cli } from '../helpers/cli.js';
import { PE, pageContent, writeDump } from '../helpers/dump-writer.js';
import { makePipe } from '../helpers/pipe.js';
import { Running } from '../helpers/running.js';
import { tempDir } from '../helpers/temp.js';
import { AREA, at, dumped, errorsOf, findsAll, MORE_PAGES, PAGES, restoresOf, task } from './restores.js';
import { Simulator, whyNot } from './simulator.js';

/** A pipe with a name, from which a daemon reads. */
class Feed {
  readonly path: string;
  private readonly opening: Promise<FileHandle>;

  constructor(directory: string) {
    this.path = join(directory, 'feed');
    makePipe(this.path);
    // Waits for the reader.
    this.opening = open(this.path, 'w');
  }

  async write(bytes: Uint8Array): Promise<void> {
    await (await this.opening).writeFile(bytes);
  }

  async end(): Promise<void> {
    await (await this.opening).close();
  }
}

/** A dump in a container: what comes before a page of process 15, and the rest. */
async function inTwoParts(directory: string, dump: string, container: string, pid: number, page: number) {
  const path = join(directory, 'container');
  if (container === 'page stream') await cli(['read', dump], { stdout: path });
  else if (container === 'shards') await cli(['copy', dump, path, '--to', 'shards']);
  else execFileSync('tar', ['-C', dump, '--sort=name', '-cf', path, '.']);
  const bytes = readFileSync(path);
  const cut = bytes.indexOf(pageContent(`pagemap-${pid}.img`, at(page)));
  expect(cut).toBeGreaterThan(0);
  const parts = [bytes.subarray(0, cut), bytes.subarray(cut)];
  return (container === 'gzip' ? parts.map((part) => gzipSync(part)) : parts) as [Buffer, Buffer];
}

/** Waits until so many pages of the area are there. */
async function resident(simulator: Simulator, number: number, pages: number): Promise<void> {
  while ((await simulator.resident(number, ...AREA)) < pages);
}

/** A daemon with the first part of a dump of one visible task, which runs. */
async function runningTask(container: string, cut: number) {
  const directory = tempDir();
  const dump = join(directory, 'dump');
  const simulator = await Simulator.launch(directory);
  const pid = await simulator.start(15);
  await simulator.does(15, 'map', ...AREA);
  writeDump(dump, { tasks: [task(pid)] });
  const parts = await inTwoParts(directory, dump, container, pid, cut);
  const feed = new Feed(directory);
  const daemon = new Running(['lazy-pages', feed.path, '-W', directory]);
  await feed.write(parts[0]);
  await daemon.prints(/listening at /);
  await simulator.connect();
  await simulator.send(15, pid);
  await simulator.finish();
  await daemon.prints(/running/);
  return { feed, daemon, simulator, rest: parts[1], pid };
}

describe.skipIf(whyNot !== '')(`a dump that arrives${whyNot && `, not tested: ${whyNot}`}`, () => {
  test.each(['tar', 'gzip', 'page stream', 'shards'])(
    'what is there is delivered, the rest waited for: %s',
    async (container) => {
      const { directory, dump } = dumped([15, 16]);
      const [start, rest] = await inTwoParts(directory, dump, container, 15, 300);
      const feed = new Feed(directory);
      const from = container === 'shards' ? ['--from', 'shards'] : [];
      const daemon = new Running(['lazy-pages', feed.path, '-W', directory, '--json', ...from]);
      await feed.write(start);
      await daemon.prints(/"listening"/, 'out');
      const simulator = await Simulator.launch(directory);
      await simulator.connect();
      for (const pid of [15, 16]) await simulator.restore(pid, AREA);
      let hasCome = false;
      const late = simulator.finds(16, at(3), 2, { pid: 16, address: at(3) }).then(() => {
        hasCome = true;
      });
      await simulator.finds(15, at(10), 1, { pid: 15, address: at(10) });
      await simulator.finish();
      await resident(simulator, 15, 300);
      await simulator.finds(15, at(0), 290, { pid: 15, address: at(0) });
      expect(hasCome).toBe(false);
      await feed.write(rest);
      await feed.end();
      await late;
      expect(await daemon.code()).toBe(0);
      for (const pid of [15, 16]) await findsAll(simulator, pid);
      expect(restoresOf(daemon)).toMatchObject([{ complete: true, tasks: 2, pages: 2 * (PAGES + MORE_PAGES) }]);
    },
  );

  test('what a task forgets, moves or leaves to a child before it has come', async () => {
    const { directory, dump } = dumped([15, 16]);
    const [start, rest] = await inTwoParts(directory, dump, 'page stream', 15, 300);
    const feed = new Feed(directory);
    const daemon = new Running(['lazy-pages', feed.path, '-W', directory, '--json']);
    await feed.write(start);
    await daemon.prints(/"listening"/, 'out');
    const simulator = await Simulator.launch(directory);
    await simulator.connect();
    for (const pid of [15, 16]) await simulator.restore(pid, AREA);
    await simulator.does(16, 'forget', at(100), 50);
    await simulator.finds(16, at(120), 3, 'zeros');
    await simulator.does(16, 'move', at(500), 20, at(10_000));
    await simulator.fork(16, 101);
    await simulator.finish();
    await feed.write(rest);
    await feed.end();
    expect(await daemon.code()).toBe(0);
    for (const number of [16, 101]) {
      await simulator.finds(number, at(0), 100, { pid: 16, address: at(0) });
      await simulator.finds(number, at(100), 50, 'zeros');
      await simulator.finds(number, at(150), 350, { pid: 16, address: at(150) });
      await simulator.finds(number, at(10_000), 20, { pid: 16, address: at(500) });
      await simulator.finds(number, at(520), PAGES - 520, { pid: 16, address: at(520) });
    }
    await findsAll(simulator, 15);
  });

  test.each([
    ['tar', '@0x[0-9a-f]+: expected \\d+ more bytes of a file, found the end of the archive'],
    ['gzip', ': the gzip data is cut off or damaged after \\d+ plain bytes: unexpected end of file'],
    [
      'page stream',
      '@0x[0-9a-f]+: expected \\d+ more bytes of payload, found the end of the input: the stream was cut',
    ],
  ])('that is cut off: the task is stopped, and it is said once: %s', async (container, error) => {
    const { feed, daemon, simulator, rest, pid } = await runningTask(container, 300);
    await feed.write(rest.subarray(0, rest.length / 2));
    await feed.end();
    await simulator.stopped(15);
    expect(await daemon.code()).toBe(1);
    const whole = `^${feed.path}${error}; stopped 1 task: process ${pid} has no page at 0x[0-9a-f]+$`;
    expect(errorsOf(daemon)).toEqual([expect.stringMatching(whole)]);
  });

  test('with a wrong checksum at its end: a task that has all its pages is stopped, too', async () => {
    const { feed, daemon, simulator, rest, pid } = await runningTask('gzip', 300);
    const trailer = rest.subarray(-8);
    await feed.write(rest.subarray(0, -8));
    await resident(simulator, 15, PAGES + MORE_PAGES);
    await feed.write(trailer.map((byte) => byte ^ 0xff));
    await feed.end();
    await simulator.stopped(15);
    expect(await daemon.code()).toBe(1);
    expect(errorsOf(daemon)).toEqual([
      `${feed.path}: the gzip data is cut off or damaged after 2590720 plain bytes: incorrect data check; stopped 1 task: process ${pid} may have wrong pages`,
    ]);
  });

  test('a signal: it delivers the rest, which is still to come, before it ends', async () => {
    const { feed, daemon, simulator, rest, pid } = await runningTask('tar', 300);
    daemon.stop();
    await daemon.prints(/delivering the rest/);
    await feed.write(rest);
    await feed.end();
    await daemon.outcome;
    await findsAll(simulator, 15, pid);
  });

  test('that does not have a task: it is stopped', async () => {
    const { directory, dump } = dumped([15]);
    const [start, rest] = await inTwoParts(directory, dump, 'tar', 15, 300);
    const feed = new Feed(directory);
    const daemon = new Running(['lazy-pages', feed.path, '-W', directory]);
    await feed.write(start);
    await daemon.prints(/listening at /);
    const simulator = await Simulator.launch(directory);
    const pid = await simulator.start(16);
    await simulator.does(16, 'map', ...AREA);
    await simulator.connect();
    await simulator.send(16, pid);
    await simulator.finish();
    await daemon.prints(/running/);
    await feed.write(rest);
    await feed.end();
    await simulator.stopped(16);
    expect(await daemon.code()).toBe(1);
    expect(errorsOf(daemon)).toEqual([
      `pagemap-${pid}.img: expected the pagemap of a task that is restored, found none; stopped 1 task: process ${pid} may have wrong pages`,
    ]);
  });

  test('that leaves its pages to another one is refused', async () => {
    const { directory, dump } = dumped([15]);
    writeDump(join(directory, 'small'), { tasks: [task(15, PE.LAZY)] });
    const stream = join(directory, 'stream');
    for (const [source, message] of [
      [
        'small',
        'pagemap-15.img: its lazy pages are not in it: this is what a lazy restore begins with\n' +
          'pagepipe: hint: give the whole dump that it was made from, or a page server that has it: --page-server\n',
      ],
      [
        'dump',
        `${directory}/feed@0x28: expected more frames and an end, found the end of the input: the stream was cut\n`,
      ],
    ] as const) {
      await cli(['read', source === 'dump' ? dump : join(directory, source)], { stdout: stream });
      const bytes = readFileSync(stream);
      const feed = new Feed(directory);
      const daemon = new Running(['lazy-pages', feed.path, '-W', directory]);
      await feed.write(source === 'dump' ? bytes.subarray(0, 40) : bytes);
      await feed.end();
      expect(await daemon.code()).toBe(1);
      expect(daemon.err).toBe(`pagepipe: error: ${message}`);
      expect(existsSync(join(directory, 'lazy-pages.socket'))).toBe(false);
      rmSync(feed.path);
    }
  });
});
