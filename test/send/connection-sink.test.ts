/** The dump on a connection whose other end takes its time. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { expect, it } from 'vitest';
import { pump } from '../../src/dump/pump.js';
import { openDump } from '../../src/library/open-dump.js';
import { connectionSink } from '../../src/send/connection-sink.js';
import { cli } from '../helpers/cli.js';
import { fixture, tempDir } from '../helpers/temp.js';

it('is what read writes, though the bytes are taken late, and the connection goes on', async () => {
  const stream = join(tempDir(), 'stream');
  expect((await cli(['read', fixture('family-criu-4.2.1')], { stdout: stream })).code).toBe(0);
  const taken: Buffer[] = [];
  const connection = new Duplex({
    read() {},
    write(bytes: Buffer, _, done) {
      setImmediate(() => {
        taken.push(Buffer.from(bytes));
        done();
      });
    },
  });
  const dump = await openDump(fixture('family-criu-4.2.1'));
  let progress = 0;
  await pump(
    dump.records,
    [],
    connectionSink(connection, undefined, (bytes) => (progress += bytes)),
  );
  dump.close();
  expect(Buffer.concat(taken).equals(readFileSync(stream))).toBe(true);
  expect(progress).toBeGreaterThan(2 ** 21);
  expect(connection.writableEnded).toBe(false);
  connection.destroy();
});

it('fails with the connection', async () => {
  const connection = new Duplex({ read() {}, write: (_bytes, _, done) => done(new Error('gone')) });
  connection.on('error', () => {});
  const dump = await openDump(fixture('mosaic-criu-4.2.1'));
  await expect(pump(dump.records, [], connectionSink(connection, undefined))).rejects.toThrow('gone');
  dump.close();
});
