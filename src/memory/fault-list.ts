/**
 * A fault list: the pages that restored processes asked for, in the order of the faults. A page server writes it, and the
 * next lazy restore keeps these pages.
 *
 * list    := line*                       each ends in LF; the last may do without
 * line    := fault | comment | blank
 * fault   := PID SP "0x" ADDRESS         pid in its namespace, decimal; address of the page's first byte, hex
 * comment := "#" anything
 *
 * A comment "# pagepipe fault list 1, page size BYTES" gives the version of the list and the size of its pages. It comes
 * before all faults; without it the size is 4096. Lists can be concatenated, sorted, and written by hand: more white space is
 * allowed, and a page may be named again. The order matters only to a daemon that delivers pages by it.
 */

import { widen } from '../columns.js';
import { DumpError, type DumpErrorCode } from '../errors.js';
import { PAGE_SIZES } from './runs.js';

const FAULT_LIST_VERSION = 1;

/** Page size of a list that does not name one, in bytes. */
const USUAL_PAGE_BYTES = 4096;
/** Longest line: a fault has 30 bytes, the rest is for comments. */
const MAX_LINE_BYTES = 4096;
/** 256 GiB of pages of 4096 bytes. A list takes 8 bytes a fault in memory, up to twice as much while it is read. */
const MAX_FAULTS = 64 * 1024 * 1024;
/** Each process has a column of its own; a dump of as many would have hundreds of thousands of images. */
const MAX_PROCESSES = 64 * 1024;
/** Pids are ints. Source: Linux, pid_t. */
const MAX_PID = 2 ** 31 - 1;
/** Of an address of 64 bits. */
const MAX_HEX_DIGITS = 16;
const TWO_32 = 2 ** 32;

/** Pages by process, as a set. */
export interface FaultList {
  /** Bytes. */
  readonly pageSize: number;
  /** By the pid inside its namespace: page numbers (address / page size), ascending, each once. */
  readonly pages: ReadonlyMap<number, Float64Array>;
  /** Where it was read, for errors. */
  readonly file?: string;
}

/** The line that a list begins with. */
export const faultListHead = (pageSize: number): string =>
  `# pagepipe fault list ${FAULT_LIST_VERSION}, page size ${pageSize}\n`;

/** The line of one page: the process and the address of the page's first byte. */
export const faultLine = (pid: number | bigint, address: bigint): string => `${pid} 0x${address.toString(16)}\n`;

/** Throws {@link DumpError} MALFORMED if a list that names pages is of another page size than the dump. */
export function checkListPageSize({ file, pages, pageSize }: FaultList, expected: number): void {
  if (pages.size === 0 || pageSize === expected) return;
  throw new DumpError(
    'MALFORMED',
    `expected a list of pages of ${expected} bytes, as the dump has, found ${pageSize}`,
    {
      ...(file === undefined ? {} : { file }),
      hint: `a list of that size begins with ${JSON.stringify(faultListHead(expected).trimEnd())}`,
    },
  );
}

const HEAD = /^#\s*pagepipe fault list\s+(\d+)\b(?:.*?\bpage size\s+(\d+)\b)?/i;

const LF = 0x0a;
const HASH = 0x23;
const ZERO = 0x30;
const SMALL_X = 0x78;

/** Reads a list that comes in chunks of any size. */
export class FaultListParser {
  private readonly columns = new Map<number, Column>();
  /** The process of the last line, and its column: faults of one process come together. */
  private pid = 0;
  private column: Column | undefined;
  private pageSize: number | undefined;
  private faults = 0;
  private line = 1;
  /** The beginning of a line whose end has not come yet. */
  private rest: Uint8Array<ArrayBufferLike> = new Uint8Array(0);

  /**
   * @param file for errors
   * @param each called for each fault in the order of the list, with its page number
   */
  constructor(
    private readonly file = 'fault list',
    private readonly each?: (pid: number, pageNumber: number) => void,
  ) {}

  /**
   * Takes the next chunk; nothing of it is kept.
   * @throws {DumpError} MALFORMED with the number of the line, UNSUPPORTED for another version, LIMIT
   */
  push(chunk: Uint8Array): void {
    let from = 0;
    if (this.rest.length > 0) {
      const end = chunk.indexOf(LF);
      const head = end < 0 ? chunk : chunk.subarray(0, end);
      this.checkLength(this.rest.length + head.length);
      const joined = new Uint8Array(this.rest.length + head.length);
      joined.set(this.rest);
      joined.set(head, this.rest.length);
      this.rest = joined;
      if (end < 0) return;
      this.rest = new Uint8Array(0);
      this.takeLine(joined, 0, joined.length);
      from = end + 1;
    }
    for (let end = chunk.indexOf(LF, from); end >= 0; end = chunk.indexOf(LF, from)) {
      this.takeLine(chunk, from, end);
      from = end + 1;
    }
    this.checkLength(chunk.length - from);
    this.rest = chunk.slice(from);
  }

  /** The list; the parser must not be used afterwards. */
  finish(): FaultList {
    if (this.rest.length > 0) this.takeLine(this.rest, 0, this.rest.length);
    const pages = new Map(Array.from(this.columns, ([pid, column]) => [pid, column.finish()]));
    return { pageSize: this.pageSize ?? USUAL_PAGE_BYTES, pages, file: this.file };
  }

  private takeLine(bytes: Uint8Array, start: number, stop: number): void {
    this.checkLength(stop - start);
    const from = skipBlanks(bytes, start, stop);
    if (from < stop) {
      if (bytes[from] === HASH) this.takeComment(text(bytes, from, stop));
      else this.takeFault(bytes, from, stop);
    }
    this.line++;
  }

