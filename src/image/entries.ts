/** Messages of images that are in memory as a whole, as objects of the generated types. */
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { type MessageName, messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import { WireError } from '../protobuf/wire.js';

/**
 * One message.
 * @param place of the message, for errors; the offset is in bytes
 * @throws {DumpError} MALFORMED
 */
export function readMessage<M extends MessageName>(
  message: M,
  body: Uint8Array,
  place: { file: string; offset: number; entry?: number },
): Messages[M] {
  const descriptor = messageDescriptor(message);
  try {
    return readAnyObject(descriptor, body, 0, body.length) as unknown as Messages[M];
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new DumpError('MALFORMED', error.message, { ...place, offset: place.offset + error.at });
  }
}
