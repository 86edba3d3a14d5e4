/** Bytes of a process by address, as far as the dump has them: its arguments, its environment. */
import type { MemoryState, TaskMemory } from '../explore/task-memory.js';
import type { Word } from '../image/number-fields.js';
import { decodeText } from '../protobuf/object.js';

export interface MemoryBytes {
  bytes: Uint8Array;
  /** Whether there is more than was asked for. */
  isCut: boolean;
}

const TWO_32 = 2 ** 32;

/** A range in pages, and where in the first one its bytes begin. */
export interface PageRange {
  pageNumber: number;
  pages: number;
  /** Bytes. */
  offset: number;
  length: number;
  isCut: boolean;
}

/** The pages of a range of addresses, of which no more than `most` bytes count; none of one that is empty or reversed. */
export function pageRange(start: Word, end: Word, most: number, pageSize: number): PageRange {
  const bytes = Math.max(0, (end.hi - start.hi) * TWO_32 + end.lo - start.lo);
  const length = Math.min(bytes, most);
  const offset = start.lo % pageSize;
  const pageNumber = start.hi * (TWO_32 / pageSize) + Math.floor(start.lo / pageSize);
  return { pageNumber, pages: Math.ceil((offset + length) / pageSize), offset, length, isCut: bytes > most };
}

/** The bytes of a range, or the state of the first page of it whose bytes are not in the dump. */
export function bytesOf(memory: TaskMemory, range: PageRange): MemoryBytes | Exclude<MemoryState, 'stored' | 'zero'> {
  const { pageNumber, pages, offset, length, isCut } = range;
  const all = new Uint8Array(pages * memory.pageSize);
  if (length === 0) return { bytes: all.subarray(0, 0), isCut };
  for (const piece of memory.read(pageNumber, pages)) {
    if (piece.bytes) all.set(piece.bytes, (piece.pageNumber - pageNumber) * memory.pageSize);
    else if (piece.state !== 'zero' && piece.state !== 'stored') return piece.state;
  }
  return { bytes: all.subarray(offset, offset + length), isCut };
}

/** Texts that a zero byte ends, without empty ones at the end: a program may have written over its arguments. */
export function texts(bytes: Uint8Array): string[] {
  const found: string[] = [];
  let length = bytes.length;
  while (length > 0 && bytes[length - 1] === 0) length--;
  for (let start = 0; start < length; ) {
    const zero = bytes.indexOf(0, start);
    const end = zero < 0 ? length : zero;
    found.push(decodeText(bytes.subarray(start, end)));
    start = end + 1;
  }
  return found;
}
