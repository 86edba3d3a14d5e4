/** The fields of a message in JSON, token by token, into a {@link MessageBuilder}. */

import {
  buildNumber,
  fieldOf,
  type MessageBuilder,
  shorten,
  unexpectedValue,
  ValueError,
} from '../protobuf/builder.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from '../protobuf/descriptor.js';
import { encodeText } from '../protobuf/object.js';
import { decodeBase64 } from './base64.js';
import { parseAddress, parseDigits, parseNumber } from './hints.js';
import { UNKNOWN_KEY } from './print.js';
import { decodeQuotedPrintable } from './quoted-printable.js';
import { type ScalarForm, TokenReader, TWICE } from './token-reader.js';

/** The place of the next token. */
type Place =
  | { descriptor: MessageDescriptor; key: string; hasUnknown?: boolean; field?: undefined }
  | { field: FieldDescriptor; index: number };

export class JsonFields extends TokenReader<Place> {
  /** Whether areas must begin and end at pages. */
  checksAreas = false;

  constructor(public builder: MessageBuilder) {
    super();
  }

  /** Begins with a message whose brace has been read. */
  begin(descriptor: MessageDescriptor): void {
    this.enterFirst({ descriptor, key: '' });
  }

  /** Begins with a value alone: of a field, or of an element of its list. */
  beginValue(field: FieldDescriptor, isElement: boolean): void {
    this.enterFirst(isElement ? { field, index: -1 } : { descriptor: field.parent, key: field.name });
  }

  /** Whether the next token is one of the message itself, not of one in it. */
  get isAtTop(): boolean {
    return this.places.length === 1;
  }

  /** Forgets the key of a message that ends: what is wrong then is wrong with the whole. */
  endMessage(): void {
    if (this.place && !this.place.field) this.place.key = '';
  }

  protected override closeObject(): void {
    this.endMessage();
    this.builder.closeField();
  }

  protected override closeArray(): void {
    if (this.place?.field?.packed) this.builder.closePacked();
  }

  protected openObject(): void {
    const field = this.field('an object');
    if (field.kind !== KIND.MESSAGE || this.wantsList(field)) throw this.unexpected(field, 'an object');
    this.builder.openField(field);
    this.enter({ descriptor: field.message, key: '' });
  }

  protected openArray(): void {
    const field = this.field('a list');
    if (!this.wantsList(field)) throw this.unexpected(field, 'a list');
    if (this.builder.has(field)) throw new ValueError(TWICE);
    if (field.packed) this.builder.openPacked(field);
    this.enter({ field, index: -1 });
  }

  /** The field that takes the next value. */
  private field(found: string): FieldDescriptor {
    const place = this.place as Place;
    if (place.field) return place.field;
    if (place.key === UNKNOWN_KEY) throw new ValueError(`expected base64, found ${found}`);
    return fieldOf(place.descriptor, place.key);
  }

  private wantsList(field: FieldDescriptor): boolean {
    return field.repeated && !this.place?.field;
  }

  private unexpected(field: FieldDescriptor, found: string): ValueError {
    return unexpectedValue(field, this.wantsList(field), found);
  }

  protected scalar(text: string, form: ScalarForm): void {
    const { place } = this;
    if (form === 'string' && place && !place.field && place.key === UNKNOWN_KEY) {
      if (place.hasUnknown) throw new ValueError(TWICE);
      place.hasUnknown = true;
      this.builder.unknown(decodeBase64(text));
      return;
    }
    const field = this.field(text);
    if (this.wantsList(field) || !buildScalar(this.builder, field, text, form)) {
      throw this.unexpected(field, form === 'string' ? quoted(text) : shorten(text));
    }
    if (this.checksAreas && field.parent.name === 'vma_entry') checkBorder(field, text);
  }
}

/** A text for errors; of a number that looks octal, how octal is written. */
function quoted(text: string): string {
  const [, octal] = /^0+([1-7][0-7]{0,20})$/.exec(text) ?? [];
  return `${JSON.stringify(shorten(text))}${octal === undefined ? '' : `; octal is 0o${octal}`}`;
}

/** Smallest page size, in bytes. */
const PAGE_BYTES = 4096;

/** Throws {@link ValueError} for an area that ends inside a page: jq before 1.7 rounds numbers, and no restore takes them. */
function checkBorder({ name }: FieldDescriptor, text: string): void {
  if (name !== 'start' && name !== 'end') return;
  const { lo = 0 } = parseDigits(text) ?? {};
  if (lo % PAGE_BYTES === 0) return;
  throw new ValueError(`expected an address at a page of ${PAGE_BYTES} bytes, found ${text}`);
}

/** Writes a value from JSON; false if it has the wrong type for the field. Throws {@link ValueError} out of range. */
function buildScalar(builder: MessageBuilder, field: FieldDescriptor, text: string, form: ScalarForm): boolean {
  if (field.kind === KIND.MESSAGE || (form !== 'string' && field.kind >= KIND.STRING)) return false;
  if (field.kind >= KIND.STRING) {
    builder.bytes(field, bytesOf(field, text));
    return true;
  }
  if (field.kind === KIND.BOOL) {
    const value = form === 'string' ? -1 : ['false', 'true', '0', '1'].indexOf(text);
    if (value >= 0) builder.number(field, value & 1, 0);
    return value >= 0;
  }
  if (form === 'word') return false;
  if (form === 'string' && field.hints.ipadd && /[.:]/.test(text)) {
    const words = parseAddress(text);
    for (const word of words ?? []) builder.number(field, word, 0);
    return words !== undefined;
  }
  const value = form === 'number' ? parseDigits(text) : parseWord(field, text);
  if (value) buildNumber(builder, field, value);
  return value !== undefined;
}

function parseWord(field: FieldDescriptor, text: string) {
  const number = field.numbers?.[text];
  return number === undefined ? parseNumber(field.hints, field.name, text) : parseDigits(String(number));
}

function bytesOf(field: FieldDescriptor, text: string): Uint8Array {
  if (field.kind === KIND.BYTES) return field.hints.unixName ? decodeQuotedPrintable(text) : decodeBase64(text);
  const bytes = encodeText(text);
  if (!bytes) throw new ValueError('expected text, found half of a surrogate pair');
  return bytes;
}
