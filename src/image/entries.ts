/** The entries of an image that is in memory as a whole, as objects of the generated types. */
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { canonicalMessage } from './canonical.js';
import { rawEntries } from './framing.js';
import type { ImageType } from './magic.js';
import { type MessageName, messagePlan } from './message.js';
import { readObject } from './object.js';
import { WireError } from './wire.js';

/**
 * Entries of a type without extras.
 * @throws {DumpError} WRONG_MAGIC, TRUNCATED, LIMIT, MALFORMED
 */
export function* readEntries<M extends MessageName>(
  bytes: Uint8Array,
  type: ImageType,
  message: M,
  file: string,
): Generator<Messages[M]> {
  const plan = messagePlan(message);
  for (const { body, offset, entry } of rawEntries(bytes, type, file)) {
    try {
      const canonical = canonicalMessage(plan, body, 0, body.length);
      yield readObject(plan, canonical.bytes, canonical.start, canonical.end) as unknown as Messages[M];
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new DumpError('MALFORMED', error.message, { file, offset: offset + error.at, entry });
    }
  }
}
