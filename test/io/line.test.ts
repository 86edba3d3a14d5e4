/** A line from a stream that comes in any pieces. */
import { expect, it } from 'vitest';
import { readLine } from '../../src/io/line.js';
import { inPieces } from '../helpers/pieces.js';

it.each([1, 2, 5, 100])('is the same in pieces of %i bytes, and takes nothing of what follows', async (size) => {
  const pieces = inPieces(Buffer.from('pagepipe send 2\nrest'), size);
  const line = await readLine(pieces, 20, 'pagepipe');
  expect(line?.text).toBe('pagepipe send 2');
  const rest = [Buffer.from(line?.rest ?? [])];
  for await (const piece of pieces) rest.push(Buffer.from(piece));
  expect(Buffer.concat(rest).toString()).toBe('rest');
});

it.each([
  ['that begins otherwise', 'pagan\n', 'paga'],
  ['without an end', `pagepipe ${'x'.repeat(50)}`, `pagepipe ${'x'.repeat(12)}`],
])('is returned as far as it has come: a line %s', async (_, text, found) => {
  expect((await readLine(inPieces(Buffer.from(text), 1), 20, 'pagepipe'))?.text).toBe(found);
});

it.each(['', 'pagepipe'])('is none if the stream ends before: %j', async (text) => {
  expect(await readLine(inPieces(Buffer.from(text), 3), 20)).toBeUndefined();
});
