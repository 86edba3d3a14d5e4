/** One stream of Node into another. */
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';

/**
 * Passes on all that a stream gives, and ends the other one. stream.pipeline() would do, but it never settles when its source is
 * destroyed after the source has got its end and before somebody has read it: what a broken connection does to its streams.
 * @throws if either breaks off; both are destroyed then
 */
export async function pour(from: Readable, to: Writable): Promise<void> {
  from.pipe(to, { end: false });
  try {
    await Promise.race([finished(from, { writable: false }), finished(to, { readable: false })]);
    to.end();
    await finished(to, { readable: false });
  } catch (error) {
    from.destroy();
    to.destroy(error as Error);
    throw error;
  }
}
