import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { printProcesses, printProcessesJson } from '../../src/explore/ps.js';
import type { Message } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';
import { bytesOf, dataOf, errorOf, textOf } from './harness.js';
import { core, image, processEntry, writeImages } from './images.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

describe('ps', () => {
  const processes = (entries: Message[], comms: Record<number, string | Uint8Array>) =>
    writeImages(dump, {
      'pstree.img': image('PSTREE', entries),
      ...Object.fromEntries(
        Object.entries(comms).map(([pid, comm]) => [`core-${pid}.img`, image('CORE', [core(comm)])]),
      ),
    });

  test('children stand below their parents, in the order of the image', () => {
    processes(
      [processEntry(3, 2), processEntry(1, 0), processEntry(2, 1), processEntry(12345678, 1), processEntry(4, 2)],
      { 1: 'init', 2: 'two', 3: 'three', 4: 'four', 12345678: 'far' },
    );
    expect(textOf(dump, printProcesses)).toBe(
      [
        '    PID   PGID    SID   COMM\n',
        '      1      1      1   init\n',
        '      2      2      1       two\n',
        '      3      3      1           three\n',
        '      4      4      1           four\n',
        '1234567812345678      1       far\n',
      ].join(''),
    );
  });

  test('who has no parent in the dump is a root; nobody is left out or said twice', () => {
    processes([processEntry(1, 0), processEntry(5, 99), processEntry(6, 7), processEntry(7, 6), processEntry(8, 8)], {
      1: 'init',
      5: 'orphan',
      6: 'six',
      7: 'seven',
      8: 'self',
    });
    expect(textOf(dump, printProcesses).match(/\S+$/gm)).toEqual(['COMM', 'init', 'orphan', 'six', 'seven', 'self']);
    expect(textOf(dump, printProcesses)).toContain('      7      7      1       seven\n');
  });

  test('a chain of thousands, indented only so far', () => {
    const pids = Array.from({ length: 1500 }, (_, i) => i + 1);
    processes(
      pids.map((pid) => processEntry(pid, pid - 1)),
      Object.fromEntries(pids.map((pid) => [pid, 'link'])),
    );
    expect(textOf(dump, printProcesses).split('\n').at(-2)).toBe(`   1500   1500      1   ${' '.repeat(4 * 32)}link`);
  });

  test('names come out as the bytes that they are', () => {
    processes([processEntry(1, 0)], { 1: Uint8Array.of(0x61, 0xff, 0x0a, 0x1b, 0xc3, 0xa9) });
    expect(bytesOf(dump, printProcesses).slice(-9)).toBe('   a\xff\n\x1b\xc3\xa9\n'.slice(-9));
    expect(dataOf(dump, printProcessesJson)).toMatchObject([{ comm: 'a\udcff\n\x1bé' }]);
  });

  test('JSON', () => {
    writeImages(dump, {
      'pstree.img': image('PSTREE', [processEntry(1, 0, [1, 4]), processEntry(2, 1, [77]), processEntry(3, 1, [])]),
      'core-1.img': image('CORE', [core('init')]),
      'core-2.img': image('CORE', [core('dead', 2)]),
      'core-3.img': image('CORE', [core('held', 3)]),
    });
    expect(dataOf(dump, printProcessesJson)).toEqual([
      { pid: 1, ppid: 0, pgid: 1, sid: 1, comm: 'init', state: 'alive', threads: [1, 4] },
      { pid: 2, ppid: 1, pgid: 2, sid: 1, comm: 'dead', state: 'zombie', threads: [] },
      { pid: 3, ppid: 1, pgid: 3, sid: 1, comm: 'held', state: 'stopped', threads: [] },
    ]);
  });

  test('what is missing or wrong', () => {
    processes([processEntry(1, 0), processEntry(2, 1)], { 1: 'init' });
    for (const explore of [printProcesses, printProcessesJson]) {
      expect(errorOf(dump, explore)).toBe(
        'MISSING_IMAGE core-2.img: expected this image, named by pstree.img, found none',
      );
    }
    writeFileSync(join(dump, 'core-2.img'), image('CORE', []));
    expect(errorOf(dump, printProcesses)).toBe(
      'TRUNCATED core-2.img@0x8: expected a core_entry, found the end of the file',
    );
    writeFileSync(join(dump, 'core-2.img'), image('MM', []));
    expect(errorOf(dump, printProcesses)).toBe(
      'WRONG_MAGIC core-2.img@0x4: expected CORE magic 0x55053847, found 0x57492820 (MM)',
    );
    writeFileSync(join(dump, 'pstree.img'), image('PSTREE', []));
    expect(errorOf(dump, printProcesses)).toBe('MALFORMED pstree.img: expected at least one pstree_entry, found none');
    writeFileSync(join(dump, 'pstree.img'), image('PSTREE', [processEntry(1, 0)]).subarray(0, -1));
    expect(errorOf(dump, printProcesses)).toBe(
      'TRUNCATED pstree.img@0x8 entry 0: expected an entry of 14 bytes with its size, found 13',
    );
    rmSync(join(dump, 'pstree.img'));
    expect(errorOf(dump, printProcesses)).toBe(
      'MISSING_IMAGE pstree.img: the image is missing; every dump of processes has it',
    );
  });
});
