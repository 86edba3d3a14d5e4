/** Stdin and stdout as a stream: when a write is done, and when a client is idle. */
import { spawnSync } from 'node:child_process';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, onTestFinished } from 'vitest';
import { SocketPair } from '../../src/io/socket-pair.js';
import { tempDir } from '../helpers/temp.js';

/** Bytes that a pipe of Linux holds. */
const PIPE_BYTES = 64 * 1024;

/** A pipe with both ends in this process. */
function pipe(): { readFd: number; writeFd: number } {
  const path = join(tempDir(), 'pipe');
  expect(spawnSync('mkfifo', [path]).status).toBe(0);
  const readFd = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  return { readFd, writeFd: openSync(path, constants.O_WRONLY) };
}

function stdio() {
  const input = pipe();
  const output = pipe();
  const stream = SocketPair.ofDescriptors(input.readFd, output.writeFd);
  onTestFinished(() => {
    stream.destroy();
    closeSync(output.readFd);
  });
  return { stream, say: input.writeFd, hear: output.readFd };
}

const turns = async (count: number) => {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
};

describe('stdin and stdout as one stream', () => {
  it('says that a write is done when the pipe has taken it, and no earlier', async () => {
    const { stream, hear, say } = stdio();
    let done = 0;
    for (let i = 0; i < 100; i++) stream.write(Buffer.alloc(1024, i), () => done++);
    await turns(20);
    expect(done).toBe(PIPE_BYTES / 1024);
    const heard = Buffer.alloc(100 * 1024);
    let count = readSync(hear, heard, 0, PIPE_BYTES, null);
    while (count < heard.length) {
      await turns(1);
      try {
        count += readSync(hear, heard, count, heard.length - count, null);
      } catch (error) {
        expect((error as NodeJS.ErrnoException).code).toBe('EAGAIN');
      }
    }
    await turns(5);
    expect(done).toBe(100);
    for (let i = 0; i < 100; i++) expect(heard[i * 1024 + 1023]).toBe(i);
    closeSync(say);
  });

  it('ends when the other side ends, and lets go of its descriptors at its own end', async () => {
    const { stream, hear, say } = stdio();
    writeSync(say, 'all');
    closeSync(say);
    const heard: Buffer[] = [];
    for await (const chunk of stream.iterator({ destroyOnReturn: false })) heard.push(chunk);
    expect(Buffer.concat(heard).toString()).toBe('all');
    stream.end('bye');
    await new Promise((resolve) => stream.on('close', resolve));
    const last = Buffer.alloc(9);
    expect(readSync(hear, last, 0, 9, null)).toBe(3);
    // The end of the pipe: nobody has it open for writing.
    expect(readSync(hear, last, 0, 9, null)).toBe(0);
  });

  it('is idle when neither side does anything', async () => {
    const { stream, say } = stdio();
    const began = performance.now();
    await new Promise<void>((resolve) => stream.setTimeout(50, resolve));
    expect(performance.now() - began).toBeGreaterThanOrEqual(45);
    closeSync(say);
  });

  it('is idle, too, while nothing is taken', async () => {
    const { stream, say } = stdio();
    stream.write(Buffer.alloc(PIPE_BYTES + 1));
    await new Promise<void>((resolve) => stream.setTimeout(50, resolve));
    closeSync(say);
  });

  it('cannot be a file', () => {
    const fd = openSync('/dev/null', 'r');
    expect(() => SocketPair.ofDescriptors(fd, fd)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_FD_TYPE' }));
    closeSync(fd);
  });
});
