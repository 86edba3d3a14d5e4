/** Looking into what is no directory, when a system call fails: an error that names a file, and nothing left open. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { openFiles as openSource } from '../../src/arrival/open.js';
import { DumpError } from '../../src/errors.js';
import { archiveOf, filesOf, shardsOf } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { namesOf } from '../helpers/dump-files.js';
import { ANON, writeDump } from '../helpers/dump-writer.js';
import { faults } from '../helpers/faults.js';
import { openFiles, tempDir } from '../helpers/temp.js';

vi.mock('node:fs', async (original) => {
  const { wrap } = await import('../helpers/faults.js');
  return wrap(await original<typeof import('node:fs')>());
});

afterEach(() => faults.disarm());

type Form = 'tar' | 'stream' | 'shards';

/** A small dump in all forms. */
async function prepare() {
  const root = tempDir();
  const dump = join(root, 'dump');
  const vma = { start: 0x10000n, end: 0x40000n, ...ANON };
  writeDump(dump, { tasks: [{ pid: 7, vmas: [vma], entries: [{ vaddr: 0x10000n, pages: 20 }] }] });
  mkdirSync(join(root, 'spill'));
  const tar = archiveOf(dump, join(root, 'tar'));
  const stream = join(root, 'stream');
  expect((await cli(['read', dump], { stdout: stream })).code).toBe(0);
  const shards = shardsOf(dump, root, 2);
  return { root, dump, tar, stream, shards };
}

type Place = Awaited<ReturnType<typeof prepare>>;

/** Opens one of them, with no memory to hold it in, and reads all of it. */
async function readAll(place: Place, form: Form): Promise<Map<string, Buffer>> {
  const source = await openSource(form === 'stream' ? place.stream : place.tar, {
    ...(form === 'shards' ? { shards: place.shards } : {}),
    budget: { bytes: 0, directory: join(place.root, 'spill') },
    pages: 'hold',
    maxBytes: Number.MAX_SAFE_INTEGER,
    stdinFd: 0,
    signal: new AbortController().signal,
  });
  try {
    const files = new Map<string, Buffer>();
    for (const name of namesOf(source)) {
      const parts: Buffer[] = [];
      const buffer = new Uint8Array(50_000);
      for (let at = 0, count = -1; count !== 0; at += count) {
        count = source.readSome(name, buffer, at);
        parts.push(Buffer.from(buffer.subarray(0, count)));
      }
      files.set(name, Buffer.concat(parts));
    }
    return files;
  } finally {
    source.close();
  }
}

describe.each(['tar', 'stream', 'shards'] as const)('files of %s', (form) => {
  it.each(['openSync', 'readSync', 'writeSync', 'statSync', 'fstatSync'] as const)(
    'is an error when the nth %s fails, for every n',
    async (call) => {
      const place = await prepare();
      faults.count(call);
      await readAll(place, form);
      const total = faults.disarm();
      const wrong: string[] = [];
      for (let nth = 1; nth <= total; nth++) {
        faults.fail(call, nth);
        const error = await readAll(place, form).then(
          () => undefined,
          (thrown: unknown) => thrown,
        );
        const where = `${call} ${nth}: ${faults.lastFailure}`;
        faults.disarm();
        if (!(error instanceof DumpError) || !/^[^\n]+: input\/output error \(EIO\)$/.test(error.message)) {
          wrong.push(`${where}: expected a DumpError, found ${String(error)}`);
        }
        for (const path of openFiles(place.root)) wrong.push(`${where}: left open: ${path}`);
      }
      expect(wrong.slice(0, 3)).toEqual([]);
    },
  );

  it.each([1, 7, 4095])('is the same with reads and writes of at most %i bytes', async (bytes) => {
    const place = await prepare();
    faults.shorten(bytes);
    const files = await readAll(place, form);
    faults.disarm();
    const names = [...filesOf(place.dump).keys()];
    expect([...files.keys()].sort()).toEqual(names.sort());
    for (const [name, content] of filesOf(place.dump)) expect(files.get(name)?.equals(content), name).toBe(true);
  });
});
