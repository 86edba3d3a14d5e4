/** A message in canonical form to JSON, in crit's words. */
import { readNumber } from '../protobuf/canonical.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from '../protobuf/descriptor.js';
import type { WireReader } from '../protobuf/wire.js';
import { addressText, numberText } from './hints.js';
import { encodeQuotedPrintable } from './quoted-printable.js';
import { Base64Lines, type JsonText } from './text.js';

/** Key of the fields that the schema does not know: one base64 text of them all, tags and values, in their order. */
export const UNKNOWN_KEY = '@unknown';

/** Prints messages; pretty or not is the text's choice. */
export class MessagePrinter {
  private readonly lines: Base64Lines;

  constructor(private readonly text: JsonText) {
    this.lines = new Base64Lines(text);
  }

  /**
   * The fields of a message, without the braces.
   * @param reader at the start of the message, which is in canonical form and reaches to the end of the reader
   * @param pretty with hints
   * @param hex prints integers in hexadecimal, as the field that holds the message asks for
   */
  fields(descriptor: MessageDescriptor, reader: WireReader, pretty: boolean, hex = false): void {
    let unknown: Uint8Array[] | undefined;
    for (let { at } = reader; reader.nextTag(); at = reader.at) {
      const field = descriptor.byNumber[reader.number];
      if (field?.wireType !== reader.wireType) {
        reader.skip();
        unknown ??= [];
        unknown.push(reader.bytes.subarray(at, reader.at));
        continue;
      }
      this.text.key(field.jsonKey);
      if (field.repeated) {
        reader.at = at;
        this.list(field, reader, pretty, hex);
      } else {
        this.value(field, reader, pretty, hex);
      }
    }
    if (unknown) this.unknown(unknown);
  }

  private unknown(fields: Uint8Array[]): void {
    this.text.namedKey(UNKNOWN_KEY);
    this.text.quote();
    for (const bytes of fields) this.lines.push(bytes);
    this.lines.end();
    this.text.quote();
  }

  /** All values of a repeated field, one after the other. */
  private list(field: FieldDescriptor, reader: WireReader, pretty: boolean, hex: boolean): void {
    this.text.open('[');
    const address = pretty && field.hints.ipadd ? this.address(field, reader) : undefined;
    if (address !== undefined) {
      this.text.element();
      this.text.asciiString(address);
    } else if (field.packed) {
      reader.varint();
      const end = reader.length();
      while (reader.at < end) {
        this.text.element();
        this.value(field, reader, pretty, hex);
      }
    } else {
      while (atField(field, reader)) {
        this.text.element();
        this.value(field, reader, pretty, hex);
      }
    }
    this.text.close(']');
  }

  /** Takes the words of an address, if they are one. */
  private address(field: FieldDescriptor, reader: WireReader): string | undefined {
    const { at } = reader;
    const words: number[] = [];
    while (atField(field, reader)) {
      reader.varint();
      words.push(reader.lo);
    }
    const text = addressText(words);
    if (text === undefined) reader.at = at;
    return text;
  }

  private value(field: FieldDescriptor, reader: WireReader, pretty: boolean, inheritedHex: boolean): void {
    const { kind } = field;
    const hex = inheritedHex || field.hints.hex;
    if (kind < KIND.STRING) {
      readNumber(kind, reader);
      this.number(field, reader.lo, reader.hi, pretty, hex);
      return;
    }
    const end = reader.length();
    if (kind === KIND.MESSAGE) {
      const outer = reader.end;
      reader.end = end;
      this.text.open('{');
      this.fields(field.message, reader, pretty, hex);
      this.text.close('}');
      reader.end = outer;
    } else {
      this.bytes(field, reader.bytes, reader.at, end);
      reader.at = end;
    }
  }

  private bytes(field: FieldDescriptor, bytes: Uint8Array, start: number, end: number): void {
    const { text } = this;
    text.quote();
    if (field.kind === KIND.STRING) {
      text.utf8(bytes, start, end);
    } else if (field.hints.unixName) {
      const ascii = new TextEncoder().encode(encodeQuotedPrintable(bytes.subarray(start, end)));
      text.utf8(ascii, 0, ascii.length);
    } else {
      this.lines.push(bytes, start, end);
      this.lines.end();
    }
    text.quote();
  }

  /** A number as it is on the wire. */
  private number(field: FieldDescriptor, lo: number, hi: number, pretty: boolean, hex: boolean): void {
    const { text } = this;
    const { kind } = field;
    if (kind === KIND.BOOL) {
      text.ascii(lo === 0 ? 'false' : 'true');
      return;
    }
    if (kind === KIND.ENUM) {
      const name = field.names?.[lo | 0];
      if (name !== undefined) {
        text.asciiString(name);
        return;
      }
    }
    const words = pretty && !hex ? numberText(field.hints, field.name, lo) : undefined;
    if (words !== undefined) {
      text.asciiString(words);
      return;
    }
    const zigzag = kind === KIND.SINT32 || kind === KIND.SINT64;
    const signed = kind === KIND.INT32 || kind === KIND.INT64 || kind === KIND.ENUM;
    const negative = zigzag ? (lo & 1) === 1 : signed && hi >= 0x80000000;
    let [magnitudeLo, magnitudeHi] = [lo, hi];
    if (zigzag) {
      // 2n, or 2(-n) - 1.
      magnitudeLo = ((lo >>> 1) | (hi << 31)) >>> 0;
      magnitudeHi = hi >>> 1;
      if (negative) [magnitudeLo, magnitudeHi] = plusOne(magnitudeLo, magnitudeHi);
    } else if (negative) {
      [magnitudeLo, magnitudeHi] = plusOne(~lo >>> 0, ~hi >>> 0);
    }
    if (pretty && hex && kind !== KIND.ENUM) {
      text.ascii(negative ? '"-0x' : '"0x');
      text.hex(magnitudeLo, magnitudeHi);
      text.quote();
    } else {
      if (negative) text.ascii('-');
      text.decimal(magnitudeLo, magnitudeHi);
    }
  }
}

const plusOne = (lo: number, hi: number): [number, number] => (lo === 0xffffffff ? [0, (hi + 1) >>> 0] : [lo + 1, hi]);

/** Reads the tag of a field, if it comes next. */
function atField(field: FieldDescriptor, reader: WireReader): boolean {
  const { at } = reader;
  if (reader.nextTag() && reader.number === field.number && reader.wireType === field.wireType) return true;
  reader.at = at;
  return false;
}
