/**
 * JSON as Python's json.dump writes it, straight into bytes: separators ", " and ": ", or one value a line, indented by
 * four; everything but printable ASCII escaped.
 */
import { type Emit, scratch } from '../bytes.js';

/** Handed on when it is full: what a pipe holds. */
const BUFFER_BYTES = 64 * 1024;
/** Room that every write of something short can count on: a key, a number, an indent. */
const SLACK_BYTES = 2 * 1024;

const INDENT = 4;
const HEX = new TextEncoder().encode('0123456789abcdef');
const BASE64 = new TextEncoder().encode('ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/');

const CHAR = {
  SPACE: 0x20,
  QUOTE: 0x22,
  COMMA: 0x2c,
  ZERO: 0x30,
  EQUALS: 0x3d,
  BACKSLASH: 0x5c,
  NEWLINE: 0x0a,
  DELETE: 0x7f,
} as const;

/** Escapes of one letter. */
const SHORT_ESCAPES = new Map(
  Object.entries({ '\b': 'b', '\t': 't', '\n': 'n', '\f': 'f', '\r': 'r', '"': '"', '\\': '\\' }).map(([from, to]) => [
    from.charCodeAt(0),
    to.charCodeAt(0),
  ]),
);

export class JsonText {
  private readonly buffer = scratch(BUFFER_BYTES + SLACK_BYTES);
  private at = 0;
  private depth = 0;
  /** Whether the innermost object or array is still empty. */
  private empty = true;

  /**
   * @param emit takes the text; the bytes are overwritten after the call
   * @param pretty one value a line
   */
  constructor(
    private readonly emit: Emit,
    readonly pretty: boolean,
  ) {}

  open(bracket: '{' | '['): void {
    this.byte(bracket.charCodeAt(0));
    this.depth++;
    this.empty = true;
  }

  close(bracket: '}' | ']'): void {
    this.depth--;
    if (!this.empty && this.pretty) this.line();
    this.byte(bracket.charCodeAt(0));
    this.empty = false;
  }

  /** Before each element of an array. */
  element(): void {
    if (this.at > BUFFER_BYTES) this.flush();
    if (!this.empty) this.byte(CHAR.COMMA);
    if (this.pretty) this.line();
    else if (!this.empty) this.byte(CHAR.SPACE);
    this.empty = false;
  }

  /** Before each value of an object: `"name": ` with the separator before it. */
  key(name: Uint8Array): void {
    this.element();
    const { buffer } = this;
    let { at } = this;
    // Names are short: this is twice as fast as set().
    for (let i = 0; i < name.length; i++) buffer[at++] = name[i] as number;
    this.at = at;
  }

  namedKey(name: string): void {
    this.key(new TextEncoder().encode(`${JSON.stringify(name)}: `));
  }

  private line(): void {
    if (this.at > BUFFER_BYTES) this.flush();
    this.buffer[this.at++] = CHAR.NEWLINE;
    const end = this.at + this.depth * INDENT;
    this.buffer.fill(CHAR.SPACE, this.at, end);
    this.at = end;
  }

  byte(value: number): void {
    this.buffer[this.at++] = value;
  }

  /** Printable ASCII, at most a line of it, as it is. */
  ascii(text: string): void {
    if (this.at > BUFFER_BYTES) this.flush();
    for (let i = 0; i < text.length; i++) this.buffer[this.at++] = text.charCodeAt(i);
  }

  quote(): void {
    this.buffer[this.at++] = CHAR.QUOTE;
  }

  /** A string of printable ASCII without quotes and backslashes. */
  asciiString(text: string): void {
    this.quote();
    this.ascii(text);
    this.quote();
  }

  /** An unsigned number of two halves, in decimal. */
  decimal(lo: number, hi: number): void {
    if (hi === 0) this.digits(lo);
    else if (hi < 0x200000) this.digits(hi * 2 ** 32 + lo);
    else this.ascii(((BigInt(hi) << 32n) | BigInt(lo)).toString());
  }

  /** An unsigned integer below 2^53. */
  private digits(value: number): void {
    if (value < 1e9) {
      this.smallDigits(value, 1);
    } else {
      const high = Math.floor(value / 1e9);
      this.digits(high);
      this.smallDigits(value - high * 1e9, 9);
    }
  }

  private smallDigits(value: number, least: number): void {
    let count = least;
    for (let bound = 10 ** least; value >= bound; bound *= 10) count++;
    const { buffer } = this;
    let rest = value | 0;
    for (let at = this.at + count - 1; at >= this.at; at--) {
      const next = (rest / 10) | 0;
      buffer[at] = CHAR.ZERO + rest - next * 10;
      rest = next;
    }
    this.at += count;
  }

  /** An unsigned number of two halves, in hexadecimal without prefix. */
  hex(lo: number, hi: number): void {
    let shift = hi === 0 ? 28 : 60;
    while (shift > 0 && nibble(lo, hi, shift) === 0) shift -= 4;
    for (; shift >= 0; shift -= 4) this.buffer[this.at++] = HEX[nibble(lo, hi, shift)] as number;
  }

