/** What is refused of files that arrive, as soon as it can be known. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ArrivalChecks } from '../../src/arrival/checks.js';
import type { FileBegin, FileEvent } from '../../src/dump/events.js';
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

const code = (value: string) => expect.objectContaining({ code: value });

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
    expect(() => take(...eventsOf('a', Buffer.from('x')), begin('a'))).toThrow(code('BAD_NAME'));
    expect(() => take(begin('../\uFFFD'), begin('../\uFFFD'))).not.toThrow();
  });

  it('a link that leads outside, but for the one to the parent', () => {
    expect(() => take(begin('link', { kind: 'link', target: Buffer.from('../x') }))).toThrow(code('BAD_NAME'));
    expect(() => take(begin('parent', { kind: 'link', target: Buffer.from('../x') }))).not.toThrow();
    expect(() => take(begin('../link', { kind: 'link', target: Buffer.from('../../x') }))).not.toThrow();
  });

  it('a link or a folder in the place of an image', () => {
    for (const kind of ['link', 'directory'] as const) {
      for (const name of ['pages-1.img', 'pagemap-7.img', 'mm-7.img', 'core-7.img', 'inventory.img', 'pstree.img']) {
        expect(() => take(begin(name, { kind, target: Buffer.from('a') }))).toThrow(code('UNSUPPORTED'));
      }
    }
  });

  it('an image with the magic of another, or with a part of its own', () => {
    const core = dumpFiles().get('core-7.img') as Uint8Array;
    for (const piece of [1, 5]) {
      expect(() => take(...eventsOf('files.img', core, piece))).toThrow(code('WRONG_MAGIC'));
      expect(() => take(...eventsOf('files.img', core.subarray(0, 7), piece))).toThrow(code('TRUNCATED'));
    }
    expect(() => take(...eventsOf('files.img', new Uint8Array(0)))).toThrow(code('TRUNCATED'));
  });

  it('a pages file that is passed on with another size than its pagemap says, whichever comes first', () => {
    const files = dumpFiles();
    const difference = { longer: '1 bytes more', shorter: '1 bytes fewer' };
    for (const [what, expected] of Object.entries(difference)) {
      const change = (bytes: Uint8Array) =>
        what === 'longer' ? Buffer.concat([bytes, Buffer.alloc(1)]) : bytes.slice(1);
      const damaged = changed(files, 'pages-1.img', change);
      const named = ['pagemap-7.img', 'pages-1.img'].map((name) => eventsOf(name, damaged.get(name) as Uint8Array));
      for (const events of [named, named.toReversed()]) {
        expect(() => take(...events.flat())).toThrow(`pages-1.img: the file has ${expected} than pagemap-7.img says`);
      }
    }
  });

  it('a pages_id whose pages are passed on to another pagemap', () => {
    const pagemap = dumpFiles().get('pagemap-7.img') as Uint8Array;
    const both = [...eventsOf('pagemap-7.img', pagemap), ...eventsOf('pagemap-8.img', pagemap)];
    expect(() => take(...both)).toThrow('found 1, that of pagemap-7.img');
  });

  it('a machine with several page sizes, unless it is known which it was', () => {
    const core = dumpFiles({ march: AARCH64 }).get('core-7.img') as Uint8Array;
    expect(() => take(...eventsOf('core-7.img', core))).toThrow(code('UNSUPPORTED'));
    const checks = new ArrivalChecks({ name: 'archive', pageSize: 65536 });
    for (const event of eventsOf('core-7.img', core)) checks.take(event);
    expect(checks.march).toBe(AARCH64);
  });
});

describe('refused in the end is a dump', () => {
  it.each([
    ['inventory.img', 'NOT_A_DUMP'],
    ['pstree.img', 'NOT_A_DUMP'],
    ['core-7.img', 'MISSING_IMAGE'],
    ['mm-7.img', 'MISSING_IMAGE'],
    ['pagemap-7.img', 'MISSING_IMAGE'],
    ['pages-1.img', 'MISSING_IMAGE'],
  ])('without %s', (name, expected) => {
    expect(() => arrive(without(dumpFiles(), name))).toThrow(code(expected));
  });

  it.each(['core-7.img', 'mm-7.img', 'ids-7.img', 'fs-7.img'])('with a damaged %s', (name) => {
    for (const bytes of [Buffer.from('x'), Buffer.from('no image')]) {
      expect(() => arrive(changed(dumpFiles(), name, () => bytes))).toThrow(expect.objectContaining({ file: name }));
    }
  });

  it.each([
    ['longer', 1],
    ['shorter', -1],
  ])('with pages that are %s than their pagemap says', (_, by) => {
    const resize = (bytes: Uint8Array) => Buffer.concat([bytes, Buffer.alloc(1)]).subarray(0, bytes.length + by);
    expect(() => arrive(changed(dumpFiles(), 'pages-1.img', resize))).toThrow(code('PAGES_SIZE'));
  });

  it('with one pages_id for the pagemaps of two processes', () => {
    const dump = join(tempDir(), 'dump');
    const entries = [{ vaddr: 0x10000n, pages: 2, flags: PE.PRESENT }];
    const vmas = [{ start: 0x10000n, end: 0x14000n, ...ANON }];
    writeDump(dump, { tasks: [7, 8].map((pid) => ({ pid, vmas, entries, pagesId: 1 })) });
    const files = new Map(filesOf(dump));
    for (const order of [files, new Map([...files].reverse())])
      expect(() => arrive(order)).toThrow(code('PAGES_ID_TWICE'));
  });

  it('with pages in a parent that it has not', () => {
    const files = dumpFiles({ flags: PE.PARENT });
    expect(() => arrive(files)).toThrow(code('NO_PARENT'));
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
