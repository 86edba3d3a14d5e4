/**
 * Files whose bytes come side by side, each through a pipe, as events in one sequence. Each pipe is read one chunk ahead of
 * what is asked for, so none has to wait for another one, and no more is held.
 */
import type { FileEvent } from '../dump/events.js';
import { Fifo } from '../fifo.js';
import { Breather } from '../io/breathe.js';
import { FdReader } from '../io/fd.js';
import type { ReceivedDescriptor } from './descriptors.js';

/** CRIU's images have these permission bits, which do not come through a pipe. */
const IMAGE_MODE = 0o600;

interface OpenFile {
  name: string;
  pipe: ReceivedDescriptor;
  chunks: AsyncGenerator<Uint8Array>;
  /** Ends a wait for more. */
  controller: AbortController;
}

export class MergedFiles {
  private readonly open = new Set<OpenFile>();
  private readonly arrived = new Fifo<{ file: OpenFile; bytes: Uint8Array | 'begin' | 'end' }>();
  private failure: { error: unknown } | undefined;
  private isComplete = false;
  private wake: (() => void) | undefined;

  /** Whether a pipe has not come to its end. */
  get hasOpen(): boolean {
    return this.open.size > 0;
  }

  /** Begins to read a file. The pipe is closed at its end. */
  add(name: string, pipe: ReceivedDescriptor): void {
    const controller = new AbortController();
    const file = { name, pipe, controller, chunks: new FdReader(pipe.fd, controller.signal, name).chunks() };
    this.open.add(file);
    this.arrive(file, 'begin');
    this.pull(file);
  }

  /** No file comes any more. */
  complete(): void {
    this.isComplete = true;
    this.wake?.();
  }

  fail(error: unknown): void {
    this.failure ??= { error };
    this.wake?.();
  }

  /** @param ended called after the end of each file */
  async *events(ended: (name: string) => void): AsyncGenerator<FileEvent> {
    const breather = new Breather();
    try {
      for (;;) {
        const next = this.arrived.take();
        // What has come already is of no use then.
        if (this.failure) throw this.failure.error;
        if (next) {
          const { name } = next.file;
          if (next.bytes === 'begin') yield { type: 'file', name, kind: 'regular', mode: IMAGE_MODE };
          else if (next.bytes === 'end') {
            yield { type: 'fileEnd', name };
            ended(name);
          } else {
            yield { type: 'data', name, bytes: next.bytes };
            this.pull(next.file);
          }
          const breath = breather.due();
          if (breath) await breath;
        } else if (this.isComplete && !this.hasOpen) return;
        else {
          await new Promise<void>((resolve) => {
            this.wake = resolve;
          });
        }
      }
    } finally {
      this.close();
    }
  }

  /** Closes all pipes: their writers find them broken. */
  close(): void {
    this.fail(new Error('closed'));
    for (const file of this.open) {
      file.controller.abort();
      const closed = () => this.end(file);
      // One that waits for its turn is not ended by the signal.
      file.chunks.return(undefined).then(closed, closed);
    }
  }

  private arrive(file: OpenFile, bytes: Uint8Array | 'begin' | 'end'): void {
    this.arrived.push({ file, bytes });
    this.wake?.();
  }

  private pull(file: OpenFile): void {
    file.chunks.next().then(
      ({ done, value }) => {
        if (done) this.end(file);
        this.arrive(file, done ? 'end' : value);
      },
      (error) => {
        this.end(file);
        this.fail(error);
      },
    );
  }

  private end(file: OpenFile): void {
    if (this.open.delete(file)) file.pipe.close();
  }
}
