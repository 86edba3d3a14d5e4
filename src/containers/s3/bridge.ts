/**
 * The way to an object store. A dump is read and written by calls that return when they are done, but the client of the store
 * is asynchronous: it runs in a worker thread, and this thread sleeps while it waits for an answer.
 *
 * `s3Bridge(settings)` gives the bridge of these settings; there is one for each, and it starts with the first call:
 *
 *     bridge.head({ bucket, key })                        ObjectInfo, or undefined if there is no such object
 *     bridge.list({ bucket, prefix, delimiter, most })    Listing; LIMIT if there are more than `most`
 *     bridge.put({ bucket, key, bytes, ifAbsent })        { etag }; with ifAbsent OUTPUT_EXISTS if the object is there
 *     bridge.remove({ bucket, key })                      no error if there is none
 *     bridge.createUpload({ bucket, key })                Upload
 *     bridge.startPart({ upload, number, bytes })         Pending<UploadedPart>: `bytes` must have an ArrayBuffer of their own,
 *                                                         which moves to the worker; it is `memory` of the Pending when done
 *     bridge.completeUpload({ upload, parts, ifAbsent })  { etag }; with ifAbsent as put
 *     bridge.abortUpload(upload)                          no error if it is gone
 *     bridge.start(name, argument)                        Pending: any of these without waiting for it
 *     bridge.usage()                                      requests, bytes received and sent, so far
 *
 * `pending.wait()` sleeps until the answer is there and returns it or throws; `await pending.settled()` does not block the
 * thread; `pending.isDone()` only looks. All throw {@link DumpError}, with the s3:// name as the file: SYSTEM for what failed
 * after all retries, CHANGED, DAMAGED for answers that are wrong, UNSUPPORTED without the client.
 */
import { MessageChannel, type MessagePort, receiveMessageOnPort, Worker } from 'node:worker_threads';
import { DumpError, InternalError } from '../../errors.js';
import {
  type Answer,
  type CallName,
  type Calls,
  CONTROL_WORDS,
  COUNTER,
  COUNTERS,
  type Failure,
  type Listing,
  type ObjectInfo,
  type Request,
  type S3Settings,
  type Shared,
  type Upload,
  type UploadedPart,
  WORD,
} from './protocol.js';
import { countUsage, forgetUsage, type S3Usage } from './usage.js';

/** The worker is a file of its own. Commands are in bundles (.cjs) above it. */
const WORKER = new URL(import.meta.url.endsWith('.cjs') ? './containers/s3/worker.js' : './worker.js', import.meta.url);

/** How long this thread sleeps at most before it looks whether the worker lives. */
const SLEEP_MS = 30_000;
/** After so many sleeps without a sign of life it is dead: one may be due to a process that was stopped. */
const SLEEPS = 3;

/** An answer that may not be there yet. */
export class Pending<T> {
  private answer: Answer | undefined;
  /** Memory that was moved to the worker and is back. */
  memory: ArrayBuffer | undefined;
  /** Called when the answer is there. */
  private readonly watchers: (() => void)[] = [];

  constructor(private readonly bridge: S3Bridge) {}

  isDone(): boolean {
    if (this.answer === undefined) this.bridge.takeAnswers();
    return this.answer !== undefined;
  }

  /** The answer; sleeps until it is there. Throws {@link DumpError}. */
  wait(): T {
    this.bridge.sleepUntil(() => this.isDone());
    return this.result();
  }

  /** The same, without blocking the thread. */
  async settled(): Promise<T> {
    if (!this.isDone()) {
      await this.bridge.listening(new Promise<void>((resolve) => void this.watchers.push(resolve)));
    }
    return this.result();
  }

  /** To be called by the bridge. */
  done(answer: Answer): void {
    this.answer = answer;
    this.memory = answer.memory;
    for (const watcher of this.watchers.splice(0)) watcher();
  }

  private result(): T {
    const { failure, result } = this.answer as Answer;
    if (failure) throw errorOf(failure);
    return result as T;
  }
}

export class S3Bridge {
  private readonly shared: Shared = {
    control: new SharedArrayBuffer(CONTROL_WORDS * Int32Array.BYTES_PER_ELEMENT),
    counters: new SharedArrayBuffer(COUNTERS * BigInt64Array.BYTES_PER_ELEMENT),
  };
  private readonly control = new Int32Array(this.shared.control);
  private readonly counters = new BigInt64Array(this.shared.counters);
  private readonly port: MessagePort;
  private readonly worker: Worker;
  private readonly pending = new Map<number, Pending<unknown>>();
  private lastId = 0;
  /** How many wait without blocking the thread. */
  private listeners = 0;
  private broken: DumpError | InternalError | undefined;

  constructor(settings: S3Settings) {
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.worker = new Worker(WORKER, {
      workerData: { port: port2, shared: this.shared, settings },
      transferList: [port2],
      // Otherwise Node would touch process.stdout, which makes pipes non-blocking.
      stdout: true,
      stderr: true,
      execArgv: [],
    });
    // It lives as long as the process, and does not keep it.
    this.worker.unref();
    this.worker.on('error', (error) => this.fail(new InternalError(`the S3 client: ${error.stack ?? error.message}`)));
    port1.unref();
  }

