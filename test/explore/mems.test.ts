import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { printAreas, printAreasJson } from '../../src/explore/mems.js';
import { Message } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';
import { dataOf, errorOf, textOf } from './harness.js';
import { type AreaSpec, core, image, mm, oneProcess, processEntry, vma } from './images.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

describe('mems', () => {
  const area = (status: number, rest: Partial<AreaSpec> = {}): AreaSpec => ({
    start: 0x1000n,
    end: 0x3000n,
    status,
    ...rest,
  });
  /** The lines of these areas behind their addresses. */
  const linesOf = (areas: AreaSpec[]): string[] => {
    oneProcess(dump, { 'mm-7.img': image('MM', [mm(4, areas)]) });
    const [pid, exe, ...lines] = textOf(dump, printAreas).split('\n').slice(0, -1);
    expect(pid).toBe('7');
    expect(exe).toBe(`\texe${' '.repeat(37)}/bin/one`);
    return lines.map((line) => {
      expect(line.slice(0, 37)).toBe(`\t00001000-00003000${' '.repeat(19)}`);
      return line.slice(37);
    });
  };

  test('each kind of area', () => {
    const shmid = 0xffffffff00000001n;
    expect(
      linesOf([
        area(0x1 | 0x40, { shmid: 1n, pgoff: 0x1000n, prot: 5 }),
        area(0x1 | 0x80, { shmid: 1n, prot: 0 }),
        area(0x1 | 0x40, { shmid: 1n, pgoff: 2n ** 64n - 1n, prot: 15 }),
        area(0x1 | 0x40, { shmid: 2n ** 32n + 1n }),
        area(0x1 | 0x400, { shmid }),
        area(0x1 | 0x100, { shmid: 9n }),
        area(0x1 | 0x800, { shmid }),
        area(0x2),
        area(0x1 | 0x4, { prot: 4 }),
        area(0x1 | 0x8),
        area(0x1 | 0x200, { flags: 0x122 }),
        area(0x1 | 0x200),
        area(0x80000000),
        area(0),
      ]),
    ).toEqual([
      'r-x /dev/null + 0x1000',
      '--- /dev/null (s)',
      'rwx /dev/null + 0xffffffffffffffff',
      'rw- unknown path',
      'rw- ips[1]',
      'rw- shmem[2]',
      'rw- packet[1]',
      'rw- [stack] *',
      '--x [vsyscall]',
      'rw- [vdso]',
      'rw- [stack?]',
      'rw-',
      'rw- *',
      'rw- *',
    ]);
  });

  test('segments are counted in hexadecimal, over all processes', () => {
    const segments = (from: number) => Array.from({ length: 17 }, (_, i) => area(0x101, { shmid: BigInt(from + i) }));
    oneProcess(dump, {
      'pstree.img': image('PSTREE', [processEntry(7, 0), processEntry(8, 7)]),
      'mm-7.img': image('MM', [mm(4, segments(100))]),
      'mm-8.img': image('MM', [mm(4, segments(115))]),
    });
    const numbers = [...textOf(dump, printAreas).matchAll(/shmem\[(.*)\]/g)].map(([, number]) => number);
    expect(numbers.slice(15, 20)).toEqual(['10', '11', '10', '11', '12']);
    expect(numbers.at(-1)).toBe('20');
  });

  test('addresses of 64 bits', () => {
    oneProcess(dump, {
      'mm-7.img': image('MM', [
        mm(4, [
          { start: 0n, end: 0x1000n },
          { start: 0xffffffffff600000n, end: 0xffffffffff601000n, status: 4, prot: 4 },
          { start: 0xffffffffffffefffn, end: 0xffffffffffffffffn },
        ]),
      ]),
    });
    expect(textOf(dump, printAreas).split('\n').slice(2, -1)).toEqual([
      `\t00000000-00001000${' '.repeat(19)}rw-`,
      `\tffffffffff600000-ffffffffff601000${' '.repeat(3)}--x [vsyscall] *`,
      `\tffffffffffffefff-ffffffffffffffff${' '.repeat(3)}rw-`,
    ]);
  });

  test('JSON', () => {
    oneProcess(dump, {
      'pstree.img': image('PSTREE', [processEntry(7, 0), processEntry(9, 7)]),
      'core-9.img': image('CORE', [core('dead', 6)]),
      'mm-7.img': image('MM', [
        mm(4, [
          area(0x41, { shmid: 1n, pgoff: 2n ** 60n, prot: 5, flags: 2 }),
          area(0x81, { shmid: 50n, flags: 1 }),
          area(0x101, { shmid: 2n ** 53n - 1n, flags: 0x21 }),
          area(0x221),
          { start: 0xffffffffff600000n, end: 0xffffffffff601000n, status: 4, prot: 4 },
          area(0x10200, { prot: 0 }),
        ]),
      ]),
    });
    const place = { start: '0x1000', end: '0x3000', bytes: 8192 };
    expect(dataOf(dump, printAreasJson)).toEqual([
      {
        pid: 7,
        exe: '/bin/one',
        areas: [
          {
            ...place,
            prot: 'r-x',
            shared: false,
            kind: 'file-private',
            regular: true,
            file: '/dev/null',
            pgoff: '0x1000000000000000',
          },
          { ...place, prot: 'rw-', shared: true, kind: 'file-shared', regular: true, file: null, pgoff: '0x0' },
          { ...place, prot: 'rw-', shared: true, kind: 'anon-shared', regular: true, segment: 2 ** 53 - 1 },
          { ...place, prot: 'rw-', shared: false, kind: 'heap', regular: true },
          {
            start: '0xffffffffff600000',
            end: '0xffffffffff601000',
            bytes: 4096,
            prot: '--x',
            shared: false,
            kind: 'vsyscall',
            regular: false,
          },
          { ...place, prot: '---', shared: false, kind: 'guard', regular: false },
        ],
      },
      { pid: 9, exe: null, areas: [] },
    ]);
  });

  test('flags have the numbers of the machine, where the dump says which', () => {
    const locked = [area(0x201, { flags: 0x802 | 0x8000 })];
    oneProcess(dump, { 'mm-7.img': image('MM', [mm(4, locked)]), 'core-7.img': image('CORE', [core('mips', 1, 6)]) });
    expect(dataOf(dump, printAreasJson)).toMatchObject([{ areas: [{ kind: 'locked' }] }]);
    rmSync(join(dump, 'core-7.img'));
    expect(dataOf(dump, printAreasJson)).toMatchObject([{ areas: [{ kind: 'anon' }] }]);
  });

  test('what is missing or wrong', () => {
    oneProcess(dump);
    rmSync(join(dump, 'mm-7.img'));
    const missing = 'MISSING_IMAGE mm-7.img: expected this image, named by pstree.img, found none';
    expect(errorOf(dump, printAreas)).toBe(missing);
    rmSync(join(dump, 'core-7.img'));
    expect(errorOf(dump, printAreas)).toBe(missing);
    oneProcess(dump, { 'mm-7.img': image('MM', []) });
    expect(errorOf(dump, printAreas)).toBe('TRUNCATED mm-7.img@0x8: expected an mm_entry, found the end of the file');
    oneProcess(dump, { 'mm-7.img': image('MM', [new Message().field(14, vma({ start: 0n, end: 1n }))]) });
    expect(errorOf(dump, printAreas)).toBe(
      'MALFORMED mm-7.img@0xc entry 0: expected the required field exe_file_id of mm_entry, found none',
    );
    oneProcess(dump, { 'mm-7.img': image('MM', [new Message().int(12, 4).field(14, new Message().int(1, 5))]) });
    expect(errorOf(dump, printAreas)).toBe(
      'MALFORMED mm-7.img@0x10 entry 0: expected the required field end of vma_entry, found none',
    );
  });
});
