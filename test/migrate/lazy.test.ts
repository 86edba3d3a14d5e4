/** `pagepipe migrate --lazy` to its end, with a criu that is played: the restored process finds its memory. */
import { closeSync, openSync, readdirSync, readFileSync, readSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { ANON, PE, pageContent, writeDump } from '../helpers/dump-writer.js';
import { expectEvents } from '../helpers/json-schema.js';
import { exitOf } from '../helpers/running.js';
import { tempDir } from '../helpers/temp.js';
import { whyNot } from '../lazy/simulator.js';
import { whyNot as whyNoPeer } from '../stream-socket/peer.js';
import { childrenOf, ELSEWHERE, hosts, runs, stateOf } from './hosts.js';

const PAGE = 4096;
const PAGES = 4;

/** What the far criu does for a process with some lazy pages at an address. */
const restored = (pid: number, address: bigint): string => {
  const area = `${address.toString(16)} ${PAGES}`;
  return ['connect', `task ${pid}`, `${pid} map ${area}`, `${pid} send ${pid}`, 'finish', `${pid} read ${area}`].join(
    '\n',
  );
};

const vmas = (start: bigint) => [{ start, end: start + BigInt(PAGES * PAGE), ...ANON }];

describe.skipIf(`${whyNot}${whyNoPeer}` !== '')('migrate --lazy', () => {
  test('with the complete dump in a folder', async () => {
    const address = 0x1000_0000n;
    const images = join(tempDir(), 'images');
    const entries = [{ vaddr: address, pages: PAGES, flags: PE.PRESENT | PE.LAZY }];
    writeDump(images, { tasks: [{ pid: 15, vmas: vmas(address), entries }] });
    const all = hosts({ images }, { lazily: restored(15, address) });
    const held = tempDir();
    const near = all.migrate('--lazy', '--dump-dir', held, '--far-criu', all.there.criu, '--json');
    expect([await near.code(), near.err]).toEqual([0, '']);
    expectEvents('migrate', near.out, ['checked', 'committed', 'running', 'delivered']);
    const expected = [0, 1, 2, 3].map((i) => crc32(pageContent('pagemap-15.img', address + BigInt(i * PAGE))));
    expect(all.there.found().pages).toEqual(expected);
    expect(readdirSync(held)).toEqual([]);
    expect(readdirSync(all.home)).toEqual([]);
    expect(runs(all.pid)).toBe(false);
  });

  /** A migration whose lazy pages are in the process itself, which only root may trace. */
  function frozen(near: object, far: (pid: number, address: bigint) => object) {
    const images = join(tempDir(), 'images');
    const all = hosts({ ...near, images }, {}, ELSEWHERE);
    const { pid } = all;
    // The end of its stack, where its environment is.
    const maps = readFileSync(`/proc/${pid}/maps`, 'latin1');
    const address = BigInt(`0x${/-([0-9a-f]+) .*\[stack\]$/m.exec(maps)?.[1]}`) - BigInt(PAGES * PAGE);
    const entries = [{ vaddr: address, pages: PAGES, flags: PE.LAZY }];
    writeDump(images, { tasks: [{ pid, vmas: vmas(address), entries }] });
    all.there.configure(far(pid, address));
    const words = ['--lazy', '--far-criu', all.there.criu];
    return { all, pid, address, words };
  }

  /** Sums of the pages of a process. */
  function pagesOf(pid: number, address: bigint): number[] {
    const fd = openSync(`/proc/${pid}/mem`, 'r');
    const bytes = new Uint8Array(PAGES * PAGE);
    readSync(fd, bytes, 0, bytes.length, address);
    closeSync(fd);
    return [0, 1, 2, 3].map((i) => crc32(bytes.subarray(i * PAGE, (i + 1) * PAGE)));
  }

  describe.skipIf(process.getuid?.() !== 0)('from the frozen process', () => {
    test('finds its memory, and is dead here when all of it is there', async () => {
      const { all, pid, address, words } = frozen({ pause: 'before-script' }, (...place) => ({
        lazily: restored(...place),
      }));
      const near = all.migrate(...words, '--json');
      await all.here.pauses();
      const expected = pagesOf(pid, address);
      await all.here.goOn();
      expect([await near.code(), near.err]).toEqual([0, '']);
      expectEvents('migrate', near.out, ['checked', 'committed', 'running', 'delivered']);
      expect(near.out).toContain(`"stopped":[${pid}`);
      expect(all.there.found().pages).toEqual(expected);
      expect(expected.some((crc) => crc !== crc32(new Uint8Array(PAGE)))).toBe(true);
      expect(runs(pid)).toBe(false);
      expect(readdirSync(all.home)).toEqual([]);
    });

    test('criu fails there: it is stopped here, and can go on', async () => {
      const { all, pid, words } = frozen({}, () => ({ restore: 'fails' }));
      const near = all.migrate(...words);
      expect(await near.code()).toBe(1);
      const tree = [pid, ...childrenOf(pid)];
      expect(near.err).toContain(
        `process ${pid} is stopped here, it does not run there; let it go on here, as it was: kill -CONT ${tree.join(' ')}\n`,
      );
      expect(tree.map(stateOf).join('')).toMatch(/^T+$/);
      for (const one of tree) process.kill(one, 'SIGCONT');
      expect(tree.every(runs)).toBe(true);
    });

    test('the near end is killed while it is restored there: it is stopped here', async () => {
      const { all, pid, words } = frozen({}, () => ({ pause: 'restoring' }));
      const near = all.migrateAside(...words);
      await all.there.pauses();
      near.child.kill('SIGKILL');
      await all.there.goOn();
      await exitOf(near.child);
      await expect.poll(() => stateOf(pid)).toBe('T');
      // What it could not remove.
      const [, folder] = / -D (\S+)\/images /.exec(all.here.calls()[0] as string) as unknown as [string, string];
      rmSync(folder, { recursive: true });
    });
  });
});