  readonly head = (address: Argument<'head'>): ObjectInfo | undefined => this.start('head', address).wait();
  readonly list = (request: Argument<'list'>): Listing => this.start('list', request).wait();
  readonly put = (request: Argument<'put'>): { etag: string } => this.start('put', request).wait();
  readonly remove = (address: Argument<'remove'>): void => this.start('remove', address).wait();
  readonly createUpload = (address: Argument<'createUpload'>): Upload => this.start('createUpload', address).wait();
  readonly completeUpload = (request: Argument<'completeUpload'>): { etag: string } =>
    this.start('completeUpload', request).wait();
  readonly abortUpload = (upload: Upload): void => this.start('abortUpload', upload).wait();

  startPart(request: Argument<'uploadPart'>): Pending<UploadedPart> {
    return this.start('uploadPart', request, [request.bytes.buffer as ArrayBuffer]);
  }

  /** Sends a request. Its answer can be waited for. */
  start<Name extends CallName>(
    name: Name,
    argument: Argument<Name>,
    transfer: ArrayBuffer[] = [],
  ): Pending<ReturnType<Calls[Name]>> {
    if (this.broken) throw this.broken;
    const pending = new Pending<ReturnType<Calls[Name]>>(this);
    const id = ++this.lastId;
    this.pending.set(id, pending);
    this.port.postMessage({ id, name, argument } satisfies Request, transfer);
    return pending;
  }

  usage(): S3Usage {
    const counter = (place: number) => Number(Atomics.load(this.counters, place));
    return {
      requests: counter(COUNTER.REQUESTS),
      bytesReceived: counter(COUNTER.RECEIVED),
      bytesSent: counter(COUNTER.SENT),
    };
  }

  /** Bytes of the range in a slot that are there. */
  filled(slot: number): number {
    return Atomics.load(this.control, WORD.FILLED + slot);
  }

  /** To be called before a slot is used for another range. */
  empty(slot: number): void {
    Atomics.store(this.control, WORD.FILLED + slot, 0);
  }

  /** Sleeps until something is true that the worker brings about. */
  sleepUntil(isTrue: () => boolean): void {
    let beat = Atomics.load(this.control, WORD.HEARTBEAT);
    for (let sleeps = 0; ; ) {
      const seen = Atomics.load(this.control, WORD.EVENTS);
      if (isTrue()) return;
      if (this.broken) throw this.broken;
      if (Atomics.load(this.control, WORD.BROKEN) !== 0) throw new InternalError('the S3 client cannot go on');
      if (Atomics.wait(this.control, WORD.EVENTS, seen, SLEEP_MS) !== 'timed-out') continue;
      const now = Atomics.load(this.control, WORD.HEARTBEAT);
      sleeps = now === beat ? sleeps + 1 : 0;
      beat = now;
      if (sleeps >= SLEEPS) throw new InternalError('the thread of the S3 client has ended');
    }
  }

  /** Takes the answers that are there. */
  takeAnswers(): void {
    for (;;) {
      const received = receiveMessageOnPort(this.port) as { message: Answer } | undefined;
      if (received === undefined) return;
      this.take(received.message);
    }
  }

  /** Has answers come in by the event loop, until a promise is settled. */
  async listening(promise: Promise<void>): Promise<void> {
    if (this.listeners++ === 0) this.port.on('message', this.take);
    await promise;
    if (--this.listeners === 0) this.port.off('message', this.take);
  }

  /** Ends the thread. What is under way fails. */
  async close(): Promise<void> {
    await this.worker.terminate();
    this.fail(new InternalError('the S3 client is closed'));
    this.port.close();
  }

  private readonly take = (answer: Answer): void => {
    if (answer.id === 0) this.fail(errorOf(answer.failure as Failure));
    this.pending.get(answer.id)?.done(answer);
    this.pending.delete(answer.id);
  };

  /** The worker cannot go on, so everything fails that is not done. */
  private fail(error: DumpError | InternalError): void {
    this.broken ??= error;
    const failure: Failure = { code: 'BUG', what: error.message };
    for (const [id, pending] of this.pending) pending.done({ id, failure });
    this.pending.clear();
  }
}

type Argument<Name extends CallName> = Parameters<Calls[Name]>[0];

function errorOf({ code, what, file, offset, hint }: Failure): DumpError | InternalError {
  if (code === 'BUG') return new InternalError(`the S3 client: ${what}`);
  return new DumpError(code, what, {
    ...(file === undefined ? {} : { file }),
    ...(offset === undefined ? {} : { offset }),
    ...(hint === undefined ? {} : { hint }),
  });
}

const bridges = new Map<string, S3Bridge>();

/** The bridge of these settings: the same one each time. */
export function s3Bridge({ endpointUrl, region, profile }: S3Settings = {}): S3Bridge {
  const key = JSON.stringify([endpointUrl, region, profile]);
  const known = bridges.get(key);
  if (known) return known;
  const bridge = new S3Bridge({ endpointUrl, region, profile });
  bridges.set(key, bridge);
  countUsage(() => bridge.usage());
  return bridge;
}

/** Ends the threads of all bridges, for a process that goes on without them. */
export async function closeS3Bridges(): Promise<void> {
  const open = [...bridges.values()];
  bridges.clear();
  forgetUsage();
  await Promise.all(open.map((bridge) => bridge.close()));
}
