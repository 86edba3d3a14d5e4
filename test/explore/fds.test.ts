import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, test } from 'vitest';
import { printDescriptors, printDescriptorsJson } from '../../src/explore/fds.js';
import { Message } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';
import { dataOf, errorOf, textOf } from './harness.js';
import { descriptor, FIELD, file, image, mm, oneProcess, pipe, regularFile, TYPE, unixSocket } from './images.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

describe('fds', () => {
  const ABSTRACT = '\0abstract';
  const LONG = 'x'.repeat(80);
  const descriptors = image('FDINFO', [
    descriptor(0, TYPE.REG, 1),
    descriptor(10, TYPE.PIPE, 2),
    descriptor(1000000000, TYPE.FIFO, 3),
    ...[4, 5, 6].map((id) => descriptor(id, TYPE.UNIXSK, id)),
    descriptor(7, TYPE.INETSK, 7),
    descriptor(8, 99, 8),
    ...[TYPE.REG, TYPE.PIPE, TYPE.UNIXSK].map((type, i) => descriptor(20 + i, type, 50)),
  ]);
  const lines = [
    '7\n',
    '\t      0: /dev/null\n',
    '\t     10: pipe[77]\n',
    '\t1000000000: FIFO.3\n',
    '\t      4: unix[41 (42) /run/s=00]\n',
    '\t      5: unix[51 (0) =00abstract]\n',
    `\t      6: unix[61 (0) ${'x'.repeat(75)}=\nxxxxx]\n`,
    '\t      7: INETSK.7\n',
    '\t      8: 99.8\n',
    '\t     20: unknown path\n',
    '\t     21: pipe[?]\n',
    '\t     22: unix[?]\n',
    '\t    cwd: /tmp\n',
    '\t   root: /\n',
  ];
  const data = [
    {
      pid: 7,
      fds: [
        { fd: 0, type: 'REG', id: 1, path: '/dev/null' },
        { fd: 10, type: 'PIPE', id: 2, pipe: 77 },
        { fd: 1000000000, type: 'FIFO', id: 3, path: '/run/fifo' },
        { fd: 4, type: 'UNIXSK', id: 4, unix: { ino: 41, peer: 42, name: '/run/s' } },
        { fd: 5, type: 'UNIXSK', id: 5, unix: { ino: 51, peer: 0, name: ABSTRACT } },
        { fd: 6, type: 'UNIXSK', id: 6, unix: { ino: 61, peer: 0, name: LONG } },
        { fd: 7, type: 'INETSK', id: 7 },
        { fd: 8, type: '99', id: 8 },
        { fd: 20, type: 'REG', id: 50, path: null },
        { fd: 21, type: 'PIPE', id: 50, pipe: null },
        { fd: 22, type: 'UNIXSK', id: 50, unix: null },
      ],
      cwd: '/tmp',
      root: '/',
      exe: '/bin/one',
    },
  ];
  const reg = [
    regularFile(1, '/dev/null'),
    regularFile(3, '/run/fifo'),
    regularFile(11, '/tmp'),
    regularFile(12, '/'),
    regularFile(13, '/bin/one'),
  ];
  const sockets = [unixSocket(4, 41, 42, '/run/s\0'), unixSocket(5, 51, 0, ABSTRACT), unixSocket(6, 61, 0, LONG)];
  const others = {
    'fdinfo-2.img': descriptors,
    'fs-7.img': image('FS', [new Message().int(1, 11).int(2, 12)]),
    'mm-7.img': image('MM', [mm(13, [])]),
  };

  test('all files in one image', () => {
    oneProcess(dump, {
      ...others,
      'files.img': image('FILES', [
        ...[1, 3, 11, 12, 13].map((id, i) => file(TYPE.REG, id, FIELD.reg, reg[i])),
        file(TYPE.PIPE, 2, FIELD.pipe, pipe(2, 77)),
        file(TYPE.FIFO, 3, FIELD.fifo, new Message().int(1, 3).int(2, 5)),
        ...[4, 5, 6].map((id, i) => file(TYPE.UNIXSK, id, FIELD.usk, sockets[i])),
      ]),
    });
    expect(textOf(dump, printDescriptors)).toBe(lines.join(''));
    expect(dataOf(dump, printDescriptorsJson)).toEqual(data);
  });

  test('older dumps: an image for each type of file', () => {
    oneProcess(dump, {
      ...others,
      'reg-files.img': image('REG_FILES', reg),
      'pipes.img': image('PIPES', [pipe(2, 77)]),
      'unixsk.img': image('UNIXSK', sockets),
    });
    rmSync(join(dump, 'files.img'));
    expect(textOf(dump, printDescriptors)).toBe(lines.join(''));
    expect(dataOf(dump, printDescriptorsJson)).toEqual(data);
    // Only what is asked for is needed.
    rmSync(join(dump, 'pipes.img'));
    expect(errorOf(dump, printDescriptors)).toBe(
      'MISSING_IMAGE files.img: expected this image, or pipes.img of older dumps, found neither',
    );
    writeFileSync(join(dump, 'fdinfo-2.img'), image('FDINFO', []));
    expect(textOf(dump, printDescriptors)).toBe(`7\n${lines.slice(-2).join('')}`);
  });

  test('of an id that stands there twice the first counts', () => {
    oneProcess(dump, {
      'fdinfo-2.img': image('FDINFO', [descriptor(0, TYPE.REG, 1), descriptor(1, TYPE.PIPE, 1)]),
      'files.img': image('FILES', [
        file(TYPE.INETSK, 1),
        file(TYPE.REG, 1, FIELD.reg, regularFile(1, '/second')),
        file(TYPE.REG, 2, FIELD.reg, regularFile(2, '/tmp')),
        file(TYPE.REG, 3, FIELD.reg, regularFile(3, '')),
      ]),
      'pipes.img': image('PIPES', [pipe(1, 77)]),
    });
    expect(textOf(dump, printDescriptors)).toBe(
      '7\n\t      0: unknown path\n\t      1: pipe[?]\n\t    cwd: /tmp\n\t   root: unknown path\n',
    );
  });

  test('a program is said only where the dump has it', () => {
    oneProcess(dump);
    rmSync(join(dump, 'mm-7.img'));
    expect(textOf(dump, printDescriptors)).toBe('7\n\t      0: /dev/null\n\t    cwd: /tmp\n\t   root: /\n');
    expect(dataOf(dump, printDescriptorsJson)).toMatchObject([{ exe: null, cwd: '/tmp' }]);
  });

  test('a process without open files, of which no image is written', () => {
    oneProcess(dump);
    rmSync(join(dump, 'fdinfo-2.img'));
    expect(textOf(dump, printDescriptors)).toBe('7\n\t    cwd: /tmp\n\t   root: /\n');
  });

  test('what is missing or wrong', () => {
    for (const [name, by] of [
      ['ids-7.img', 'pstree.img'],
      ['fs-7.img', 'pstree.img'],
    ] as const) {
      oneProcess(dump);
      rmSync(join(dump, name));
      for (const explore of [printDescriptors, printDescriptorsJson]) {
        expect(errorOf(dump, explore)).toBe(`MISSING_IMAGE ${name}: expected this image, named by ${by}, found none`);
      }
    }
    oneProcess(dump, { 'files.img': image('MM', []) });
    expect(errorOf(dump, printDescriptors)).toBe(
      'WRONG_MAGIC files.img@0x4: expected FILES magic 0x56303138, found 0x57492820 (MM)',
    );
    oneProcess(dump, { 'files.img': image('FILES', [new Message().int(1, 1)]) });
    expect(errorOf(dump, printDescriptors)).toBe(
      'MALFORMED files.img@0xc entry 0: expected the required field id of file_entry, found none',
    );
    oneProcess(dump);
    rmSync(join(dump, 'files.img'));
    expect(errorOf(dump, printDescriptors)).toBe(
      'MISSING_IMAGE files.img: expected this image, or reg-files.img of older dumps, found neither',
    );
  });
});
