/**
 * Files whose bytes come side by side, each through a pipe, as events in one sequence. Each pipe is read one chunk ahead of
 * what is asked for, so none has to wait for another one; all but those of pages further, within a budget. What waits behind
 * a chunk of pages may go from the pipe into a file without being read.
 */
import type { WaitingBytes } from '../bytes.js';
import type { FileEvent } from '../dump/events.js';
import { isPagesName } from '../dump/names.js';
import { Fifo } from '../fifo.js';
import { Breather } from '../io/breathe.js';
import { FdReader } from '../io/fd.js';
import { enlargePipe, type Linux, linux } from '../io/linux.js';
import type { ReceivedDescriptor } from './descriptors.js';

/** CRIU's images have these permission bits, which do not come through a pipe. */
const IMAGE_MODE = 0o600;
/** Most that is moved at once: the other pipes must not wait for long. */
const MOVED_BYTES = 4 * 1024 * 1024;

/** Limit on what was read ahead, of all files. */
const AHEAD_BYTES = 8 * 1024 * 1024;

interface OpenFile {
  name: string;
  isPages: boolean;
  pipe: ReceivedDescriptor;
  chunks: AsyncGenerator<Uint8Array>;
  waiting: WaitingBytes | undefined;
  /** Ends a wait for more. */
  controller: AbortController;
}

interface Arrived {
  file: OpenFile;
  bytes: Uint8Array | 'begin' | 'end';
  /** Whether the next chunk is read before this one is asked for. */
  isAhead: boolean;
}

export interface MergedFilesOptions {
  /** Whether pipes of pages get their largest capacity. What is in them must not change. */
  enlarges: boolean;
  /** Whether all pages come first, so that the pipes are empty as soon as possible. */
  pagesFirst: boolean;
  /** Told of the bytes of files as they come. */
  progress(bytes: number): void;
  /** Told of the end of each file, when its pipe has come to its end. */
  ended(name: string): void;
}

export class MergedFiles {
  private readonly open = new Set<OpenFile>();
  private readonly arrived = new Fifo<Arrived>();
  /** What comes after the pages. */
  private readonly later = new Fifo<Arrived>();
  private aheadBytes = 0;
  /** Files that are no pages and wait until they are asked for. */
  private stalled = 0;
  private failure: { error: unknown } | undefined;
  private isComplete = false;
  private wake: (() => void) | undefined;

  constructor(private readonly options: MergedFilesOptions) {}

  /** Whether a pipe has not come to its end. */
  get hasOpen(): boolean {
    return this.open.size > 0;
  }

  /** Begins to read a file. The pipe is closed at its end. */
  add(name: string, pipe: ReceivedDescriptor): void {
    const controller = new AbortController();
    const chunks = new FdReader(pipe.fd, controller.signal, name).chunks();
    const isPages = isPagesName(name);
    const system = isPages ? linux() : undefined;
    if (system && this.options.enlarges) enlargePipe(pipe.fd);
    const waiting = system && waitingIn(pipe, system, this.options.progress);
    const file = { name, isPages, pipe, controller, chunks, waiting };
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

  async *events(): AsyncGenerator<FileEvent> {
    const breather = new Breather();
    try {
      for (;;) {
        const next = this.arrived.take() ?? (this.mayWait ? undefined : this.later.take());
        // What has come already is of no use then.
        if (this.failure) throw this.failure.error;
        if (next) {
          const { name, waiting } = next.file;
          if (next.bytes === 'begin') yield { type: 'file', name, kind: 'regular', mode: IMAGE_MODE };
          else if (next.bytes === 'end') yield { type: 'fileEnd', name };
          else {
            this.options.progress(next.bytes.length);
            yield { type: 'data', name, bytes: next.bytes, ...(waiting ? { waiting } : {}) };
            this.consumed(next, next.bytes.length);
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

  /** Whether what comes after the pages need not be passed on yet. */
  private get mayWait(): boolean {
    return this.stalled === 0 && !(this.isComplete && !this.hasOpen);
  }

  private arrive(file: OpenFile, bytes: Uint8Array | 'begin' | 'end', isAhead = false): void {
    const queue = file.isPages || !this.options.pagesFirst ? this.arrived : this.later;
    queue.push({ file, bytes, isAhead });
    this.wake?.();
  }

  /** A chunk is overwritten by the next, so what is read ahead is copied. */
  private chunk(file: OpenFile, bytes: Uint8Array): void {
    const isAhead = !file.isPages && this.aheadBytes + bytes.length <= AHEAD_BYTES;
    if (!isAhead) {
      if (!file.isPages) this.stalled++;
      this.arrive(file, bytes);
      return;
    }
    this.aheadBytes += bytes.length;
    this.arrive(file, bytes.slice(), isAhead);
    this.pull(file);
  }

  private consumed({ file, isAhead }: Arrived, bytes: number): void {
    if (isAhead) {
      this.aheadBytes -= bytes;
      return;
    }
    if (!file.isPages) this.stalled--;
    this.pull(file);
  }

  private pull(file: OpenFile): void {
    file.chunks.next().then(
      ({ done, value }) => {
        if (!done) {
          this.chunk(file, value);
          return;
        }
        this.end(file);
        this.arrive(file, 'end');
        this.options.ended(file.name);
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

function waitingIn({ fd }: ReceivedDescriptor, system: Linux, progress: (bytes: number) => void): WaitingBytes {
  return {
    moveTo(to, position) {
      let moved = 0;
      while (moved < MOVED_BYTES) {
        // Why the kernel does not go on is seen when the rest is read and written.
        const count = system.spliceReady(fd, to, position + moved, MOVED_BYTES - moved);
        if (count <= 0) break;
        moved += count;
      }
      progress(moved);
      return moved;
    },
  };
}
