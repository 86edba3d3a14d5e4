/**
 * Message types, prepared for reading and writing them field by field. They are made from the schema that the build has
 * protobufjs make of proto/, without protobufjs: its own types take tens of milliseconds to set up, which is much of a
 * short command's time.
 */
import { invariant } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { type EnumJson, type FieldJson, type MessageJson, schema, type Types } from '../generated/schema.js';
import { WIRE_BYTES, WIRE_FIXED32, WIRE_FIXED64, WIRE_VARINT } from './wire.js';

export type MessageName = keyof Messages;

/** How a value is encoded, and which values it may have. */
export const KIND = {
  UINT32: 0,
  INT32: 1,
  SINT32: 2,
  UINT64: 3,
  INT64: 4,
  SINT64: 5,
  BOOL: 6,
  ENUM: 7,
  FIXED32: 8,
  FIXED64: 9,
  STRING: 10,
  BYTES: 11,
  MESSAGE: 12,
} as const;

const KIND_OF_TYPE: Record<string, number> = {
  uint32: KIND.UINT32,
  int32: KIND.INT32,
  sint32: KIND.SINT32,
  uint64: KIND.UINT64,
  int64: KIND.INT64,
  sint64: KIND.SINT64,
  bool: KIND.BOOL,
  fixed32: KIND.FIXED32,
  fixed64: KIND.FIXED64,
  string: KIND.STRING,
  bytes: KIND.BYTES,
};

/** The name of a kind, as the .proto files have it. */
export const kindName = (kind: number): string =>
  (Object.keys(KIND) as (keyof typeof KIND)[]).find((name) => KIND[name] === kind)?.toLowerCase() ?? '';

/** The print hints of proto/criu/print.proto. */
export interface Hints {
  hex: boolean;
  flags: string | undefined;
  dev: boolean;
  odev: boolean;
  ipadd: boolean;
  dict: string | undefined;
  /** Quoted-printable in place of base64. */
  unixName: boolean;
}

const hintsOf = (options: Readonly<Record<string, unknown>>): Hints => ({
  hex: options['(print).hex'] === true,
  flags: options['(print).flags'] as string | undefined,
  dev: options['(print).dev'] === true,
  odev: options['(print).odev'] === true,
  ipadd: options['(print).ipadd'] === true,
  dict: options['(print).dict'] as string | undefined,
  unixName: options['(print).conv'] === 'unix_name',
});
const NO_HINTS = hintsOf({});

export class FieldDescriptor {
  readonly number: number;
  readonly name: string;
  readonly kind: number;
  /** Of one value. */
  readonly elementWireType: number;
  /** Of the field, as it is to be written: repeated numbers may be packed into bytes. */
  readonly wireType: number;
  /** The other way in which repeated numbers may come, or -1. */
  readonly otherWireType: number;
  readonly repeated: boolean;
  readonly packed: boolean;
  readonly required: boolean;
  readonly hints: Hints;
  /** Of an enum. */
  readonly names: Record<number, string> | undefined;
  readonly numbers: Record<string, number> | undefined;
  private key: Uint8Array | undefined;
  private readonly typeName: string;
  private readonly type: MessageJson | undefined;

  /** @param scope the type of the message that it is a field of */
  constructor(
    name: string,
    field: FieldJson,
    scope: MessageJson,
    readonly parent: MessageDescriptor,
  ) {
    this.number = field.id;
    this.name = name;
    this.repeated = field.rule === 'repeated';
    this.required = field.rule === 'required';
    this.typeName = field.type;
    const type = scope.nested?.[field.type] ?? parent.types[field.type];
    const values = type && 'values' in type ? (type as EnumJson).values : undefined;
    this.type = type && 'fields' in type ? (type as MessageJson) : undefined;
    const kind = KIND_OF_TYPE[field.type] ?? (values ? KIND.ENUM : this.type && KIND.MESSAGE);
    invariant(kind !== undefined, `the schema has no type ${field.type}`);
    this.kind = kind;
    this.elementWireType = wireTypeOf(kind);
    const numbers = this.repeated && kind < KIND.STRING;
    this.packed = numbers && field.options?.['packed'] === true;
    this.wireType = this.packed ? WIRE_BYTES : this.elementWireType;
    this.otherWireType = !numbers ? -1 : this.packed ? this.elementWireType : WIRE_BYTES;
    this.numbers = values && Object.assign(Object.create(null), values);
    this.names = values && Object.fromEntries(Object.entries(values).map(([word, number]) => [number, word]));
    this.hints = field.options ? hintsOf(field.options) : NO_HINTS;
  }

  /** `"name": ` as JSON has it. */
  get jsonKey(): Uint8Array {
    this.key ??= Buffer.from(`${JSON.stringify(this.name)}: `);
    return this.key;
  }

  /** Whether a value of a wire type can be one of this field. */
  takes(wireType: number): boolean {
    return wireType === this.wireType || wireType === this.otherWireType;
  }

  /** The type of a message field. */
  get message(): MessageDescriptor {
    invariant(this.type, `${this.name} is a message field`);
    return descriptorOf(this.typeName, this.type, this.parent.types);
  }
}

function wireTypeOf(kind: number): number {
  if (kind >= KIND.STRING) return WIRE_BYTES;
  if (kind === KIND.FIXED64) return WIRE_FIXED64;
  return kind === KIND.FIXED32 ? WIRE_FIXED32 : WIRE_VARINT;
}

export class MessageDescriptor {
  readonly name: MessageName;
  /** In ascending order of their numbers. */
  readonly fields: readonly FieldDescriptor[];
  readonly byNumber: readonly (FieldDescriptor | undefined)[];
  readonly byName: ReadonlyMap<string, FieldDescriptor>;
  readonly requiredFields: readonly FieldDescriptor[];

  /** @param types those of its package */
  constructor(
    name: string,
    type: MessageJson,
    readonly types: Types,
  ) {
    this.name = name as MessageName;
    this.fields = Object.entries(type.fields)
      .map(([field, json]) => new FieldDescriptor(field, json, type, this))
      .sort((a, b) => a.number - b.number);
    const byNumber: (FieldDescriptor | undefined)[] = [];
    for (const field of this.fields) byNumber[field.number] = field;
    this.byNumber = byNumber;
    this.byName = new Map(this.fields.map((field) => [field.name, field]));
    this.requiredFields = this.fields.filter((field) => field.required);
  }
}

const descriptors = new Map<MessageJson, MessageDescriptor>();

/** The descriptor of a type of the schema, made when it is first asked for. */
function descriptorOf(name: string, type: MessageJson, types: Types): MessageDescriptor {
  let descriptor = descriptors.get(type);
  if (!descriptor) {
    descriptor = new MessageDescriptor(name, type, types);
    descriptors.set(type, descriptor);
  }
  return descriptor;
}

/** The descriptor of a message of CRIU's images. */
export const messageDescriptor = (name: MessageName): MessageDescriptor => descriptorIn('criu', name);

/** The descriptor of a message of the page stream. */
export const frameDescriptor = (name: string): MessageDescriptor => descriptorIn('pagepipe', name);

function descriptorIn(packageName: string, name: string): MessageDescriptor {
  const types = schema[packageName] ?? {};
  const type = types[name];
  invariant(type && 'fields' in type, `${name} is a message of the schema`);
  return descriptorOf(name, type, types);
}