  private takeComment(line: string): void {
    const [, version, pageSize] = HEAD.exec(line) ?? [];
    if (version === undefined) return;
    if (Number(version) !== FAULT_LIST_VERSION) {
      throw this.error('UNSUPPORTED', `expected a fault list of version ${FAULT_LIST_VERSION}, found ${version}`);
    }
    if (pageSize === undefined) return;
    const size = Number(pageSize);
    if (!PAGE_SIZES.includes(size)) {
      throw this.error('MALFORMED', `expected a page size of ${PAGE_SIZES.join(', ')}, found ${pageSize}`);
    }
    if (this.pageSize !== undefined && this.pageSize !== size) {
      throw this.error('MALFORMED', `expected page size ${this.pageSize}, as before, found ${size}`);
    }
    this.pageSize = size;
  }

  private takeFault(bytes: Uint8Array, from: number, stop: number): void {
    this.pageSize ??= USUAL_PAGE_BYTES;
    let at = from;
    let pid = 0;
    for (; at < stop && isDigit(bytes[at] as number) && pid <= MAX_PID; at++) {
      pid = pid * 10 + (bytes[at] as number) - ZERO;
    }
    const digits = skipBlanks(bytes, at, stop);
    if (at > from && (pid < 1 || pid > MAX_PID)) {
      throw this.error('MALFORMED', `expected a pid of 1 to ${MAX_PID}, found ${text(bytes, from, at)}`);
    }
    if (at === from || digits === at || bytes[digits] !== ZERO || bytes[digits + 1] !== SMALL_X) {
      throw this.notAFault(bytes, from, stop);
    }
    // In two halves, as 32-bit integers: an address may be beyond 2^53.
    let high = 0;
    let low = 0;
    at = digits + 2;
    for (let digit = hexDigit(bytes, at, stop); digit >= 0; digit = hexDigit(bytes, ++at, stop)) {
      high = (high << 4) | (low >>> 28);
      low = (low << 4) | digit;
    }
    const count = at - digits - 2;
    if (count === 0 || count > MAX_HEX_DIGITS || skipBlanks(bytes, at, stop) < stop) {
      throw this.notAFault(bytes, from, stop);
    }
    if ((low & (this.pageSize - 1)) !== 0) {
      const found = text(bytes, digits, at);
      throw this.error('MALFORMED', `expected the address of a page of ${this.pageSize} bytes, found ${found}`);
    }
    if (++this.faults > MAX_FAULTS) throw this.error('LIMIT', `expected at most ${MAX_FAULTS} faults, found more`);
    const pageNumber = (high >>> 0) * (TWO_32 / this.pageSize) + (low >>> 0) / this.pageSize;
    this.columnOf(pid).push(pageNumber);
    this.each?.(pid, pageNumber);
  }

  private columnOf(pid: number): Column {
    if (this.column && this.pid === pid) return this.column;
    let column = this.columns.get(pid);
    if (!column) {
      if (this.columns.size === MAX_PROCESSES) {
        throw this.error('LIMIT', `expected at most ${MAX_PROCESSES} processes, found more`);
      }
      column = new Column();
      this.columns.set(pid, column);
    }
    this.pid = pid;
    this.column = column;
    return column;
  }

  private checkLength(bytes: number): void {
    if (bytes <= MAX_LINE_BYTES) return;
    throw this.error('LIMIT', `expected a line of at most ${MAX_LINE_BYTES} bytes, found a longer one`);
  }

  private notAFault(bytes: Uint8Array, from: number, stop: number): DumpError {
    const found = text(bytes, from, Math.min(stop, from + 60)).trimEnd();
    return this.error('MALFORMED', `expected PID 0xADDRESS, found ${JSON.stringify(found)}`);
  }

  private error(code: DumpErrorCode, what: string): DumpError {
    return new DumpError(code, `line ${this.line}: ${what}`, { file: this.file });
  }
}

/** Page numbers as they come. */
class Column {
  private numbers = new Float64Array(16);
  private length = 0;
  private ascending = true;

  push(pageNumber: number): void {
    const i = this.length++;
    if (i === this.numbers.length) this.numbers = widen(this.numbers);
    this.numbers[i] = pageNumber;
    if (i > 0 && (this.numbers[i - 1] as number) > pageNumber) this.ascending = false;
  }

  /** Ascending, each once. */
  finish(): Float64Array {
    const numbers = this.numbers.subarray(0, this.length);
    if (!this.ascending) numbers.sort();
    let kept = 0;
    for (const number of numbers) if (kept === 0 || numbers[kept - 1] !== number) numbers[kept++] = number;
    return numbers.subarray(0, kept);
  }
}

/** Index of the first byte that is no space, tab or CR. */
function skipBlanks(bytes: Uint8Array, from: number, stop: number): number {
  let at = from;
  while (at < stop && (bytes[at] === 0x20 || bytes[at] === 0x09 || bytes[at] === 0x0d)) at++;
  return at;
}

const isDigit = (byte: number): boolean => byte >= ZERO && byte <= 0x39;

/** Value of the hex digit there, or -1. */
function hexDigit(bytes: Uint8Array, at: number, stop: number): number {
  if (at >= stop) return -1;
  const byte = bytes[at] as number;
  if (isDigit(byte)) return byte - ZERO;
  const letter = byte | 0x20;
  return letter >= 0x61 && letter <= 0x66 ? letter - 0x57 : -1;
}

const text = (bytes: Uint8Array, from: number, stop: number): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset + from, stop - from).toString('latin1');
