/** The daemon of lazy restores inside a program. */
import { createReadStream, existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import type { DumpSource } from '../../src/index.js';
import { type LazyRestore, openLazyPages } from '../../src/serve.js';
import { cli } from '../helpers/cli.js';
import { PE, writeDump } from '../helpers/dump-writer.js';
import { AREA, at, dumped, findsAll, MORE_PAGES, PAGES, task } from './restores.js';
import { Simulator, whyNot } from './simulator.js';

describe.skipIf(whyNot !== '')(`openLazyPages${whyNot && `, not tested: ${whyNot}`}`, () => {
  test.each(['directory', 'stream'])('serves restores from a %s, and tells how they go', async (kind) => {
    const { directory, dump } = dumped([15, 16]);
    let source: DumpSource = dump;
    if (kind === 'stream') {
      const path = join(directory, 'stream');
      await cli(['read', dump], { stdout: path });
      source = createReadStream(path);
    }
    const pages = await openLazyPages(source);
    expect(pages.pageSize).toBe(4096);
    const stop = new AbortController();
    const told: [string, LazyRestore | string][] = [];
    const faults: [number, bigint][] = [];
    const simulator = await Simulator.launch(directory);
    const served = pages.serve(directory, {
      keepListening: true,
      order: [[16, at(20)]],
      fault: (pid, address) => faults.push([pid, address]),
      listening: (socket) => told.push(['listening', socket]),
      running: (restore) => told.push(['running', restore]),
      ended: (restore, error) => {
        told.push([error ? 'failed' : 'ended', restore]);
        stop.abort();
      },
      signal: stop.signal,
    });
    expect(told).toEqual([['listening', join(directory, 'lazy-pages.socket')]]);
    await simulator.connect();
    for (const pid of [15, 16]) await simulator.restore(pid, AREA);
    await simulator.finds(15, at(7), 1, { pid: 15, address: at(7) });
    await simulator.finish();
    await served;
    pages.close();
    for (const pid of [15, 16]) await findsAll(simulator, pid);
    expect(faults).toEqual([[15, at(7)]]);
    const all = 2 * (PAGES + MORE_PAGES);
    expect(told.slice(1)).toMatchObject([
      ['running', { pids: [15, 16] }],
      ['ended', { pids: [15, 16], left: 0, summary: { pages: all, bytes: all * 4096, faults: 1, ordered: 1 } }],
    ]);
    expect(existsSync(join(directory, 'lazy-pages.socket'))).toBe(false);
  });

  test('refuses a dump whose lazy pages are elsewhere', async () => {
    const { directory } = dumped([15]);
    const small = join(directory, 'small');
    writeDump(small, { tasks: [task(15, PE.LAZY)] });
    await expect(openLazyPages(small)).rejects.toMatchObject({ code: 'PARTIAL_DUMP', file: small });
  });
});
