/** A connection into a pipe: it takes at once what the pipe has room for, and the rest follows in order. */
import { closeSync, openSync, readFileSync, readSync, writeFileSync } from 'node:fs';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { type Linux, linux, openPipe } from '../../src/io/linux.js';
import { PipeConnection } from '../../src/io/pipe-connection.js';
import { pipe } from '../helpers/pipe.js';
import { tempDir } from '../helpers/temp.js';

const real = linux();
/** Of the pipe, once it is enlarged. */
const PIPE_BYTES = 2 ** 20;
const BYTES = Buffer.from(Uint8Array.from({ length: 1.5 * PIPE_BYTES }, (_, i) => (i * 31 + (i >> 12)) % 251));

/** @param system in place of the real one */
function connected(system: Linux = real as Linux) {
  const input = pipe();
  closeSync(input.writeFd);
  const { from, to } = openPipe() as { from: number; to: number };
  const connection = new PipeConnection(new Socket({ fd: input.readFd, writable: false }), to, system);
  connection.on('error', () => {});
  onTestFinished(() => void connection.destroy());
  const path = join(tempDir(), 'file');
  writeFileSync(path, BYTES);
  const fd = openSync(path, 'r');
  onTestFinished(() => closeSync(fd));
  return { connection, from, place: { fd, offset: 100 } };
}

/** Reads exactly so many bytes. */
function take(fd: number, bytes: number): Buffer {
  const taken = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; ) at += readSync(fd, taken, at, bytes - at, null);
  return taken;
}

const written = (connection: PipeConnection, bytes: Uint8Array): Promise<unknown> =>
  new Promise((resolve) => connection.write(bytes, resolve));

describe.skipIf(!real)('a pipe', () => {
  it.each(['writeSoon', 'spliceSoon'] as const)('is filled at once by %s, and goes on when it is read', async (how) => {
    const { connection, from, place } = connected();
    const put = (start: number, end: number): number =>
      how === 'writeSoon'
        ? connection.writeSoon(BYTES.subarray(start, end))
        : connection.spliceSoon(place, start - place.offset, end - start);
    expect(put(0, 10)).toBe(10);
    const filled = 10 + put(10, BYTES.length);
    expect(filled).toBeGreaterThan(PIPE_BYTES / 2);
    expect(filled).toBeLessThanOrEqual(PIPE_BYTES);
    expect(put(filled, BYTES.length)).toBe(0);
    const rest = written(connection, BYTES.subarray(filled));
    // Nothing overtakes what is queued, though there is room by now.
    expect(take(from, filled).equals(BYTES.subarray(0, filled))).toBe(true);
    expect(put(0, 10)).toBe(0);
    await rest;
    expect(take(from, BYTES.length - filled).equals(BYTES.subarray(filled))).toBe(true);
    expect(put(0, 10)).toBe(10);
    expect(take(from, 10).equals(BYTES.subarray(0, 10))).toBe(true);
    closeSync(from);
  });

  it('is waited for while it is full, for a short time', () => {
    let waits = 0;
    const reading: Linux = {
      ...(real as Linux),
      waitWritable(fd, milliseconds) {
        // Somebody reads a quarter of it, once.
        if (++waits === 1) take(from, PIPE_BYTES / 4);
        return real?.waitWritable(fd, milliseconds) ?? 0;
      },
    };
    const { connection, from, place } = connected(reading);
    expect(connection.spliceSoon(place, -place.offset, BYTES.length)).toBe(1.25 * PIPE_BYTES);
    expect(waits).toBe(2);
    closeSync(from);
  });

  it('whose reader is gone takes nothing, and the write says so', async () => {
    const { connection, from, place } = connected();
    closeSync(from);
    expect(connection.spliceSoon(place, 0, 10)).toBe(0);
    expect(() => connection.writeSoon(BYTES)).toThrow(expect.objectContaining({ code: 'EPIPE' }));
    expect(await written(connection, BYTES)).toMatchObject({ code: 'EPIPE' });
  });

  it('of a destroyed connection is not written: its descriptor may be that of another file', async () => {
    const { connection, from, place } = connected();
    connection.destroy();
    const path = join(tempDir(), 'other');
    // Takes the number that is free.
    const others = Array.from({ length: 8 }, () => openSync(path, 'a'));
    expect([connection.writeSoon(BYTES), connection.spliceSoon(place, 0, 10)]).toEqual([0, 0]);
    expect(readFileSync(path, 'latin1')).toBe('');
    for (const fd of [...others, from]) closeSync(fd);
  });
});
