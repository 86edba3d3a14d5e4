import { describe, expect, test } from 'vitest';
import { type Copy, copyOf, expectElsewhere, linesOf } from './harness.js';

type Case = [what: string, fixture: string, damage: (copy: Copy) => void, ...lines: string[]];

const none = (file: string, by?: string): string =>
  `MISSING_IMAGE ${file}: expected this image${by ? `, named by ${by}` : ''}, found none`;

describe('images that are missing', () => {
  const cases: Case[] = [
    ['the inventory', 'mosaic-criu-4.2.1', (copy) => copy.remove('inventory.img'), none('inventory.img')],
    ['the processes', 'mosaic-criu-4.2.1', (copy) => copy.remove('pstree.img'), none('pstree.img')],
    [
      'the core of a process',
      'family-criu-4.2.1',
      (copy) => copy.remove('core-19.img'),
      none('core-19.img', 'pstree.img'),
    ],
    [
      'the core of a thread',
      'family-criu-4.2.1',
      (copy) => copy.remove('core-17.img'),
      none('core-17.img', 'pstree.img'),
    ],
    [
      'the core of a zombie',
      'family-criu-4.2.1',
      (copy) => copy.remove('core-21.img'),
      none('core-21.img', 'pstree.img'),
    ],
    ['ids', 'family-criu-4.2.1', (copy) => copy.remove('ids-19.img'), none('ids-19.img', 'pstree.img')],
    ['areas', 'family-criu-4.2.1', (copy) => copy.remove('mm-19.img'), none('mm-19.img', 'pstree.img')],
    ['directories', 'family-criu-4.2.1', (copy) => copy.remove('fs-19.img'), none('fs-19.img', 'pstree.img')],
    [
      'a pagemap: its pages are nobody’s',
      'family-criu-4.2.1',
      (copy) => copy.remove('pagemap-19.img'),
      none('pagemap-19.img', 'pstree.img'),
      'PAGES_UNUSED pages-3.img: warning: expected a pagemap with pages_id 3, found none',
    ],
    ['pages', 'family-criu-4.2.1', (copy) => copy.remove('pages-3.img'), none('pages-3.img', 'pagemap-19.img')],
    [
      'descriptors',
      'mosaic-criu-4.2.1',
      (copy) => copy.remove('fdinfo-2.img'),
      `${none('fdinfo-2.img', 'ids-15.img')}, and no process has 2 of the files open`,
    ],
    [
      'descriptors, of a process that may have had none',
      'mosaic-criu-4.2.1',
      (copy) =>
        copy.remove('fdinfo-2.img').edit('files.img', (entries) => {
          for (let i = entries.length - 1; i >= 0; i--) if (DESCRIPTORS.includes(entries[i].id)) entries.splice(i, 1);
        }),
      'MISSING_IMAGE fdinfo-2.img: warning: expected this image, named by ids-15.img, found none: right only if process 15 had no open files',
    ],
    ['files', 'mosaic-criu-4.2.1', (copy) => copy.remove('files.img'), none('files.img', 'pstree.img')],
    [
      'a namespace, which two processes name',
      'zdtm/ns-bridge',
      (copy) => copy.remove('utsns-12.img', 'netdev-10.img'),
      none('netdev-10.img', 'ids-1.img'),
      none('utsns-12.img', 'ids-1.img'),
    ],
    [
      'what older dumps have in images of their own',
      'mosaic-criu-4.2.1',
      (copy) =>
        copy.edit('core-15.img', ([{ tc, thread_core: thread }]) => {
          delete thread.creds;
          delete tc.rlimits;
        }),
      'MISSING_IMAGE creds-15.img: expected this image, or what it holds in core-15.img, found neither',
      'MISSING_IMAGE rlimit-15.img: expected this image, or what it holds in core-15.img, found neither',
    ],
  ];
  test.each(cases)('%s', async (_, name, damage, ...lines) => {
    const copy = copyOf(name);
    damage(copy);
    expect(linesOf(copy.path)).toEqual(lines);
    await expectElsewhere(copy.path, lines);
  });
});

/** Ids of the files that the process of mosaic-criu-4.2.1 has open, and nothing else. */
const DESCRIPTORS = [3, 4];

