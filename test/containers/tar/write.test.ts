/** What an archive waits for: a size comes before its bytes. */
import { expect, it } from 'vitest';
import { SequentialDump } from '../../../src/arrival/sequential.js';
import { newHeader } from '../../../src/containers/tar/headers.js';
import { TarSink } from '../../../src/containers/tar/write.js';
import type { FileEvent } from '../../../src/dump/events.js';
import { pump } from '../../../src/dump/pump.js';
import { BLOCK_BYTES } from '../../../src/io/byte-queue.js';
import { image, Message } from '../../helpers/dump-writer.js';

const PAGES = 100;
const PAGE_BYTES = 4096;

function begin(name: string, size: number): FileEvent {
  const header = { name, storedBytes: size, isSparse: false, blocks: () => newHeader(name, 0o600, size, 0) };
  return { type: 'file', name, kind: 'regular', mode: 0o600, size, header };
}

it('pages are written as they come, if all of their pagemap came before them', async () => {
  // Every other page is mapped, so each has an entry of its own.
  const entry = (i: number) =>
    new Message()
      .int(1, 2 * i * PAGE_BYTES)
      .int(2, 1)
      .int(4, 4);
  const pagemap = image('PAGEMAP', [new Message().int(1, 1), ...Array.from({ length: PAGES }, (_, i) => entry(i + 1))]);
  let writtenBytes = 0;
  const written: number[] = [];
  async function* arriving(): AsyncGenerator<FileEvent> {
    yield begin('pagemap-1.img', pagemap.length);
    for (let at = 0; at < pagemap.length; at += 100) {
      yield { type: 'data', name: 'pagemap-1.img', bytes: pagemap.subarray(at, at + 100) };
    }
    yield { type: 'fileEnd', name: 'pagemap-1.img' };
    yield begin('pages-1.img', PAGES * PAGE_BYTES);
    for (let i = 0; i < PAGES; i++) {
      written.push(writtenBytes);
      yield { type: 'data', name: 'pages-1.img', bytes: new Uint8Array(PAGE_BYTES).fill(i) };
    }
    yield { type: 'fileEnd', name: 'pages-1.img' };
  }
  // Enough for the pagemap alone.
  const budget = { bytes: BLOCK_BYTES, directory: '/nonexistent' };
  const dump = new SequentialDump({ name: 'in', areas: false, budget });
  const write = (bytes: Uint8Array) => {
    writtenBytes += bytes.length;
  };
  const nothing = () => {};
  const sink = new TarSink({ write, drain: nothing, commit: nothing, discard: nothing }, { budget });
  await expect(pump(dump.records(arriving()), [], sink)).rejects.toThrow('in: expected a dump, found no inventory.img');
  // Pagemap and header were written when the first page had come.
  const beforePages = (written[1] as number) - PAGE_BYTES;
  expect(beforePages).toBeGreaterThan(pagemap.length);
  expect(written.slice(1)).toEqual(Array.from({ length: PAGES - 1 }, (_, i) => beforePages + (i + 1) * PAGE_BYTES));
});
