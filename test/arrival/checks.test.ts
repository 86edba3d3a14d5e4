/** What is refused of files that arrive, as soon as it can be known. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ArrivalChecks } from '../../src/arrival/checks.js';
import type { FileBegin, FileEvent } from '../../src/dump/events.js';
import { DumpError } from '../../src/errors.js';
import { filesOf } from '../helpers/archives.js';
import { ANON, PE, writeDump } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';

/** A machine with several page sizes. */
const AARCH64 = 3;

type Files = Map<string, Uint8Array>;

/** The files of a small dump, by name: one task, two pages. */
function dumpFiles({ flags = PE.PRESENT, march }: { flags?: number; march?: number } = {}): Files {
  const dump = join(tempDir(), 'dump');
  const vma = { start: 0x10000n, end: 0x14000n, ...ANON };
  const tasks = [{ pid: 7, vmas: [vma], entries: [{ vaddr: 0x10000n, pages: 2, flags }] }];
  writeDump(dump, { tasks, ...(march === undefined ? {} : { march }) });
  return new Map(filesOf(dump));
}

const begin = (name: string, more: Partial<FileBegin> = {}): FileBegin => ({
  type: 'file',
  name,
  kind: 'regular',
  mode: 0o600,
  ...more,
});

/** The events of a file, its bytes in pieces. */
function eventsOf(name: string, bytes: Uint8Array, piece = Number.POSITIVE_INFINITY): FileEvent[] {
  const events: FileEvent[] = [begin(name)];
  for (let at = 0; at < bytes.length; at += piece) {
    events.push({ type: 'data', name, bytes: bytes.subarray(at, at + piece) });
  }
  return [...events, { type: 'fileEnd', name }];
}

/** All files arrive, in the order of the map. */
function arrive(files: Files, { piece, extra = [] }: { piece?: number; extra?: FileEvent[] } = {}): ArrivalChecks {
  const checks = new ArrivalChecks({ name: 'archive' });
  for (const [name, bytes] of files) for (const event of eventsOf(name, bytes, piece)) checks.take(event);
  for (const event of extra) checks.take(event);
  checks.finish();
  return checks;
}

const without = (files: Files, name: string): Files => new Map([...files].filter(([other]) => other !== name));

/** The files, one of them changed. */
const changed = (files: Files, name: string, change: (bytes: Uint8Array) => Uint8Array): Files =>
  new Map([...files].map(([other, bytes]) => [other, other === name ? change(bytes) : bytes]));

