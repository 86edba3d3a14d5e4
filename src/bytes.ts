/** Small helpers for bytes. */

/** Takes bytes in order; must be done with them when it returns. */
export type Emit = (bytes: Uint8Array) => void;

/** The same bytes as a plain Uint8Array: `slice` of a Buffer is no copy. */
export const plainBytes = (bytes: Uint8Array): Uint8Array =>
  new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** Memory with any content, for what is filled before it is read: zeros would be written to all of it. */
export const scratch = (bytes: number): Uint8Array => plainBytes(Buffer.allocUnsafeSlow(bytes));

export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const joined = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
}

/** Reads up to `buffer.length` bytes at a position; 0 means that there are no more. */
export type ReadSome = (buffer: Uint8Array, position: number) => number;

/**
 * Reads until `buffer` is full: a read may give less than was asked for.
 * @returns bytes read, fewer than `buffer.length` only at the end of the input
 */
export function readFully(readSome: ReadSome, buffer: Uint8Array, position: number): number {
  let done = 0;
  while (done < buffer.length) {
    const count = readSome(done === 0 ? buffer : buffer.subarray(done), position + done);
    if (count === 0) break;
    done += count;
  }
  return done;
}

/** Where bytes are in a regular file that is open. */
export interface FilePlace {
  readonly fd: number;
  /** Of the first byte. */
  readonly offset: number;
}

/** A file that payload is read from when it is needed. */
export interface PayloadFile {
  /** For errors. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** Whether it stays as it is until the dump is closed; else what is read later may be something else. */
  readonly isLasting?: boolean;
  /** Keeps what does not last past its record as it is, until the function is called that it returns. */
  keep?(): () => void;
  /** Where its bytes are, if they are in one piece of a file; good until the file is read again. */
  place?(): FilePlace | undefined;
  /**
   * Says what will be read next: position and bytes of each range, ascending. For what is far away.
   * @param isAwaited whether somebody waits for it, so that time counts more than bytes
   */
  willRead?(extents: Float64Array, isAwaited?: boolean): void;
  /** As that of RandomAccess. */
  arrival?(position: number, bytes: number, isNeeded?: boolean): Promise<void> | undefined;
  /**
   * Of bytes that are in a pipe, which come once and in order: moves some to another descriptor, without reading them.
   * @returns bytes, fewer than asked for if the kernel cannot go on. The next read then shows why.
   */
  spliceTo?(fd: number, position: number, bytes: number): number;
  /** Fills all of `buffer` from `position`; throws DumpError if the file is shorter. */
  read(buffer: Uint8Array, position: number): void;
}

/** Bytes that wait in a pipe, and need not be read. */
export interface WaitingBytes {
  /**
   * Has the kernel move what is there, and what comes meanwhile, to a position of a file.
   * @returns bytes; 0 if nothing is there, or if the kernel cannot do it
   */
  moveTo(fd: number, position: number): number;
}