  /** The inside of a string of UTF-8. Other bytes come as `\udc80` to `\udcff`, as Python's surrogateescape has it. */
  utf8(bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; ) {
      if (this.at > BUFFER_BYTES) this.flush();
      const byte = bytes[at] as number;
      if (byte < 0x80) {
        this.character(byte);
        at++;
        continue;
      }
      const length = sequenceLength(bytes, at, end);
      if (length === 0) {
        this.escape(0xdc00 | byte);
        at++;
        continue;
      }
      const code = codePoint(bytes, at, length);
      if (code < 0x10000) this.escape(code);
      else {
        this.escape(0xd800 | ((code - 0x10000) >> 10));
        this.escape(0xdc00 | ((code - 0x10000) & 0x3ff));
      }
      at += length;
    }
  }

  private character(byte: number): void {
    if (byte >= CHAR.SPACE && byte < CHAR.DELETE && byte !== CHAR.QUOTE && byte !== CHAR.BACKSLASH) {
      this.buffer[this.at++] = byte;
      return;
    }
    const letter = SHORT_ESCAPES.get(byte);
    if (letter === undefined) this.escape(byte);
    else {
      this.buffer[this.at++] = CHAR.BACKSLASH;
      this.buffer[this.at++] = letter;
    }
  }

  private escape(unit: number): void {
    this.buffer[this.at++] = CHAR.BACKSLASH;
    this.buffer[this.at++] = 0x75; // u
    for (let shift = 12; shift >= 0; shift -= 4) this.buffer[this.at++] = HEX[(unit >> shift) & 15] as number;
  }

  /** Groups of three bytes as base64, the last one padded. By hand: faster than Buffer, which makes a string first. */
  base64(bytes: Uint8Array, start: number, end: number): void {
    for (let at = start; at < end; at += 3) {
      if (this.at > BUFFER_BYTES) this.flush();
      const left = end - at;
      const group =
        ((bytes[at] as number) << 16) |
        (left > 1 ? (bytes[at + 1] as number) << 8 : 0) |
        (left > 2 ? (bytes[at + 2] as number) : 0);
      const { buffer } = this;
      buffer[this.at++] = BASE64[group >> 18] as number;
      buffer[this.at++] = BASE64[(group >> 12) & 63] as number;
      buffer[this.at++] = left > 1 ? (BASE64[(group >> 6) & 63] as number) : CHAR.EQUALS;
      buffer[this.at++] = left > 2 ? (BASE64[group & 63] as number) : CHAR.EQUALS;
    }
  }

  /** `\n` inside a string. */
  escapedNewline(): void {
    this.buffer[this.at++] = CHAR.BACKSLASH;
    this.buffer[this.at++] = 0x6e; // n
  }

  flush(): void {
    if (this.at === 0) return;
    this.emit(this.buffer.subarray(0, this.at));
    this.at = 0;
  }
}

const nibble = (lo: number, hi: number, shift: number): number =>
  shift >= 32 ? (hi >>> (shift - 32)) & 15 : (lo >>> shift) & 15;

/** Bytes of base64 in a line of it: Python's encodebytes breaks after 76 characters. */
const BASE64_LINE_BYTES = 57;

/** Base64 as Python's encodebytes writes it, of bytes that come in pieces: every line ends with a newline. */
export class Base64Lines {
  private readonly line = new Uint8Array(BASE64_LINE_BYTES);
  private lineBytes = 0;

  constructor(private readonly text: JsonText) {}

  push(bytes: Uint8Array, start = 0, end = bytes.length): void {
    let at = start;
    if (this.lineBytes > 0) {
      const count = Math.min(BASE64_LINE_BYTES - this.lineBytes, end - at);
      this.line.set(bytes.subarray(at, at + count), this.lineBytes);
      this.lineBytes += count;
      at += count;
      if (this.lineBytes < BASE64_LINE_BYTES) return;
      this.end();
    }
    for (; end - at >= BASE64_LINE_BYTES; at += BASE64_LINE_BYTES) this.put(bytes, at, at + BASE64_LINE_BYTES);
    this.line.set(bytes.subarray(at, end));
    this.lineBytes = end - at;
  }

  /** The last, shorter line. */
  end(): void {
    if (this.lineBytes > 0) this.put(this.line, 0, this.lineBytes);
    this.lineBytes = 0;
  }

  private put(bytes: Uint8Array, start: number, end: number): void {
    this.text.base64(bytes, start, end);
    this.text.escapedNewline();
  }
}

/** Bytes of the UTF-8 sequence at a position, 0 if there is none; overlong sequences and surrogates are not valid. */
function sequenceLength(bytes: Uint8Array, at: number, end: number): number {
  const first = bytes[at] as number;
  const length = first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length === 0 || at + length > end) return 0;
  for (let i = 1; i < length; i++) if (((bytes[at + i] as number) & 0xc0) !== 0x80) return 0;
  const second = bytes[at + 1] as number;
  const bad =
    (first === 0xe0 && second < 0xa0) ||
    (first === 0xed && second > 0x9f) ||
    (first === 0xf0 && second < 0x90) ||
    (first === 0xf4 && second > 0x8f);
  return bad ? 0 : length;
}

function codePoint(bytes: Uint8Array, at: number, length: number): number {
  let code = (bytes[at] as number) & (0xff >> (length + 1));
  for (let i = 1; i < length; i++) code = (code << 6) | ((bytes[at + i] as number) & 0x3f);
  return code;
}
