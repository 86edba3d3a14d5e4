/** Bytes as a stream in pieces of a given size. All share one buffer, as those of plain reads do. */
export function inPieces(bytes: Uint8Array, size: number): AsyncIterableIterator<Uint8Array> {
  const buffer = new Uint8Array(size);
  let at = 0;
  return {
    [Symbol.asyncIterator]() {
      return this;
    },
    async next() {
      const piece = buffer.subarray(0, Math.min(size, bytes.length - at));
      piece.set(bytes.subarray(at, at + piece.length));
      at += piece.length;
      return piece.length > 0 ? { done: false, value: piece } : { done: true, value: undefined };
    },
  };
}
