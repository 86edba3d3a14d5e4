/** How a range is fetched from a server that cuts its answers. */
import type * as Sdk from '@aws-sdk/client-s3';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { type FetchContext, fetchRange } from '../../../src/containers/s3/fetch.js';

const BYTES = 1000;
const REQUEST = { slot: 0, bucket: 'dumps', key: 'pages-1.img', etag: '"e"', size: BYTES, start: 0, bytes: BYTES };

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

/** A server whose answers end after so many bytes: with an error, or as if that were all. */
function cutting(bytes: number, error?: Error): FetchContext {
  const send = async ({ input }: { input: { Range: string } }) => {
    const [from, last] = (input.Range.match(/\d+/g) ?? []).map(Number) as [number, number];
    async function* body() {
      yield new Uint8Array(Math.min(bytes, last + 1 - from)).fill(7);
      if (error && last + 1 - from > bytes) throw error;
    }
    return {
      $metadata: { httpStatusCode: 206 },
      ContentRange: `bytes ${from}-${last}/${BYTES}`,
      ContentLength: last + 1 - from,
      Body: Object.assign(body(), { destroy: () => {} }),
    };
  };
  class GetObjectCommand {
    constructor(readonly input: object) {}
  }
  return {
    sdk: { GetObjectCommand } as unknown as typeof Sdk,
    client: { send } as unknown as FetchContext['client'],
    signal: new AbortController().signal,
    onBytes: () => {},
    onRetry: () => {},
  };
}

const KINDS = [
  ['with an error', new Error('aborted')],
  ['as if that were all', undefined],
] as const;

it.each(KINDS)('a body that ends early, %s, is fetched on from there', async (_, error) => {
  const into = new Uint8Array(BYTES);
  const fetched = fetchRange(REQUEST, into, cutting(400, error));
  await vi.runAllTimersAsync();
  await fetched;
  expect(into.every((byte) => byte === 7)).toBe(true);
});

it.each(KINDS)('a server that always cuts its answers, %s, is not available', async (_, error) => {
  const fetched = fetchRange(REQUEST, new Uint8Array(BYTES), cutting(1, error)).catch(({ failure }) => failure);
  await vi.runAllTimersAsync();
  expect(await fetched).toEqual({
    code: 'UNAVAILABLE',
    what: 'cannot read the object: the server has cut its answer 9 times',
    file: 's3://dumps/pages-1.img',
    offset: 9,
  });
});
