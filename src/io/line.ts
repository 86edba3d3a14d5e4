/** One line from the beginning of a stream. */
import { concatBytes } from '../bytes.js';

const NEWLINE = 0x0a;

/** A line without its end, and what has come after it. */
export interface Line {
  text: string;
  rest: Uint8Array;
}

/**
 * Reads a line. Returns undefined if the stream ends before. One that is too long, or does not begin as expected, is returned as
 * far as it has come: its end may never come.
 */
export async function readLine(
  chunks: AsyncIterable<Uint8Array>,
  maxBytes: number,
  beginning = '',
): Promise<Line | undefined> {
  const expected = Buffer.from(beginning);
  let bytes: Uint8Array = new Uint8Array(0);
  for await (const chunk of chunks) {
    // A copy: the chunk may be overwritten.
    bytes = concatBytes([bytes, chunk]);
    const end = bytes.indexOf(NEWLINE);
    if (end >= 0) return { text: text(bytes.subarray(0, end)), rest: bytes.subarray(end + 1) };
    const common = Math.min(bytes.length, expected.length);
    const differs = expected.compare(bytes, 0, common, 0, common) !== 0;
    if (bytes.length > maxBytes || differs) return { text: text(bytes), rest: bytes.subarray(bytes.length) };
  }
  return undefined;
}

const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString();
