/**
 * Fields of an image changed on its way through: entries and fields that no assignment names pass unchanged.
 *
 * A path names a value as jq does: `entries[0].tc.comm`, `entries[*].vmas[2].flags`, with or without a dot in front.
 */
import { isMany, none } from 'stream-chain/defs.js';
import { jsonParser, type Token } from 'stream-json/core/parser.js';
import type { Emit } from '../bytes.js';
import { DumpError } from '../errors.js';
import type { ImageHandler } from '../image/decoder.js';
import { extraOf, mayHaveExtra } from '../image/grammar.js';
import type { ImageType } from '../image/magic.js';
import { fieldOf, MessageBuilder, ValueError } from '../protobuf/builder.js';
import { canonicalMessage } from '../protobuf/canonical.js';
import { type FieldDescriptor, KIND, type MessageDescriptor } from '../protobuf/descriptor.js';
import { readObject } from '../protobuf/object.js';
import { ByteWriter, WireReader } from '../protobuf/wire.js';
import { JsonFields } from './json-fields.js';

/** One step of a path: a field, or the elements of a list. */
type Step = string | number | '*';

/** A value and where it goes. */
export interface Assignment {
  /** As it was given. */
  path: string;
  entry: number | '*';
  /** Below the entry. */
  steps: Step[];
  value: string;
}

/** Parses `PATH=VALUE`; undefined if the text has another form. */
export function parseAssignment(text: string): Assignment | undefined {
  const [, path, index, rest = '', value = ''] =
    /^(\.?entries\[(\d+|\*)\]((?:\.\w+|\[(?:\d+|\*)\])+))=(.*)$/s.exec(text) ?? [];
  if (path === undefined || index === undefined) return undefined;
  const steps = [...rest.matchAll(/\.(\w+)|\[(\d+|\*)\]/g)].map(([, name, at]) => name ?? position(at as string));
  return { path, entry: position(index), steps, value };
}

const position = (text: string): number | '*' => (text === '*' ? '*' : Number(text));

/** Handler of {@link ImageDecoder} that writes the image with other values. */
export class ImageEditor implements ImageHandler {
  private readonly out = new ByteWriter();
  private index = -1;
  private readonly used = new Set<Assignment>();
  /** Known when the header has come. */
  type: ImageType | undefined;
  /** Entries that an assignment names. */
  changedEntries = 0;

  /**
   * @param emit takes the image; the bytes are overwritten after the call
   * @param file for errors
   */
  constructor(
    private readonly emit: Emit,
    private readonly assignments: readonly Assignment[],
    private readonly file: string,
  ) {}

  image(type: ImageType, header: Uint8Array): void {
    this.type = type;
    this.emit(header);
  }

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.index++;
    const meant = this.assignments.filter(({ entry }) => entry === '*' || entry === this.index);
    this.out.at = 0;
    this.out.u32(0);
    if (meant.length === 0) this.out.raw(bytes.subarray(start, end));
    else {
      this.edit(descriptor, bytes, start, end, meant);
      this.changedEntries++;
    }
    this.out.setU32(0, this.out.at - 4);
    this.emit(this.out.view());
  }

  private edit(
    descriptor: MessageDescriptor,
    bytes: Uint8Array,
    start: number,
    end: number,
    meant: Assignment[],
  ): void {
    const before = canonicalMessage(descriptor, bytes, start, end);
    let message = before.bytes.slice(before.start, before.end);
    let isChanged = false;
    for (const assignment of meant) {
      const out = new ByteWriter();
      const builder = new MessageBuilder(out);
      try {
        builder.open(descriptor);
        if (!assign(builder, descriptor, message, assignment.steps, assignment.value)) continue;
        builder.close();
        checkExtra(descriptor, message, out.view());
        this.used.add(assignment);
        isChanged = true;
      } catch (error) {
        if (!(error instanceof ValueError)) throw error;
        const path = assignment.path.replace(/^\./, '').replace(/^entries\[\*\]/, `entries[${this.index}]`);
        throw new DumpError('BAD_VALUE', error.message, { file: this.file, path });
      }
      message = out.view().slice();
    }
    // Without a value to change it stays in the form that it has.
    this.out.raw(isChanged ? message : bytes.subarray(start, end));
  }

  message(_plan: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.out.at = 0;
    this.out.u32(end - start);
    this.out.raw(bytes.subarray(start, end));
    this.emit(this.out.view());
  }

  bytes(bytes: Uint8Array, start: number, end: number): void {
    this.emit(bytes.subarray(start, end));
  }

  payloadEnd(padding: Uint8Array): void {
    this.emit(padding);
  }

  end(): void {
    const unused = this.assignments.find((assignment) => !this.used.has(assignment));
    if (!unused) return;
    throw new DumpError('BAD_VALUE', `expected a value to change, found ${this.index + 1} entries without it`, {
      file: this.file,
      path: unused.path.replace(/^\./, ''),
    });
  }
}

