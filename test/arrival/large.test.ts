/** Dumps of many processes cost what their size is, in whatever order their files come. */
import { expect, it } from 'vitest';
import { SequentialDump } from '../../src/arrival/sequential.js';
import type { FileEvent } from '../../src/dump/events.js';
import { image, Message } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';

/** Looking at all spaces for each event would take half a minute. */
const SPACES = 4000;
const CPU_SECONDS = 8;

function* file(name: string, bytes: Uint8Array): Generator<FileEvent> {
  yield { type: 'file', name, kind: 'regular', mode: 0o600, size: bytes.length };
  yield { type: 'data', name, bytes };
  yield { type: 'fileEnd', name };
}

const pagemap = (id: number): Uint8Array => image('PAGEMAP', [new Message().int(1, id)]);

async function* pagemapsThenPages(): AsyncGenerator<FileEvent> {
  for (let id = 1; id <= SPACES; id++) yield* file(`pagemap-${id}.img`, pagemap(id));
  for (let id = SPACES; id >= 1; id--) yield* file(`pages-${id}.img`, new Uint8Array(0));
}

it('all pagemaps before all pages', async () => {
  const before = process.cpuUsage();
  const dump = new SequentialDump({ name: 'in', areas: false, budget: { bytes: 0, directory: tempDir() } });
  let spaces = 0;
  const readAll = async () => {
    for await (const records of dump.records(pagemapsThenPages())) {
      for (const { type } of records) if (type === 'space') spaces++;
    }
  };
  await expect(readAll()).rejects.toThrow('in: expected a dump, found no inventory.img');
  expect(spaces).toBe(SPACES);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1e6).toBeLessThan(CPU_SECONDS);
});
