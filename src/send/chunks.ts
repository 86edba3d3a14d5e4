/**
 * A compressed dump on a connection that goes on after it.
 *
 *     chunk*, and an empty chunk
 *     chunk := length:u32le, body[length]
 */
import { type Duplex, Writable } from 'node:stream';

const LENGTH_BYTES = 4;

/** Writes chunks to a connection, which stays open at the end. */
export function inChunks(connection: Duplex): Writable {
  return new Writable({
    write(chunk: Uint8Array, _encoding, done) {
      connection.write(length(chunk.length));
      connection.write(chunk, done);
    },
    final: (done) => void connection.write(length(0), done),
    destroy(error, done) {
      if (error) connection.destroy();
      done(error);
    },
  });
}

function length(bytes: number): Uint8Array {
  const field = Buffer.allocUnsafe(LENGTH_BYTES);
  field.writeUInt32LE(bytes);
  return field;
}

/**
 * The bodies up to the empty chunk.
 * @param broken makes the error for an input that ends before
 */
export async function* outOfChunks(input: AsyncIterable<Uint8Array>, broken: () => Error): AsyncGenerator<Uint8Array> {
  const field = Buffer.alloc(LENGTH_BYTES);
  let fieldBytes = 0;
  let left = 0;
  for await (const bytes of input) {
    for (let at = 0; at < bytes.length; ) {
      if (left > 0) {
        const piece = bytes.subarray(at, at + left);
        at += piece.length;
        left -= piece.length;
        yield piece;
        continue;
      }
      field[fieldBytes++] = bytes[at++] as number;
      if (fieldBytes < LENGTH_BYTES) continue;
      fieldBytes = 0;
      left = field.readUInt32LE();
      if (left === 0) return;
    }
  }
  throw broken();
}
