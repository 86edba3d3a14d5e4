/** The thread of the client: takes requests, works on many at a time, and answers each. See protocol.ts. */
import { type MessagePort, workerData } from 'node:worker_threads';
import { storeCalls } from './calls.js';
import { loadSdk, openClient } from './client.js';
import { failureOf, S3Failure } from './failure.js';
import { fetchRange } from './fetch.js';
import {
  type Answer,
  type CallName,
  type Calls,
  COUNTER,
  type Failure,
  type FetchRequest,
  type Request,
  type S3Settings,
  type Shared,
  WORD,
} from './protocol.js';

const { port, shared, settings } = workerData as { port: MessagePort; shared: Shared; settings: S3Settings };

const HEARTBEAT_MS = 1000;

const control = new Int32Array(shared.control);
const counters = new BigInt64Array(shared.counters);
const slots = new Map<number, Uint8Array>();
const running = new Map<number, AbortController>();

/** Has the main thread look at what is new. */
function wake(): void {
  Atomics.add(control, WORD.EVENTS, 1);
  Atomics.notify(control, WORD.EVENTS);
}

const count = (counter: number, amount: number): void => void Atomics.add(counters, counter, BigInt(amount));

setInterval(() => Atomics.add(control, WORD.HEARTBEAT, 1), HEARTBEAT_MS).unref();
for (const event of ['uncaughtException', 'unhandledRejection'] as const) {
  process.on(event, (error) => {
    port.postMessage({ id: 0, failure: bug(error) } satisfies Answer);
    Atomics.store(control, WORD.BROKEN, 1);
    wake();
  });
}

const ready = start();
ready.catch(() => {}); // Each request fails with it.

async function start() {
  const sdk = loadSdk();
  const client = await openClient(sdk, settings, () => count(COUNTER.REQUESTS, 1)).catch((error) => {
    throw new S3Failure(failureOf(error, { action: 'set up the S3 client' }));
  });
  return { sdk, client, ...storeCalls(sdk, client, (bytes) => count(COUNTER.SENT, bytes)) };
}

port.on('message', ({ id, name, argument }: Request) => {
  void answer(name, argument).then((body) => {
    // The memory of a part goes back to its owner. After a failure something may still read it.
    const isGivenBack = name === 'uploadPart' && body.failure === undefined;
    const memory = isGivenBack ? ((argument as { bytes: Uint8Array }).bytes.buffer as ArrayBuffer) : undefined;
    port.postMessage({ id, ...body, memory } satisfies Answer, memory ? [memory] : []);
    wake();
  });
});

async function answer(name: CallName, argument: Request['argument']): Promise<Omit<Answer, 'id'>> {
  try {
    switch (name) {
      case 'attach': {
        const { slot, memory } = argument as Parameters<Calls['attach']>[0];
        slots.set(slot, new Uint8Array(memory));
        return {};
      }
      case 'cancel':
        running.get((argument as { slot: number }).slot)?.abort();
        return {};
      case 'fetch':
        await fetchIntoSlot(argument as FetchRequest);
        return {};
      default: {
        const calls = await ready;
        return { result: await (calls[name] as (argument: unknown) => Promise<unknown>)(argument) };
      }
    }
  } catch (error) {
    return { failure: error instanceof S3Failure ? error.failure : bug(error) };
  }
}

async function fetchIntoSlot(request: FetchRequest): Promise<void> {
  const { slot } = request;
  const abort = new AbortController();
  running.set(slot, abort);
  try {
    const { sdk, client } = await ready;
    await fetchRange(request, slots.get(slot) as Uint8Array, {
      sdk,
      client,
      signal: abort.signal,
      onBytes(bytes, done) {
        count(COUNTER.RECEIVED, bytes);
        Atomics.store(control, WORD.FILLED + slot, done);
        wake();
      },
      onRetry: () => count(COUNTER.RETRIES, 1),
    });
  } finally {
    running.delete(slot);
  }
}

/** Something that nobody has thought of. */
const bug = (error: unknown): Failure => ({ code: 'BUG', what: (error as Error)?.stack ?? String(error) });
