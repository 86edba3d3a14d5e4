/**
 * An S3 server for tests, in memory and in a thread of its own: s3-server-thread.mjs. It checks no signatures. One server for
 * a test file is enough, because each endpoint has a client of its own, which takes half a second to start.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import { vi } from 'vitest';
import { closeS3Bridges } from '../../src/containers/s3/bridge.js';

/** A request that the server has seen. */
export interface SeenRequest {
  method: string;
  /** Path and query. */
  url: string;
  range?: string;
}

/** Some requests that are answered wrongly. */
export interface Misbehaviour {
  method?: 'GET' | 'HEAD' | 'PUT' | 'POST' | 'DELETE';
  /** Of path and query. */
  url: RegExp;
  /** So many are answered rightly before. */
  after?: number;
  /** So many are answered wrongly; all without it. */
  times?: number;
  /** See s3-server-thread.mjs. */
  how: 'status' | 'silence' | 'close' | 'otherBytes' | 'header' | 'whole' | 'cut' | 'long' | 'keys';
  status?: number;
  code?: string;
  /** Of `header`: it is left out without a value. */
  name?: string;
  value?: string;
  /** Of `keys`: these. */
  keys?: readonly string[];
  endless?: boolean;
}

export class S3Server {
  private readonly worker = new Worker(new URL('./s3-server-thread.mjs', import.meta.url));
  private readonly waiting = new Map<number, (result: unknown) => void>();
  private lastId = 0;
  endpointUrl = '';

  /** To be closed after all tests. */
  static async start(...buckets: string[]): Promise<S3Server> {
    const server = new S3Server();
    const port = await new Promise((resolve) => {
      server.waiting.set(0, resolve);
      server.worker.on('message', ({ id, result }) => server.waiting.get(id)?.(result));
    });
    server.endpointUrl = `http://127.0.0.1:${port}`;
    for (const bucket of buckets) await server.order('bucket', { bucket });
    return server;
  }

  /** Has s3:// names lead here, until the end of the test. */
  stubEnvironment(): void {
    vi.stubEnv('AWS_ENDPOINT_URL', this.endpointUrl);
    for (const [name, value] of Object.entries(ENVIRONMENT)) vi.stubEnv(name, value);
  }

  /** Also ends the clients. */
  async close(): Promise<void> {
    await closeS3Bridges();
    await this.order('close', {});
    await this.worker.terminate();
  }

  set(bucket: string, key: string, bytes: Uint8Array): Promise<unknown> {
    return this.order('set', { bucket, key, bytes });
  }

  get(bucket: string, key: string): Promise<Uint8Array | undefined> {
    return this.order('get', { bucket, key }) as Promise<Uint8Array | undefined>;
  }

  remove(bucket: string, key: string): Promise<unknown> {
    return this.order('remove', { bucket, key });
  }

  keys(bucket: string): Promise<string[]> {
    return this.order('keys', { bucket }) as Promise<string[]>;
  }

  /** Uploads that are neither complete nor aborted. */
  uploads(): Promise<number> {
    return this.order('uploads', {}) as Promise<number>;
  }

  /** Answers some requests wrongly from now on; without rules all rightly. */
  misbehave(...rules: readonly Misbehaviour[]): Promise<unknown> {
    return this.order('misbehave', { rules });
  }

  /** The requests since the last call. */
  log(): Promise<SeenRequest[]> {
    return this.order('log', {}) as Promise<SeenRequest[]>;
  }

  /** Puts the files of a folder below a prefix. */
  setFolder(bucket: string, prefix: string, folder: string): Promise<void> {
    return putFolder(folder, (name, bytes) => this.set(bucket, `${prefix}${name}`, bytes));
  }

  private order(order: string, rest: object): Promise<unknown> {
    const id = ++this.lastId;
    return new Promise((resolve) => {
      this.waiting.set(id, (result) => {
        this.waiting.delete(id);
        resolve(result);
      });
      this.worker.postMessage({ id, order, ...rest });
    });
  }
}

/** Puts the files below a folder one after the other. Links are left out. */
export async function putFolder(
  folder: string,
  put: (name: string, bytes: Uint8Array) => Promise<unknown>,
): Promise<void> {
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    await put(path.slice(folder.length + 1), readFileSync(path));
  }
}

/** What the client signs with. It looks for no configuration of this machine. */
export const ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: 'test',
  AWS_SECRET_ACCESS_KEY: 'test',
  AWS_EC2_METADATA_DISABLED: 'true',
  AWS_CONFIG_FILE: '/dev/null',
  AWS_SHARED_CREDENTIALS_FILE: '/dev/null',
} as const;
