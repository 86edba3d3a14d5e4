/** `pagepipe lazy-pages`, with a program in the place of CRIU that has real memory. */
import { existsSync, readdirSync, readFileSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { cli } from '../helpers/cli.js';
import { GENERATIONS, writeDump } from '../helpers/dump-writer.js';
import { jsonLines } from '../helpers/json-schema.js';
import { Running } from '../helpers/running.js';
import { tempDir } from '../helpers/temp.js';
import {
  AREA,
  AREA_PAGES,
  addressOf,
  at,
  BASE,
  dumped,
  ELSEWHERE,
  errorsOf,
  findsAll,
  HOLE,
  MORE_PAGES,
  PAGE,
  PAGES,
  restoresOf,
  serving,
  task,
  telling,
} from './restores.js';
import { Simulator, whyNot } from './simulator.js';

/** One task of a dump, before the restore is finished; the daemon delivers only what is asked for. */
async function oneTask(start = serving, options: (directory: string) => string[] = () => []) {
  const { directory, dump } = dumped([15]);
  const daemon = await start(directory, [dump, ...options(directory)]);
  const simulator = await Simulator.launch(directory);
  await simulator.connect();
  await simulator.restore(15, AREA);
  const end = async () => {
    await simulator.finish();
    await simulator.disconnect();
    expect(await daemon.code()).toBe(0);
  };
  return { directory, dump, daemon, simulator, end };
}

describe.skipIf(whyNot !== '')(`lazy-pages${whyNot && `, not tested: ${whyNot}`}`, () => {
  test.each(GENERATIONS)('all pages come, and holes are zeros: %s', async (generation) => {
    const { directory, dump } = dumped([15, 16], { generation });
    const daemon = await serving(directory, [dump]);
    const simulator = await Simulator.launch(directory);
    await simulator.connect();
    await simulator.restore(15, AREA);
    await simulator.zombie(17);
    await simulator.restore(16, AREA);
    await simulator.finish();
    await simulator.disconnect();
    expect(await daemon.code()).toBe(0);
    for (const pid of [15, 16]) {
      expect(await simulator.resident(pid, ...AREA)).toBeGreaterThanOrEqual(PAGES + MORE_PAGES);
      await findsAll(simulator, pid);
    }
    expect(restoresOf(daemon)).toMatchObject([
      { complete: true, tasks: 2, pages: 2 * (PAGES + MORE_PAGES), faults: 0 },
    ]);
  });

  test('from a plain tar file, a page stream, a compressed archive, and shards', async () => {
    const { directory, dump } = dumped([15]);
    for (const words of [
      ['copy', dump, join(directory, 'dump.tar')],
      ['copy', dump, join(directory, 'dump.tar.gz')],
      ['copy', dump, join(directory, 'shard'), '--to', 'shards'],
    ]) {
      expect(await cli(words)).toMatchObject({ code: 0 });
    }
    expect(await cli(['read', dump], { stdout: join(directory, 'stream') })).toMatchObject({ code: 0 });
    for (const source of ['dump.tar', 'stream', 'dump.tar.gz', 'shard']) {
      const from = source === 'shard' ? ['--from', 'shards'] : [];
      const daemon = await serving(directory, [join(directory, source), ...from]);
      const simulator = await Simulator.launch(directory);
      await simulator.connect();
      await simulator.restore(15, AREA);
      await simulator.finds(15, at(100), 1, { pid: 15, address: at(100) });
      await simulator.finish();
      expect(await daemon.code()).toBe(0);
      await findsAll(simulator, 15);
    }
  });

  test('until the restore is finished, only what is asked for comes', async () => {
    const { simulator, end } = await oneTask();
    await simulator.finds(15, at(300), 1, { pid: 15, address: at(300) });
    await simulator.finds(15, at(10), 1, { pid: 15, address: at(10) });
    await simulator.finds(15, at(PAGES + 1), 1, 'zeros');
    expect(await simulator.resident(15, ...AREA)).toBeLessThan(PAGES / 2);
    await end();
    await findsAll(simulator, 15);
  });

  test('a scan brings more than a page a fault', async () => {
    const { daemon, simulator, end } = await oneTask();
    await simulator.finds(15, BASE, PAGES, { pid: 15, address: BASE });
    await end();
    expect(restoresOf(daemon)[0]?.['faults']).toBeLessThan(PAGES / 4);
  });

  test('several threads wait for the same pages', async () => {
    const { simulator, end } = await oneTask();
    await simulator.finds(15, at(50), 100, { pid: 15, address: at(50) }, 'together');
    await simulator.finds(15, at(PAGES), HOLE, 'zeros', 'together');
    await end();
    await findsAll(simulator, 15);
  });

  test('children get the pages of their parents, which go on or end', async () => {
    const { simulator, end } = await oneTask();
    await simulator.finds(15, at(3), 1, { pid: 15, address: at(3) });
    await simulator.does(15, 'fill', at(7), 1, 0x77);
    await simulator.fork(15, 101);
    await simulator.finds(101, at(200), 2, { pid: 15, address: at(200) });
    await simulator.fork(101, 102);
    await simulator.does(101, 'fill', at(8), 1, 0x88);
    await simulator.exit(15);
    await end();
    for (const child of [101, 102]) {
      await simulator.finds(child, BASE, 7, { pid: 15, address: BASE });
      await simulator.finds(child, at(7), 1, { byte: 0x77 });
      await simulator.finds(child, at(9), PAGES - 9, { pid: 15, address: at(9) });
      await simulator.finds(child, at(PAGES), HOLE, 'zeros');
      await simulator.finds(child, at(PAGES + HOLE), MORE_PAGES, { pid: 15, address: at(PAGES + HOLE) });
    }
    await simulator.finds(101, at(8), 1, { byte: 0x88 });
    await simulator.finds(102, at(8), 1, { pid: 15, address: at(8) });
  });

  test('pages go with an area that moves, alone or over another one', async () => {
    const { simulator, end } = await oneTask();
    await simulator.does(15, 'move', at(100), 50, ELSEWHERE);
    await simulator.finds(15, ELSEWHERE + 10n * PAGE, 5, { pid: 15, address: at(110) });
    // The pages of 300 to 309 are gone.
    await simulator.does(15, 'move', at(200), 10, at(300));
    await end();
    await simulator.finds(15, BASE, 100, { pid: 15, address: BASE });
    await simulator.finds(15, ELSEWHERE, 50, { pid: 15, address: at(100) });
    await simulator.finds(15, at(150), 50, { pid: 15, address: at(150) });
    await simulator.finds(15, at(300), 10, { pid: 15, address: at(200) });
    await simulator.finds(15, at(310), PAGES - 310, { pid: 15, address: at(310) });
  });

  test('what pages have left behind reads as zeros', async () => {
    const { simulator, end } = await oneTask();
    await simulator.does(15, 'leave', at(100), 50, ELSEWHERE);
    await simulator.finds(15, at(120), 1, 'zeros');
    await simulator.finds(15, ELSEWHERE, 3, { pid: 15, address: at(100) });
    await end();
    await simulator.finds(15, at(100), 50, 'zeros');
    await simulator.finds(15, ELSEWHERE, 50, { pid: 15, address: at(100) });
  });

  test('an area that grows gets zeros', async () => {
    const { simulator, end } = await oneTask();
    await simulator.does(15, 'grow', BASE, AREA_PAGES, 8);
    await simulator.finds(15, at(AREA_PAGES), 4, 'zeros');
    await end();
    await findsAll(simulator, 15);
    await simulator.finds(15, at(AREA_PAGES), 8, 'zeros');
  });

  test('what a task forgets, unmaps or protects', async () => {
    const { simulator, end } = await oneTask();
    await simulator.does(15, 'forget', at(100), 50);
    await simulator.finds(15, at(120), 10, 'zeros');
    await simulator.does(15, 'unmap', at(200), 50);
    for (const page of [300, 310, 311, 330]) await simulator.does(15, 'protect', at(page), 5);
    await end();
    await simulator.finds(15, BASE, 100, { pid: 15, address: BASE });
    await simulator.finds(15, at(100), 50, 'zeros');
    await simulator.finds(15, at(150), 50, { pid: 15, address: at(150) });
    await simulator.finds(15, at(250), PAGES - 250, { pid: 15, address: at(250) });
  });

  test('pages that are there already stay', async () => {
    const { directory, dump } = dumped([15]);
    const daemon = await serving(directory, [dump]);
    const simulator = await Simulator.launch(directory);
    await simulator.connect();
    await simulator.start(15);
    await simulator.does(15, 'map', ...AREA);
    for (const page of [0, 60, 61, 100]) await simulator.does(15, 'fill', at(page), 1, 0x55);
    await simulator.does(15, 'fill', at(400), 150, 0x66);
    await simulator.send(15, 15);
    // More comes with the last of these.
    await simulator.finds(15, at(50), 10, { pid: 15, address: at(50) });
    await simulator.finish();
    expect(await daemon.code()).toBe(0);
    for (const page of [0, 60, 61, 100]) await simulator.finds(15, at(page), 1, { byte: 0x55 });
    await simulator.finds(15, at(62), 38, { pid: 15, address: at(62) });
    await simulator.finds(15, at(400), 150, { byte: 0x66 });
    await simulator.finds(15, at(550), 50, { pid: 15, address: at(550) });
  });

  test('tasks that end early, before and after the restore is finished', async () => {
    const { directory, dump } = dumped([15, 16, 18]);
    const daemon = await serving(directory, [dump]);
    const simulator = await Simulator.launch(directory);
    await simulator.connect();
    for (const pid of [15, 16, 18]) await simulator.restore(pid, AREA);
    await simulator.finds(15, at(5), 1, { pid: 15, address: at(5) });
    await simulator.exit(15);
    await simulator.finish();
    await simulator.exit(16);
    expect(await daemon.code()).toBe(0);
    await findsAll(simulator, 18);
    expect(restoresOf(daemon)).toMatchObject([{ complete: true, tasks: 3 }]);
  });

  test('the only task ends early', async () => {
    const { daemon, simulator, end } = await oneTask();
    await simulator.finds(15, at(5), 1, { pid: 15, address: at(5) });
    await simulator.exit(15);
    await end();
    expect(restoresOf(daemon)).toMatchObject([{ complete: true, tasks: 1 }]);
  });

  test('a restore that fails', async () => {
    const { daemon, simulator } = await oneTask(telling);
    await simulator.disconnect();
    expect(await daemon.outcome).toMatchObject({ code: 1 });
    expect(errorsOf(daemon)).toEqual(['the restore failed: criu restore ended before the tasks ran']);
  });

  test('a task of another dump: the restore fails, it does not get zeros', async () => {
    const { directory, dump } = dumped([15]);
    const daemon = await telling(directory, [dump]);
    const simulator = await Simulator.launch(directory);
    await simulator.connect();
    await simulator.restore(16, AREA);
    expect(await daemon.outcome).toMatchObject({ code: 1 });
    expect(errorsOf(daemon)).toEqual(['pagemap-16.img: expected the pagemap of a task that is restored, found none']);
    await expect(simulator.finish()).rejects.toThrow();
  });

  test('several restores, at once and one after the other', async () => {
    const { directory, dump } = dumped([15, 16]);
    const daemon = await serving(directory, [dump, '--keep-listening']);
    const simulators = [await Simulator.launch(directory), await Simulator.launch(directory)];
    for (const simulator of simulators) {
      await simulator.connect();
      for (const pid of [15, 16]) await simulator.restore(pid, AREA);
    }
    // One of them fails, which is no matter of the others.
    const failing = await Simulator.launch(directory);
    await failing.connect();
    await failing.restore(15, AREA);
    await failing.disconnect();
    await daemon.prints(/"complete":false/, 'out');
    for (const simulator of simulators) {
      await simulator.finds(16, at(500), 3, { pid: 16, address: at(500) });
      await simulator.finish();
    }
    await daemon.prints(/("complete":true.*\n(.|\n)*){2}/, 'out');
    const last = await Simulator.launch(directory);
    await last.connect();
    await last.restore(16, AREA);
    await last.finish();
    await daemon.prints(/("complete":true.*\n(.|\n)*){3}/, 'out');
    daemon.stop();
    await daemon.outcome;
    for (const simulator of simulators) for (const pid of [15, 16]) await findsAll(simulator, pid);
    await findsAll(last, 16);
  });

  test('what was recorded comes first the next time, in its order', async () => {
    const touched = [590, 17, 333, 18, 605, 620, 2];
    const { directory, dump, daemon, simulator, end } = await oneTask(serving, (folder) => [
      '--record',
      join(folder, 'list'),
    ]);
    const list = join(directory, 'list');
    for (const page of touched) await simulator.does(15, 'read', at(page), 1);
    await end();
    expect(restoresOf(daemon)).toHaveLength(1);
    expect(readFileSync(list, 'utf8').match(/0x[0-9a-f]+$/gm)).toEqual(
      touched.filter((page) => page !== 605).map(addressOf),
    );

    const again = await serving(directory, [dump, '--order', list]);
    const next = await Simulator.launch(directory);
    await next.connect();
    await next.restore(15, AREA);
    await next.finish();
    expect(await again.code()).toBe(0);
    await findsAll(next, 15);
    expect(restoresOf(again)).toMatchObject([{ ordered: 6, faults: 0 }]);
  });

  test('a full disk for what it says: the task gets all its pages, and then the command fails', async () => {
    const { directory, dump } = dumped([15]);
    let listens = () => {};
    const listening = new Promise<void>((resolve) => {
      listens = resolve;
    });
    const daemon = new Running(['lazy-pages', dump, '-W', directory, '--json'], {
      out(line) {
        if (!line.includes('"listening"'))
          throw Object.assign(new Error('ENOSPC: write'), { code: 'ENOSPC', syscall: 'write' });
        listens();
      },
    });
    await listening;
    const simulator = await Simulator.launch(directory);
    await simulator.connect();
    await simulator.restore(15, AREA);
    await simulator.finish();
    expect(await daemon.code()).toBe(75);
    await findsAll(simulator, 15);
    expect(jsonLines(daemon.err)).toMatchObject([{ severity: 'error', code: 'SYSTEM', message: 'ENOSPC: write' }]);
  });

  test.each(['--pidfile', '--log-file', '--record'])('%s on an image of the dump is refused', async (option) => {
    const { directory, dump } = dumped([15]);
    const image = join(dump, 'core-15.img');
    const before = readFileSync(image);
    const words = option === '--log-file' ? ['-d', option, image] : [option, image];
    const { code, stderr } = await cli(['lazy-pages', dump, '-W', directory, ...words]);
    expect(code).toBe(1);
    expect(stderr).toContain(`pagepipe: error: ${image}: the output must be outside of what is read: ${dump}\n`);
    expect(readFileSync(image)).toEqual(before);
    expect(existsSync(join(directory, 'lazy-pages.socket'))).toBe(false);
  });

  test('restore makes nothing in the dump', async () => {
    const { dump } = dumped([15]);
    const before = readdirSync(dump);
    const { code, stderr } = await cli(['restore', dump, '-W', dump]);
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: `pagepipe: error: ${dump}: the output must be outside of what is read: ${dump}\n`,
    });
    expect(readdirSync(dump)).toEqual(before);
  });

  test('a signal: it delivers the rest before it ends', async () => {
    const { daemon, simulator } = await oneTask(telling);
    await simulator.finds(15, at(40), 1, { pid: 15, address: at(40) });
    daemon.stop();
    await daemon.prints(/delivering the rest, 629 pages, before it ends/);
    await simulator.finds(15, at(400), 1, { pid: 15, address: at(400) });
    await simulator.finish();
    await daemon.outcome;
    expect(await simulator.resident(15, ...AREA)).toBeGreaterThanOrEqual(PAGES + MORE_PAGES);
    await findsAll(simulator, 15);
  });

  /** A task whose pid in the dump is its own, and a signal that comes a second time. */
  async function visibleTask(...options: string[]) {
    const directory = tempDir();
    const dump = join(directory, 'dump');
    const simulator = await Simulator.launch(directory);
    const pid = await simulator.start(15);
    await simulator.does(15, 'map', ...AREA);
    writeDump(dump, { tasks: [task(pid)] });
    const second = new AbortController();
    const daemon = await telling(directory, [dump, ...options], { secondSignal: second.signal });
    await simulator.connect();
    await simulator.send(15, pid);
    return { dump, pid, simulator, second, daemon };
  }

  test('a dump that becomes shorter: the task is stopped, and it is said once', async () => {
    const { dump, pid, simulator, daemon } = await visibleTask();
    truncateSync(join(dump, 'pages-1.img'), 4096);
    await simulator.finish();
    await simulator.stopped(15);
    expect(await daemon.outcome).toMatchObject({ code: 1 });
    expect(daemon.err.match(/^pagepipe: error: .*$/gm)).toEqual([
      `pagepipe: error: pages-1.img: the file has changed since it was opened; stopped 1 task: process ${pid} has no page at 0x${BASE.toString(16)}`,
    ]);
  });

  test('a second signal before the restore is finished: criu ends what it has begun', async () => {
    const { pid, simulator, daemon, second } = await visibleTask();
    await simulator.finds(15, at(40), 1, { pid, address: at(40) });
    daemon.stop();
    await daemon.prints(/delivering the rest/);
    second.abort();
    expect(await daemon.outcome).toMatchObject({ code: 1 });
    expect(daemon.err.match(/^pagepipe: error: .*$/gm)).toEqual([
      'pagepipe: error: ended by a second signal; 629 pages had not been delivered',
    ]);
  });

  test('a second signal when the restore has just been finished: the task is stopped, though that was not read yet', async () => {
    // Otherwise all pages might be there before the signal.
    const { pid, simulator, daemon, second } = await visibleTask('--record', join(tempDir(), 'list'));
    await simulator.finish();
    daemon.stop();
    second.abort();
    await simulator.stopped(15);
    expect(await daemon.outcome).toMatchObject({ code: 1 });
    expect(errorsOf(daemon)).toEqual([
      `ended by a second signal; 630 pages had not been delivered; stopped 1 task: process ${pid} has no page at 0x${BASE.toString(16)}`,
    ]);
  });
});