/** Code and message of what is thrown. */
function errorOf(work: () => void): string {
  try {
    work();
  } catch (error) {
    if (error instanceof DumpError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'none';
}

describe('a whole dump', () => {
  it.each([1, 3, 4096])('passes in pieces of %i bytes, and tells of itself', (piece) => {
    const files = dumpFiles();
    const checks = arrive(files, { piece });
    expect(checks.tasks).toEqual([expect.objectContaining({ pid: 7, dead: false })]);
    expect(checks.march).toBe(1);
    expect(checks.bytes).toBe([...files.values()].reduce((sum, { length }) => sum + length, 0));
    expect(checks.pagemaps.get('pagemap-7.img')?.pagesBytes).toBe(8192);
  });

  it('passes backwards, with things beside it that do not count', () => {
    const files = dumpFiles();
    const backwards = new Map([...files].reverse());
    const beside = eventsOf('../core-8.img', Buffer.from('no image'));
    expect(arrive(backwards, { extra: beside }).bytes).toBe(arrive(files).bytes);
  });

  it('tells of runs as they come', () => {
    const pages: [string, number][] = [];
    const checks = new ArrivalChecks({
      name: 'archive',
      onRuns: (pagemap, runs) => pages.push([pagemap, runs.payloadBytes]),
    });
    for (const [name, bytes] of dumpFiles()) for (const event of eventsOf(name, bytes, 5)) checks.take(event);
    expect(pages).toEqual([['pagemap-7.img', 8192]]);
  });
});

describe('refused at once is', () => {
  const take = (...events: FileEvent[]) => {
    const checks = new ArrivalChecks({ name: 'archive', areTaken: () => true });
    for (const event of events) checks.take(event);
  };

  it('a name that comes twice', () => {
    expect(errorOf(() => take(...eventsOf('a', Buffer.from('x')), begin('a')))).toBe(
      'BAD_NAME a: the name occurs twice',
    );
    expect(() => take(begin('../\uFFFD'), begin('../\uFFFD'))).not.toThrow();
  });

  it('a link that leads outside, but for the one to the parent', () => {
    expect(errorOf(() => take(begin('link', { kind: 'link', target: Buffer.from('../x') })))).toBe(
      'BAD_NAME link: the link leads outside the dump',
    );
    expect(() => take(begin('parent', { kind: 'link', target: Buffer.from('../x') }))).not.toThrow();
    expect(() => take(begin('../link', { kind: 'link', target: Buffer.from('../../x') }))).not.toThrow();
  });

  it('a link or a folder in the place of an image', () => {
    for (const kind of ['link', 'directory'] as const) {
      for (const name of ['pages-1.img', 'pagemap-7.img', 'mm-7.img', 'core-7.img', 'inventory.img', 'pstree.img']) {
        expect(errorOf(() => take(begin(name, { kind, target: Buffer.from('a') })))).toBe(
          `UNSUPPORTED ${name}: expected an image, found a ${kind === 'link' ? 'link' : 'folder'}`,
        );
      }
    }
  });

  it('an image with the magic of another, or with a part of its own', () => {
    const core = dumpFiles().get('core-7.img') as Uint8Array;
    for (const piece of [1, 5]) {
      expect(errorOf(() => take(...eventsOf('files.img', core, piece)))).toBe(
        'WRONG_MAGIC files.img@0x4: expected FILES magic 0x56303138, found 0x55053847 (CORE)',
      );
      expect(errorOf(() => take(...eventsOf('files.img', core.subarray(0, 7), piece)))).toBe(
        'TRUNCATED files.img@0x7: expected 8 bytes of magic (FILES), found 7',
      );
    }
    expect(errorOf(() => take(...eventsOf('files.img', new Uint8Array(0))))).toBe(
      'TRUNCATED files.img@0x0: expected 8 bytes of magic (FILES), found 0',
    );
  });

  it('a pages file that is passed on with another size than its pagemap says, whichever comes first', () => {
    const files = dumpFiles();
    const difference = { longer: '1 byte more', shorter: '1 byte fewer' };
    for (const [what, expected] of Object.entries(difference)) {
      const change = (bytes: Uint8Array) =>
        what === 'longer' ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes.slice(1);
      const damaged = changed(files, 'pages-1.img', change);
      const named = ['pagemap-7.img', 'pages-1.img'].map((name) => eventsOf(name, damaged.get(name) as Uint8Array));
      for (const events of [named, named.toReversed()]) {
        expect
          .soft(errorOf(() => take(...events.flat())))
          .toBe(`PAGES_SIZE pages-1.img: the file has ${expected} than pagemap-7.img says`);
      }
    }
  });

  it('a pages_id whose pages are passed on to another pagemap', () => {
    const pagemap = dumpFiles().get('pagemap-7.img') as Uint8Array;
    const both = [...eventsOf('pagemap-7.img', pagemap), ...eventsOf('pagemap-8.img', pagemap)];
    expect(errorOf(() => take(...both))).toBe(
      'PAGES_ID_TWICE pagemap-8.img@0x8: expected a pages_id of its own, found 1, that of pagemap-7.img',
    );
  });

  it('a machine with several page sizes, unless it is known which it was', () => {
    const core = dumpFiles({ march: AARCH64 }).get('core-7.img') as Uint8Array;
    expect(errorOf(() => take(...eventsOf('core-7.img', core)))).toBe(
      'UNSUPPORTED archive: AArch64 machines have several page sizes',
    );
    const checks = new ArrivalChecks({ name: 'archive', pageSize: 65536 });
    for (const event of eventsOf('core-7.img', core)) checks.take(event);
    expect(checks.march).toBe(AARCH64);
  });
});

describe('refused in the end is a dump', () => {
  it.each([
    ['inventory.img', 'NOT_A_DUMP archive: expected a dump, found no inventory.img'],
    ['pstree.img', 'NOT_A_DUMP archive: expected a dump, found no pstree.img'],
    ['core-7.img', 'MISSING_IMAGE core-7.img: expected this image, named by pstree.img, found none'],
    ['mm-7.img', 'MISSING_IMAGE mm-7.img: expected this image, named by pstree.img, found none'],
    ['pagemap-7.img', 'MISSING_IMAGE pagemap-7.img: expected this image, named by pstree.img, found none'],
    ['pages-1.img', 'MISSING_IMAGE pages-1.img: expected this image, named by pagemap-7.img, found none'],
  ])('without %s', (name, expected) => {
    expect(errorOf(() => arrive(without(dumpFiles(), name)))).toBe(expected);
  });

  it.each([
    ['core-7.img', ': expected an image, found 1 byte', 'CORE magic 0x55053847'],
    ['mm-7.img', '@0x1: expected 8 bytes of magic (MM), found 1', 'MM magic 0x54564319'],
    ['ids-7.img', '@0x1: expected 8 bytes of magic (IDS), found 1', 'IDS magic 0x54564319'],
    ['fs-7.img', '@0x1: expected 8 bytes of magic (FS), found 1', 'FS magic 0x54564319'],
  ])('with a damaged %s', (name, short, magic) => {
    const error = (text: string) => errorOf(() => arrive(changed(dumpFiles(), name, () => Buffer.from(text))));
    expect(error('x')).toBe(`TRUNCATED ${name}${short}`);
    expect(error('no image')).toBe(`WRONG_MAGIC ${name}@0x0: expected ${magic}, found 0x69206f6e`);
  });

  it.each([
    ['more', 1],
    ['fewer', -1],
  ])('with %s bytes of pages than their pagemap says', (what, by) => {
    const resize = (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(1)]).subarray(0, bytes.length + by);
    expect(errorOf(() => arrive(changed(dumpFiles(), 'pages-1.img', resize)))).toBe(
      `PAGES_SIZE pages-1.img: the file has 1 byte ${what} than pagemap-7.img says`,
    );
  });

  it('with one pages_id for the pagemaps of two processes', () => {
    const dump = join(tempDir(), 'dump');
    const entries = [{ vaddr: 0x10000n, pages: 2, flags: PE.PRESENT }];
    const vmas = [{ start: 0x10000n, end: 0x14000n, ...ANON }];
    writeDump(dump, { tasks: [7, 8].map((pid) => ({ pid, vmas, entries, pagesId: 1 })) });
    const files = new Map(filesOf(dump));
    const orders = [
      [files, 'pagemap-8.img', 'pagemap-7.img'],
      [new Map([...files].reverse()), 'pagemap-7.img', 'pagemap-8.img'],
    ] as const;
    for (const [order, last, first] of orders) {
      expect(errorOf(() => arrive(order))).toBe(
        `PAGES_ID_TWICE ${last}@0x8: expected a pages_id of its own, found 1, that of ${first}`,
      );
    }
  });

  it('with pages in a parent that it has not', () => {
    const files = dumpFiles({ flags: PE.PARENT });
    expect(errorOf(() => arrive(files))).toBe(
      'NO_PARENT pagemap-7.img: expected a parent dump, which has pages of this one, found no parent link',
    );
    expect(() =>
      arrive(files, { extra: [begin('parent', { kind: 'link', target: Buffer.from('../1') })] }),
    ).not.toThrow();
  });
});

describe('an earlier dump in the same place', () => {
  const left = (files: Files) => new Map([...dumpFiles(), ...files]);
  const pagemap = () => dumpFiles().get('pagemap-7.img') as Uint8Array;
  const finish = (files: Files) => {
    const checks = new ArrivalChecks({ name: 'archive' });
    for (const [name, bytes] of files) for (const event of eventsOf(name, bytes)) checks.take(event);
    return checks.finish();
  };

  it('is left out: a pagemap of no process, with the pages of another', () => {
    const files = left(new Map([['pagemap-8.img', pagemap()]]));
    for (const order of [files, new Map([...files].reverse())]) {
      expect(finish(order)).toEqual({ pagemaps: ['pagemap-8.img'], pages: [], unused: [] });
    }
  });

  it('is left out: a pagemap of no process, with pages of its own', () => {
    const own = Buffer.from(pagemap());
    // The last byte of the head is the pages_id.
    own[13] = 2;
    const files = left(
      new Map([
        ['pagemap-8.img', own],
        ['pages-2.img', new Uint8Array(8192)],
      ]),
    );
    expect(finish(files)).toEqual({ pagemaps: ['pagemap-8.img'], pages: ['pages-2.img'], unused: [] });
  });

  it('is left out: pages of no pagemap', () => {
    const files = left(new Map([['pages-2.img', new Uint8Array(4096)]]));
    expect(finish(files)).toEqual({ pagemaps: [], pages: [], unused: ['pages-2.img'] });
  });

  it('may be damaged where no process has it', () => {
    const damaged = Buffer.from('no image');
    const names = ['core-8.img', 'mm-8.img', 'fs-8.img', 'ids-8.img'];
    expect(finish(left(new Map(names.map((name) => [name, damaged]))))).toMatchObject({ pagemaps: [] });
  });
});
