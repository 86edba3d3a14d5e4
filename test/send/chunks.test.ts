/** A compressed dump in chunks, which come in any pieces. */
import { once } from 'node:events';
import { PassThrough } from 'node:stream';
import { expect, it } from 'vitest';
import { inChunks, outOfChunks } from '../../src/send/chunks.js';
import { inPieces } from '../helpers/pieces.js';

const broken = (): Error => new Error('broken off');
const BODIES = ['a', 'second', 'x'.repeat(300)];

async function written(): Promise<Buffer> {
  const connection = new PassThrough();
  const out = inChunks(connection);
  for (const body of BODIES) out.write(body);
  out.end();
  await once(out, 'finish');
  expect(connection.writableEnded).toBe(false);
  return connection.read();
}

async function read(bytes: Uint8Array, size: number): Promise<string> {
  let found = '';
  for await (const piece of outOfChunks(inPieces(bytes, size), broken)) found += Buffer.from(piece).toString();
  return found;
}

it.each([1, 3, 4, 7, 4096])('comes out as it went in, in pieces of %i bytes', async (size) => {
  expect(await read(await written(), size)).toBe(BODIES.join(''));
});

it('is broken off if it is cut anywhere', async () => {
  const bytes = await written();
  for (let length = 0; length < bytes.length; length++) {
    await expect(read(bytes.subarray(0, length), 64)).rejects.toThrow('broken off');
  }
});

it('ends the connection when it fails', () => {
  const connection = new PassThrough();
  const out = inChunks(connection);
  out.on('error', () => {});
  out.destroy(broken());
  expect(connection.destroyed).toBe(true);
});