describe('images that cannot be decoded', () => {
  const mosaic = 'mosaic-criu-4.2.1';
  const cases: Case[] = [
    [
      'cut inside an entry',
      mosaic,
      (copy) => copy.resize('core-17.img', -3),
      'TRUNCATED core-17.img@0x8 entry 0: expected an entry of 711 bytes with its size, found 708',
    ],
    [
      'cut behind its magic',
      mosaic,
      (copy) => copy.patch('core-17.img', (bytes) => bytes.subarray(0, 8)),
      'TRUNCATED core-17.img@0x8: expected a core_entry, found the end of the file',
    ],
    [
      'empty, as on a full disk',
      mosaic,
      (copy) => copy.write('fs-15.img', ''),
      'TRUNCATED fs-15.img: it is empty; expected an image',
    ],
    [
      'of another type',
      mosaic,
      (copy) => copy.patch('fs-15.img', (bytes) => bytes.fill(0x11, 4, 8)),
      'WRONG_MAGIC fs-15.img@0x4: expected FS magic 0x51403912, found 0x11111111',
    ],
    [
      'without a required field',
      mosaic,
      (copy) =>
        copy.patch('fs-15.img', (bytes) => Buffer.concat([bytes.subarray(0, 8), Buffer.from([2, 0, 0, 0, 8, 1])])),
      'MALFORMED fs-15.img@0xc entry 0: expected the required field root_id of fs_entry, found none',
    ],
    [
      'with an impossible length',
      mosaic,
      (copy) => copy.patch('files.img', (bytes) => bytes.fill(0xff, 8, 12)),
      'LIMIT files.img@0x8 entry 0: expected an entry of at most 67108864 bytes, found a length of 4294967295',
    ],
    [
      'with a payload that is cut',
      'chain/socket_queues/3',
      (copy) => copy.resize('sk-queues.img', -4),
      'TRUNCATED sk-queues.img@0xcc entry 5: expected 4 more bytes of payload, found the end of the file',
    ],
    [
      'that others depend on',
      mosaic,
      (copy) => copy.resize('mm-15.img', -1).resize('inventory.img', -1).resize('memfd.img', -1),
      'TRUNCATED inventory.img@0x4 entry 0: expected an entry of 82 bytes with its size, found 81',
      'TRUNCATED memfd.img@0x8 entry 0: expected an entry of 34 bytes with its size, found 33',
      'TRUNCATED mm-15.img@0x8 entry 0: expected an entry of 1017 bytes with its size, found 1016',
    ],
    [
      'the processes',
      mosaic,
      (copy) => copy.resize('pstree.img', -1),
      'TRUNCATED pstree.img@0x8 entry 0: expected an entry of 18 bytes with its size, found 17',
    ],
  ];
  test.each(cases)('%s', async (_, name, damage, ...lines) => {
    const copy = copyOf(name);
    damage(copy);
    const found = linesOf(copy.path);
    expect(found.filter((line) => !line.startsWith('NO_PARENT'))).toEqual(lines);
    await expectElsewhere(copy.path, found);
  });
});

test('processes that are gone from the tree', () => {
  const copy = copyOf('family-criu-4.2.1').edit('pstree.img', (entries) => entries.pop());
  expect(linesOf(copy.path)).toEqual([
    'CORE_UNUSED core-21.img: warning: expected a process or thread of this id in pstree.img, found none',
  ]);
});

describe('images with something new in them', () => {
  test('a field and a value, told once for each image', () => {
    const copy = copyOf('mosaic-criu-4.2.1');
    // Field 100 of every entry, and an enum that nobody knows.
    copy.patch('fdinfo-2.img', (bytes) => {
      const entries: Buffer[] = [bytes.subarray(0, 8)];
      for (let at = 8; at < bytes.length; at += 4 + bytes.readUInt32LE(at)) {
        const body = Buffer.concat([
          bytes.subarray(at + 4, at + 4 + bytes.readUInt32LE(at)),
          Buffer.from([0xa0, 6, 1]),
        ]);
        entries.push(Buffer.from(Uint32Array.of(body.length).buffer), body);
      }
      return Buffer.concat(entries);
    });
    copy.edit('core-15.img', ([core]) => {
      core.mtype = 77;
    });
    expect(linesOf(copy.path)).toEqual([
      'UNKNOWN_VALUE core-15.img entry 0: warning: expected a known mtype of core_entry, found 77',
      'UNKNOWN_FIELD fdinfo-2.img entry 0: warning: expected known fields only, found field 100 of fdinfo_entry',
    ]);
  });

  test('versions', () => {
    const copy = copyOf('mosaic-criu-4.2.1').edit('inventory.img', ([inventory]) => {
      inventory.img_version = 9;
      inventory.compress = 7;
    });
    expect(linesOf(copy.path)).toEqual([
      'UNKNOWN_VERSION inventory.img entry 0: expected img_version 1, 2 or 3, found 9',
      'UNKNOWN_VERSION inventory.img entry 0: warning: expected compress 0 or 1, found 7',
    ]);
  });
});
