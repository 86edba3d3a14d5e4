/** Stdin and stdout as a stream: when a write is done, and when a client is idle. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, constants, openSync, readSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { describe, expect, it, onTestFinished, vi } from 'vitest';
import { SocketPair } from '../../src/io/socket-pair.js';
import { pipe } from '../helpers/pipe.js';

/** Bytes that a pipe of Linux holds. */
const PIPE_BYTES = 64 * 1024;

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

describe('stdin and stdout as one stream', () => {
  it('says that a write is done when the pipe has taken it, and no earlier', async () => {
    const { stream, hear, say } = stdio();
    const full = PIPE_BYTES / 1024;
    let done = 0;
    const written = Array.from(
      { length: 100 },
      (_, i) => new Promise<void>((resolve) => stream.write(Buffer.alloc(1024, i), () => resolve(void done++))),
    );
    await written[full - 1];
    expect(done).toBe(full);
    const fd = openSync(`/proc/self/fd/${hear}`, constants.O_RDONLY | constants.O_NONBLOCK);
    const heard = Buffer.alloc(100 * 1024);
    let count = 0;
    for await (const chunk of new Socket({ fd, readable: true, writable: false })) {
      count += chunk.copy(heard, count);
      if (count === heard.length) break;
    }
    await Promise.all(written);
    for (let i = 0; i < 100; i++) expect(heard[i * 1024 + 1023]).toBe(i);
    closeSync(say);
  });

  it('ends when the program behind it has exited before', async () => {
    const program = spawn('true', { stdio: ['pipe', 'pipe', 'inherit'] });
    const stream = new SocketPair(program.stdout as Socket, program.stdin as Socket);
    await once(program, 'exit');
    const closed = once(stream, 'close');
    stream.end();
    await closed;
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

  it('is idle when neither side does anything, or takes anything', async () => {
    const expire: (() => void)[] = [];
    vi.spyOn(Socket.prototype, 'setTimeout').mockImplementation(function (this: Socket, _, expired) {
      if (expired) expire.push(expired);
      return this;
    });
    const { stream, say } = stdio();
    let idle = 0;
    stream.setTimeout(1000, () => idle++);
    const [input, output] = expire as [() => void, () => void];
    output();
    // What is written does not fit into the pipe, but nobody has taken any of it since.
    stream.write(Buffer.alloc(PIPE_BYTES + 1));
    input();
    expect(idle).toBe(0);
    output();
    expect(idle).toBe(1);
    writeSync(say, 'x');
    await once(stream, 'data');
    output();
    expect(idle).toBe(1);
    input();
    expect(idle).toBe(2);
    vi.restoreAllMocks();
    closeSync(say);
  });

  it('cannot be a file', () => {
    const fd = openSync('/dev/null', 'r');
    expect(() => SocketPair.ofDescriptors(fd, fd)).toThrow(expect.objectContaining({ code: 'ERR_INVALID_FD_TYPE' }));
    closeSync(fd);
  });
});
