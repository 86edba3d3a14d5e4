/** The dump on a connection whose other end takes its time. */
import { once } from 'node:events';
import { closeSync, readFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { constants } from 'node:os';
import { join } from 'node:path';
import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { pump } from '../../src/dump/pump.js';
import { type Linux, linux, openPipe, type Pipe } from '../../src/io/linux.js';
import { PipeConnection } from '../../src/io/pipe-connection.js';
import { openDump } from '../../src/library/open-dump.js';
import { connectionSink } from '../../src/send/connection-sink.js';
import { cli } from '../helpers/cli.js';
import { pipe } from '../helpers/pipe.js';
import { fixture, tempDir } from '../helpers/temp.js';

/** A connection, and what its other end has got when it is closed. */
interface Taken {
  connection: Duplex;
  all(): Promise<Buffer>;
}

function late(): Taken {
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
  return { connection, all: async () => Buffer.concat(taken) };
}

/** Through a pipe that is full until the event loop runs. */
function piped(change: Partial<Linux> = {}): Taken {
  const input = pipe();
  closeSync(input.writeFd);
  const { from, to } = openPipe() as Pipe;
  const system = { ...(linux() as Linux), ...change };
  const connection = new PipeConnection(new Socket({ fd: input.readFd, writable: false }), to, system);
  const taken: Buffer[] = [];
  const other = new Socket({ fd: from, writable: false }).on('data', (bytes) => taken.push(bytes));
  const end = once(other, 'end');
  const all = async () => {
    await end;
    return Buffer.concat(taken);
  };
  return { connection, all };
}

/** Sends a dump of 2.24 MiB, and compares it with what `read` writes. */
async function expectSame({ connection, all }: Taken): Promise<void> {
  const stream = join(tempDir(), 'stream');
  expect((await cli(['read', fixture('family-criu-4.2.1')], { stdout: stream })).code).toBe(0);
  const dump = await openDump(fixture('family-criu-4.2.1'));
  let progress = 0;
  await pump(
    dump.records,
    [],
    connectionSink(connection, undefined, (bytes) => (progress += bytes)),
  );
  dump.close();
  expect(connection.writableEnded).toBe(false);
  connection.destroy();
  expect((await all()).equals(readFileSync(stream))).toBe(true);
  expect(progress).toBeGreaterThan(2 ** 21);
}

it('is what read writes, though the bytes are taken late, and the connection goes on', () => expectSame(late()));

describe.skipIf(!linux())('is the same through a pipe', () => {
  it('into which the kernel moves most of it', async () => {
    let moved = 0;
    const spliceFrom: Linux['spliceFrom'] = (...call) => {
      const count = linux()?.spliceFrom(...call) ?? 0;
      moved += Math.max(count, 0);
      return count;
    };
    await expectSame(piped({ spliceFrom }));
    expect(moved).toBeGreaterThan(2 ** 20);
  });

  it.each<[string, Partial<Linux>]>([
    ['into which it moves nothing', { spliceFrom: () => -constants.errno.EINVAL }],
    ['whose waits a signal ends', { waitWritable: () => -constants.errno.EINTR }],
  ])('%s', (_, change) => expectSame(piped(change)));
});

it('fails with the connection', async () => {
  const connection = new Duplex({ read() {}, write: (_bytes, _, done) => done(new Error('gone')) });
  connection.on('error', () => {});
  const dump = await openDump(fixture('mosaic-criu-4.2.1'));
  await expect(pump(dump.records, [], connectionSink(connection, undefined))).rejects.toThrow('gone');
  dump.close();
});