/** Copies a message with a value in place of others; false if its path leads to none. */
function assign(
  builder: MessageBuilder,
  descriptor: MessageDescriptor,
  message: Uint8Array,
  steps: Step[],
  value: string,
): boolean {
  const [name, ...rest] = steps;
  if (typeof name !== 'string' || name === '*')
    throw new ValueError(`expected a field of ${descriptor.name}, found a position`);
  const field = fieldOf(descriptor, name);
  const [element, ...below] = rest;
  const inList = typeof element === 'number' || element === '*';
  if (inList && !field.repeated) throw new ValueError(`expected a field that is a list, found ${name}`);
  if (field.repeated && !inList && rest.length > 0) throw new ValueError(`expected a position in the list ${name}`);
  const inner = inList ? below : rest;
  if (inner.length > 0 && field.kind !== KIND.MESSAGE) throw new ValueError(`expected a message, found ${name}`);
  if (inList && field.packed) throw new ValueError(`expected all of ${name}: it is packed`);

  let index = 0;
  let changed = false;
  const reader = new WireReader(message);
  for (let start = 0; reader.nextTag(); start = reader.at) {
    const { number, wireType, at: from } = reader;
    reader.skip();
    const isField = number === field.number && wireType === field.wireType;
    if (!isField || (inList && element !== '*' && element !== index++)) {
      builder.copy(number, descriptor.byNumber[number]?.wireType === wireType, message.subarray(start, reader.at));
    } else if (inner.length > 0) {
      builder.openField(field);
      changed = assign(builder, field.message, contents(message, from, reader.at), inner, value) || changed;
      builder.closeField();
    } else if (inList || !changed) {
      writeValue(builder, field, value, inList);
      changed = true;
    }
  }
  // An optional field that is not there yet.
  if (!changed && !inList && inner.length === 0) {
    writeValue(builder, field, value, false);
    return true;
  }
  return changed;
}

/** The bytes of a field, without its length. */
function contents(message: Uint8Array, start: number, end: number): Uint8Array {
  const reader = new WireReader().over(message, start, end);
  reader.length();
  return message.subarray(reader.at, end);
}

/** Writes a value given as JSON, or as bare text, with what encode takes for the field. */
function writeValue(builder: MessageBuilder, field: FieldDescriptor, value: string, isElement: boolean): void {
  const fields = new JsonFields(builder);
  fields.beginValue(field, isElement);
  for (const token of tokensOf(value, field)) fields.token(token);
}

/** Text is taken for a string if the field holds one and it is not in quotes, or if it is no JSON. */
function tokensOf(value: string, field: FieldDescriptor): Token[] {
  const isBare = (field.kind === KIND.STRING || field.kind === KIND.BYTES) && !/^["[]/.test(value);
  if (!isBare) {
    try {
      const parse = jsonParser({ streamValues: false, streamStrings: true, packStrings: false });
      const tokens = [parse(value), parse(none as unknown as string)].flatMap((part) =>
        isMany(part) ? (part.values as Token[]) : [],
      );
      if (tokens.length > 0) return tokens;
    } catch {
      // Not JSON: a word such as MAP_PRIVATE.
    }
  }
  return [{ name: 'startString' }, { name: 'stringChunk', value }, { name: 'endString' }];
}

/** A field that gives the length of the extra cannot change alone. */
function checkExtra(descriptor: MessageDescriptor, before: Uint8Array, after: Uint8Array): void {
  if (!mayHaveExtra(descriptor.name)) return;
  const [old, current] = [before, after].map((bytes) =>
    JSON.stringify(extraOf(descriptor.name, readObject(descriptor, bytes, 0, bytes.length))),
  );
  if (old === current) return;
  throw new ValueError('expected a field that does not say how long the extra is; decode and encode change both');
}
