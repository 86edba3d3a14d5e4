/** Stdin and stdout that are read plainly first, and are a stream afterwards. */
import { once } from 'node:events';
import { closeSync, writeSync } from 'node:fs';
import { expect, it, onTestFinished } from 'vitest';
import { PlainConnection } from '../../src/io/plain-connection.js';
import { pipe } from '../helpers/pipe.js';

function stdio() {
  const input = pipe();
  const output = pipe();
  const connection = PlainConnection.ofDescriptors(input.readFd, output.writeFd);
  connection.on('error', () => {});
  onTestFinished(() => {
    connection.destroy();
    closeSync(output.readFd);
  });
  return { connection, say: input.writeFd };
}

const text = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString();

it('gives what is there, then what comes, and is a stream when no more is taken plainly', async () => {
  const { connection, say } = stdio();
  writeSync(say, 'there');
  const chunks = connection.chunks();
  expect(text((await chunks.next()).value)).toBe('there');
  const later = chunks.next();
  setImmediate(() => writeSync(say, 'later'));
  const { value } = await later;
  expect(text(value)).toBe('later');
  // What comes before the next chunk is asked for does not touch this one.
  writeSync(say, 'third');
  await new Promise((resolve) => setImmediate(resolve));
  expect(text(value)).toBe('later');
  await chunks.return(undefined);
  const [piece] = await once(connection, 'data');
  expect(text(piece)).toBe('third');
  writeSync(say, 'last');
  closeSync(say);
  const rest: Buffer[] = [];
  connection.on('data', (bytes) => rest.push(bytes));
  await once(connection, 'end');
  expect(text(Buffer.concat(rest))).toBe('last');
});

it('can be read plainly to its end, more than once', async () => {
  const { connection, say } = stdio();
  setImmediate(() => {
    writeSync(say, 'all');
    closeSync(say);
  });
  for await (const chunk of connection.chunks()) expect(text(chunk)).toBe('all');
  for await (const chunk of connection.chunks()) expect.unreachable(text(chunk));
});

it('ends a wait when it is destroyed', async () => {
  const { connection, say } = stdio();
  const waiting = connection.chunks().next();
  setImmediate(() => connection.destroy());
  expect(await waiting).toEqual({ done: true, value: undefined });
  closeSync(say);
});
