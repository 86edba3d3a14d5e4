/** Copies a stream of Node into another one. */
import type { Readable, Writable } from 'node:stream';
import { finished } from 'node:stream/promises';

/**
 * Copies all bytes, and ends the target. stream.pipeline() never settles if its source is destroyed after its end has arrived
 * and before that was read, which happens with a broken connection.
 * @throws if either fails; then both are destroyed
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
