/**
 * A page stream from pipe to pipe. Only the headers are read. The kernel moves the pages that a stage passes on into the next
 * pipe and drops the others. Pages need not be read, because their checksum is passed on with them.
 */
import { closeSync, fstatSync, openSync } from 'node:fs';
import { readFully, scratch } from '../../bytes.js';
import { extentOf } from '../../dump/extents.js';
import type { DumpRecord, PayloadFile } from '../../dump/records.js';
import { onFile } from '../../errors.js';
import { FdReader, readBlocking } from '../../io/fd.js';
import { enlargePipe, type Linux, LOAD_AFTER_BYTES, linux } from '../../io/linux.js';
import { PageStreamDecoder } from './decoder.js';

/** Shorter payload is read. */
const LEAST_BYTES = 64 * 1024;
const BUFFER_BYTES = 64 * 1024;

/**
 * Records of a page stream, whose pages the consumer may move from pipe to pipe. The payload of a record is valid until the
 * next one is asked for. Reads block.
 * @param to where the payload will go: a pipe there gets the same size
 */
export async function* passPageStream(fd: number, to: number): AsyncGenerator<Iterable<DumpRecord>> {
  const decoder = new PageStreamDecoder('stdin');
  const isPipe = onFile('stdin', () => fstatSync(fd)).isFIFO();
  let bytes = 0;
  for await (const chunk of new FdReader(fd).chunks()) {
    yield decoder.push(chunk);
    bytes += chunk.length;
    const system = isPipe && bytes > LOAD_AFTER_BYTES ? linux() : undefined;
    if (!system) continue;
    for (const end of [fd, to]) enlargePipe(end);
    yield passing(fd, decoder, system);
    break;
  }
  decoder.end();
}

function* passing(fd: number, decoder: PageStreamDecoder, system: Linux): Generator<DumpRecord> {
  const buffer = scratch(BUFFER_BYTES);
  const nowhere = openSync('/dev/null', 'w');
  try {
    for (;;) {
      const due = decoder.pagesDue;
      if (due >= LEAST_BYTES) {
        const pages = new PipedPages(fd, due, decoder, system, nowhere);
        yield extentOf(pages, 0, due);
        pages.skipTo(due);
        continue;
      }
      const part = buffer.subarray(0, Math.min(decoder.lackingBytes, BUFFER_BYTES));
      const count = readBlocking(fd, part, 'stdin');
      if (count === 0) return;
      yield* decoder.push(part.subarray(0, count));
    }
  } finally {
    closeSync(nowhere);
  }
}

/** Pages that are next in a pipe. They can be read once, in order. */
class PipedPages implements PayloadFile {
  readonly name = 'stdin';
  private at = 0;

  constructor(
    private readonly fd: number,
    readonly size: number,
    private readonly decoder: PageStreamDecoder,
    private readonly system: Linux,
    private readonly nowhere: number,
  ) {}

  read(buffer: Uint8Array, position: number): void {
    this.skipTo(position);
    const count = readFully((part) => readBlocking(this.fd, part, this.name), buffer, 0);
    this.passed(count);
    if (count < buffer.length) this.decoder.end();
  }

  spliceTo(to: number, position: number, bytes: number): number {
    this.skipTo(position);
    return this.move(to, bytes);
  }

  /** Drops everything before a position. */
  skipTo(position: number): void {
    if (position > this.at) this.move(this.nowhere, position - this.at);
    const buffer = new Uint8Array(Math.min(Math.max(position - this.at, 0), BUFFER_BYTES));
    while (this.at < position) this.read(buffer.subarray(0, position - this.at), this.at);
  }

  private move(to: number, bytes: number): number {
    for (let done = 0; done < bytes; ) {
      const count = this.system.splice(this.fd, to, bytes - done);
      if (count <= 0) return done;
      done += count;
      this.passed(count);
    }
    return bytes;
  }

  private passed(bytes: number): void {
    this.at += bytes;
    this.decoder.passed(bytes);
  }
}
