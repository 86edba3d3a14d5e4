/** `pagepipe migrate` between two folders, with a criu that is played: who has the processes after each failure. */
import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { daemonCalls, linux } from '../../src/io/linux.js';
import { cli } from '../helpers/cli.js';
import { expectEvents } from '../helpers/json-schema.js';
import { exitOf } from '../helpers/running.js';
import { whyNot } from '../stream-socket/peer.js';
import { childrenOf, hosts, IMAGES, KILLABLE, runs } from './hosts.js';

const MARK = '.pagepipe-migration';

/** The source runs, the target does not, and nothing is left of the dump. */
function expectRolledBack({ pid, home, restored }: ReturnType<typeof hosts>): void {
  expect(runs(pid)).toBe(true);
  expect(childrenOf(pid).every(runs)).toBe(true);
  expect(restored()).toBeUndefined();
  expect(readdirSync(home).filter((name) => name !== 'pid')).toEqual([]);
}

/** The complete dump is at the far side. */
function expectDump({ out }: ReturnType<typeof hosts>): void {
  const images = readdirSync(IMAGES).filter((name) => name.endsWith('.img'));
  expect(readdirSync(out)).toEqual(expect.arrayContaining([MARK, ...images]));
}

describe.skipIf(whyNot !== '')(`migrate${whyNot && `, not tested: ${whyNot}`}`, () => {
  test('moves a process', async () => {
    const all = hosts();
    const { pid, there, here, out, restored } = all;
    const near = all.migrate(
      '--json',
      '--far-criu',
      there.criu,
      '--restore-options=-v4',
      '--',
      '--tcp-established',
      '-v2',
    );
    const children = childrenOf(pid);
    expect([await near.code(), near.err]).toEqual([0, '']);
    expectEvents('migrate', near.out, ['checked', 'committed', 'running']);
    expect([pid, ...children].some(runs)).toBe(false);
    expect(runs(restored() as number)).toBe(true);
    expect(existsSync(out)).toBe(false);
    expect(here.calls()[0]).toMatch(/^dump --stream .*--tcp-established -v2/);
    expect(there.calls()).toEqual([expect.stringMatching(/^restore -d -D \S+ -W \S+ --tcp-established -v4 /)]);
  });

  test('keeps the dump if it is told to', async () => {
    const all = hosts();
    const near = all.migrate('--keep-dump', '--far-criu', all.there.criu);
    expect(await near.code()).toBe(0);
    expect(near.err).toMatch(/far: process \d+ runs there; it stood still for at most [\d.]+ s\n$/);
    expect(readdirSync(all.out)).toEqual(
      expect.arrayContaining(readdirSync(IMAGES).filter((name) => name.endsWith('.img'))),
    );
    expect(existsSync(join(all.out, MARK))).toBe(false);
  });

  describe('the process goes on', () => {
    test.each([
      [
        'criu fails here',
        { dump: 'fails' },
        {},
        /criu dump ended with exit code 1: Error \(criu\/b\.c:2\): it cannot be seized/,
      ],
      ['criu is lost in the middle', { dump: 'lost' }, {}, /criu dump ended with exit code 1: .*: lost/],
      ['criu is killed before it kills', { end: 'killed' }, {}, /criu dump ended with the signal SIGKILL/],
      ['criu there is older', { version: '4.3' }, {}, /far: its criu 4\.2\.1 is older than the criu 4\.3 here/],
      ['criu there finds its kernel wanting', {}, { check: 1 }, /far: .*criu check has failed/],
    ])('%s', async (_what, near, far, error) => {
      const all = hosts(near, far);
      const running = all.migrate('--far-criu', all.there.criu);
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(error);
      expect(running.err).toMatch(new RegExp(`hint: .*process ${all.pid} goes on here\n$`));
      expectRolledBack(all);
    });

    test('no criu there', async () => {
      const all = hosts();
      const running = all.migrate('--far-criu', '/nowhere/criu');
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(/far: \/nowhere\/criu cannot be run: no such file or directory/);
      expect(all.here.calls()).toEqual([]);
      expectRolledBack(all);
    });

    test('DIR is in use', async () => {
      const all = hosts();
      mkdirSync(all.out);
      writeFileSync(join(all.out, 'inventory.img'), 'text');
      const running = all.migrate('--far-criu', all.there.criu);
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(
        /far: .*expected a new or empty directory, found files in it\npagepipe: hint: use --force/,
      );
      expect(readdirSync(all.out)).toEqual(['inventory.img']);
      expect(runs(all.pid)).toBe(true);
    });

    test.each(['SIGKILL', 'SIGTERM'] as const)('the far side gets %s before the commit', async (signal) => {
      const all = hosts({ pause: 'before-script' }, {}, KILLABLE);
      const running = all.migrate('--far-criu', all.there.criu);
      await all.here.pauses();
      process.kill(all.farPid(), signal);
      const code = running.code();
      // The pause ends with the dump, which near has given up.
      if (signal === 'SIGTERM') running.stop();
      await all.here.goOn();
      expect(await code).not.toBe(0);
      expect(running.err).toMatch(/goes on here/);
      expect(runs(all.pid)).toBe(true);
      expect(all.restored()).toBeUndefined();
    });

    test('Ctrl-C before the commit', async () => {
      const all = hosts({ pause: 'before-script' });
      const running = all.migrate('--far-criu', all.there.criu);
      await all.here.pauses();
      running.stop();
      await all.here.goOn();
      expect(await running.code()).not.toBe(0);
      expectRolledBack(all);
    });

    test('criu leaves it running though it should not', async () => {
      const all = hosts({ end: 'leaves' });
      const running = all.migrate('--far-criu', all.there.criu);
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(/criu dump has succeeded, but the processes have not ended/);
      expectRolledBack(all);
    });
  });

  describe('the dump is there', () => {
    test('the near end is killed: the far side keeps it, and restores nothing', async () => {
      const all = hosts({ pause: 'after-script' }, {}, KILLABLE);
      const near = all.migrateAside('--far-criu', all.there.criu);
      await all.here.pauses();
      near.child.kill('SIGKILL');
      await exitOf(near.child);
      await all.here.goOn();
      expectDump(all);
      expect(all.restored()).toBeUndefined();
      expect(near.stderr.text).toMatch(
        /ended before it was known whether the processes have ended there\n.*hint: if they have, restore them here/,
      );
    });

    test('criu fails there', async () => {
      const all = hosts({}, { restore: 'fails' });
      const running = all.migrate('--far-criu', all.there.criu);
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(
        /far: criu restore ended with exit code 1: Error \(criu\/b\.c:2\): a file is missing/,
      );
      expect(running.err).toContain(
        `has ended here, its dump is complete at far; restore it there: criu restore -D ${all.out} -d`,
      );
      expectDump(all);
      expect(runs(all.pid)).toBe(false);
    });

    test.skipIf(!linux())('criu is killed there: what it has restored in part is ended', async () => {
      const all = hosts({}, { restore: 'killed' });
      const running = all.migrate('--far-criu', all.there.criu);
      expect(await running.code()).toBe(1);
      expect(running.err).toMatch(/far: criu restore ended with the signal SIGKILL/);
      expectDump(all);
      expect(runs(all.pid)).toBe(false);
      expect(runs(all.restored() as number)).toBe(false);
    });
  });

  test('criu is killed after it has killed some: the others are killed, and the process moves', async () => {
    const all = hosts({ end: 'half' });
    const running = all.migrate('--far-criu', all.there.criu);
    expect(await running.code()).toBe(0);
    expect(running.err).toMatch(/warning: criu dump ended with the signal SIGKILL after it had ended 1 of 2 processes/);
    expect(runs(all.pid)).toBe(false);
    expect(runs(all.restored() as number)).toBe(true);
  });
});

