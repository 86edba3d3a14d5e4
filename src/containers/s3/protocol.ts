/**
 * What the two threads say to each other. The main thread sends requests as messages; the worker answers each with a message.
 * The bytes of objects come in slots: pieces of shared memory that the main thread gives to the worker, each for one range.
 * In the shared control words the worker says how many bytes of each slot are there, counts what happens, and shows that it
 * lives. The main thread waits for changes of one word, EVENTS.
 */

/** Where the store is. What is not set comes from the environment and the profile, as for aws-cli. */
export interface S3Settings {
  /** Base URL of a server that is not Amazon's. */
  endpointUrl?: string | undefined;
  region?: string | undefined;
  profile?: string | undefined;
}

/** Most slots that there can be. */
export const MAX_SLOTS = 64;

/** Places of the control words. */
export const WORD = {
  /** Goes up with everything that happens. */
  EVENTS: 0,
  /** Goes up every second. */
  HEARTBEAT: 1,
  /** Not 0 when the worker cannot go on. */
  BROKEN: 2,
  /** For each slot, how many bytes are there. */
  FILLED: 3,
} as const;
export const CONTROL_WORDS = WORD.FILLED + MAX_SLOTS;

/** Places of the counters, 64 bits each. */
export const COUNTER = { REQUESTS: 0, RECEIVED: 1, SENT: 2, RETRIES: 3 } as const;
export const COUNTERS = 4;

/** The memory that both threads see. */
export interface Shared {
  control: SharedArrayBuffer;
  counters: SharedArrayBuffer;
}

/** An object as a list or a question for it describes it. */
export interface ObjectInfo {
  key: string;
  /** Bytes. */
  size: number;
  /** Differs when the object is another one. */
  etag: string;
  /** Milliseconds since 1970; 0 if the server does not say. */
  modifiedMs: number;
}

/** What is below a prefix. */
export interface Listing {
  objects: ObjectInfo[];
  /** With a delimiter: what the keys begin with that go on beyond it. */
  prefixes: string[];
}

/** A range of an object that goes into a slot. */
export interface FetchRequest {
  slot: number;
  bucket: string;
  key: string;
  etag: string;
  /** Bytes of the whole object. */
  size: number;
  /** Offset of the first byte. */
  start: number;
  /** How many. */
  bytes: number;
}

/** An upload in parts. */
export interface Upload {
  bucket: string;
  key: string;
  uploadId: string;
}

export interface UploadedPart {
  /** From 1. */
  number: number;
  etag: string;
  /** CRC-32 as the client computed it and the server confirmed it, if it did. */
  crc32?: string | undefined;
}

/** The calls of the worker: what is sent, and what comes back. */
export interface Calls {
  head(address: { bucket: string; key: string }): ObjectInfo | undefined;
  list(request: { bucket: string; prefix: string; delimiter?: string | undefined; most: number }): Listing;
  fetch(request: FetchRequest): void;
  cancel(request: { slot: number }): void;
  attach(request: { slot: number; memory: SharedArrayBuffer }): void;
  put(request: { bucket: string; key: string; bytes: Uint8Array; ifAbsent: boolean }): { etag: string };
  remove(address: { bucket: string; key: string }): void;
  createUpload(address: { bucket: string; key: string }): Upload;
  uploadPart(request: { upload: Upload; number: number; bytes: Uint8Array }): UploadedPart;
  completeUpload(request: { upload: Upload; parts: readonly UploadedPart[]; ifAbsent: boolean }): { etag: string };
  abortUpload(upload: Upload): void;
}

export type CallName = keyof Calls;

export interface Request<Name extends CallName = CallName> {
  id: number;
  name: Name;
  argument: Parameters<Calls[Name]>[0];
}

/** Why a call failed; {@link DumpError} is made of it. */
export interface Failure {
  code: 'SYSTEM' | 'UNAVAILABLE' | 'CHANGED' | 'DAMAGED' | 'UNSUPPORTED' | 'OUTPUT_EXISTS' | 'LIMIT' | 'BUG';
  what: string;
  file?: string | undefined;
  offset?: number | undefined;
  hint?: string | undefined;
}

export interface Answer {
  id: number;
  result?: unknown;
  failure?: Failure;
  /** Memory of the request that comes back. */
  memory?: ArrayBuffer | undefined;
}
