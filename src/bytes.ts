/** Small things that are done to bytes. */

/** Takes bytes in order; must be done with them when it returns. */
export type Emit = (bytes: Uint8Array) => void;

/** The same bytes as a plain Uint8Array: `slice` of a Buffer is no copy. */
export const plainBytes = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}