describe.skipIf(whyNot !== '' || !daemonCalls())('migrate --lazy', () => {
  /** The folder for the dump that is held here. */
  const held = ({ here }: ReturnType<typeof hosts>) => {
    const folder = join(here.folder, 'held');
    mkdirSync(folder, { recursive: true });
    return folder;
  };
  const lazily = (all: ReturnType<typeof hosts>) => ['--lazy', '--dump-dir', held(all), '--far-criu', all.there.criu];

  test('criu fails there: the complete dump is here', async () => {
    const all = hosts({}, { restore: 'fails' });
    const running = all.migrate(...lazily(all));
    expect(await running.code()).toBe(1);
    expect(running.err).toMatch(/far: criu restore ended with exit code 1: Error \(criu\/b\.c:2\): a file is missing/);
    const [name] = readdirSync(held(all)) as [string];
    expect(running.err).toContain(
      `it does not run there; restore it here, as it was: criu restore -D ${held(all)}/${name} -d`,
    );
    expect(readdirSync(join(held(all), name))).toEqual(readdirSync(IMAGES));
    expect(there(all)).toEqual([]);
    expect(all.there.calls()).toEqual([expect.stringMatching(/^restore -d -D \S+ -W \S+ --lazy-pages /)]);
    expect(runs(all.pid)).toBe(false);
  });

  test.each([
    ['criu fails here', { dump: 'fails' }, {}],
    ['criu is killed before it kills', { end: 'killed' }, {}],
    ['criu there finds its kernel wanting', {}, { check: 1 }],
  ])('%s: the process goes on', async (_what, near, far) => {
    const all = hosts(near, far);
    expect(await all.migrate(...lazily(all)).code()).toBe(1);
    expectRolledBack(all);
    expect(readdirSync(held(all))).toEqual([]);
  });

  test('the far side is killed before the commit', async () => {
    const all = hosts({ pause: 'before-script' }, {}, KILLABLE);
    const running = all.migrate(...lazily(all));
    await all.here.pauses();
    process.kill(all.farPid(), 'SIGKILL');
    await all.here.goOn();
    expect(await running.code()).toBe(1);
    expect(running.err).toMatch(/goes on here/);
    expect(runs(all.pid)).toBe(true);
    expect(readdirSync(held(all))).toEqual([]);
  });

  const there = ({ home }: ReturnType<typeof hosts>) => readdirSync(home).filter((name) => name !== 'pid');
});

test.each([
  [[], /expected PID, found nothing/],
  [['x', 'far'], /expected a PID, found "x"/],
  [['1'], /expected HOST\[:DIR\], found nothing/],
  [['1', 'far', '--', '-R'], /-R does not go with migrate/],
  [['1', 'far', '--restore-options=--stream'], /--stream does not go with migrate/],
])('%s is a wrong command line', async (words, error) => {
  const { code, stderr } = await cli(['migrate', ...words]);
  expect([code, stderr]).toEqual([2, expect.stringMatching(error)]);
});

test('there is no such process', async () => {
  const { code, stderr } = await cli(['migrate', '4194305', 'far']);
  expect([code, stderr]).toEqual([1, 'pagepipe: error: 4194305: there is no such process\n']);
});
