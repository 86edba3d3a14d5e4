/** Messages of every type at random: in canonical form and in others, with fields that nobody knows. */
import fc, { type GeneratorValue } from 'fast-check';
import { describe, expect, it } from 'vitest';
import { firstMessage, mayHaveExtra } from '../../src/image/grammar.js';
import { type ImageType, MAGIC } from '../../src/image/magic.js';
import { MessageBuilder } from '../../src/protobuf/builder.js';
import { canonicalise, canonicalMessage, isCanonical } from '../../src/protobuf/canonical.js';
import { KIND, type MessageDescriptor, type MessageName, messageDescriptor } from '../../src/protobuf/descriptor.js';
import { readObject } from '../../src/protobuf/object.js';
import { ByteWriter, WireError } from '../../src/protobuf/wire.js';
import { writeObject } from '../../src/protobuf/write-object.js';
import { Message } from '../helpers/dump-writer.js';
import { fromJson, imageOf, imageOfJson, parseExactly, toJson } from '../helpers/images.js';
import { messageType } from '../helpers/message-type.js';
import {
  canonicalBytes,
  MESSAGE_NAMES,
  type MessageOptions,
  type MessageValue,
  otherBytes,
  randomMessage,
} from '../helpers/messages.js';

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const anyMessage = (g: GeneratorValue, options: MessageOptions): MessageValue =>
  randomMessage(g, messageDescriptor(g(fc.constantFrom<MessageName[]>, ...MESSAGE_NAMES)), options);

/** Types of images whose entries have nothing behind them. */
const TYPES = (Object.keys(MAGIC) as ImageType[]).filter((type) => !mayHaveExtra(firstMessage(type)));

/** An image of a random type, of entries made by `bytesOf`, and whether all of them are in canonical form. */
function anyImage(g: GeneratorValue, options: MessageOptions, bytesOf: (message: MessageValue) => Uint8Array) {
  const type = g(fc.constantFrom<ImageType[]>, ...TYPES);
  const descriptors =
    type === 'PAGEMAP'
      ? (['pagemap_head', 'pagemap_entry', 'pagemap_entry'] as const).map(messageDescriptor)
      : [messageDescriptor(firstMessage(type)), messageDescriptor(firstMessage(type))];
  const messages = descriptors.map((descriptor) => randomMessage(g, descriptor, options));
  const bodies = messages.map(bytesOf);
  const forms = bodies.map((bytes, i) => isSame(bytes, canonicalBytes(messages[i] as MessageValue)));
  return { messages, image: imageOf(type, ...bodies.map((bytes) => new Message().raw(bytes))), forms };
}

const isSame = (a: Uint8Array, b: Uint8Array) => Buffer.compare(a, b) === 0;

const hasUnknown = ({ fields, unknown }: MessageValue): boolean =>
  unknown.length > 0 ||
  fields.some(({ values }) =>
    values.some((value) => typeof value === 'object' && 'descriptor' in value && hasUnknown(value)),
  );

/** How often each property is tried: some hundred messages of each type in all. */
const RUNS = 200;
const check = (property: (g: GeneratorValue) => void, numRuns = RUNS) =>
  fc.assert(fc.property(fc.gen(), property), { numRuns });

describe('a message in canonical form', () => {
  it('is known as such, and is its own canonical form', () => {
    check((g) => {
      const message = anyMessage(g, { unknown: true });
      const bytes = canonicalBytes(message);
      expect(isCanonical(message.descriptor, bytes, 0, bytes.length)).toBe(true);
      expect(hex(canonicalise(message.descriptor, bytes, 0, bytes.length))).toBe(hex(bytes));
      // Wherever it stands.
      const shifted = Buffer.concat([Buffer.alloc(3, 0xff), bytes, Buffer.alloc(3, 0xff)]);
      expect(isCanonical(message.descriptor, shifted, 3, bytes.length + 3)).toBe(true);
    });
  });

  it('comes back from JSON, plain and pretty, without a key with @', () => {
    check((g) => {
      const { image } = anyImage(g, {}, canonicalBytes);
      for (const pretty of [false, true]) {
        const json = toJson(image, { pretty });
        JSON.parse(json);
        expect(json).not.toMatch(/"@\w+": /);
        expect(json).toMatch(/^[\n -~]*$/);
        expect(hex(imageOfJson(json))).toBe(hex(image));
      }
    });
  });

  it('comes back with fields that nobody knows, at any depth', () => {
    check((g) => {
      const { image, messages } = anyImage(g, { unknown: true }, canonicalBytes);
      for (const pretty of [false, true]) {
        const json = toJson(image, { pretty });
        expect(json.includes('"@unknown": ')).toBe(messages.some(hasUnknown));
        expect(json).not.toContain('"@raw": ');
        expect(hex(imageOfJson(json))).toBe(hex(image));
      }
    });
  });

  it('comes back from an object', () => {
    check((g) => {
      const { descriptor, ...message } = anyMessage(g, { unknown: true });
      const bytes = canonicalBytes({ descriptor, ...message });
      expect(hex(objectBytes(descriptor, readObject(descriptor, bytes, 0, bytes.length)))).toBe(hex(bytes));
    });
  });

  it('has in an object of few fields what it has in one of all', () => {
    check((g) => {
      const { descriptor, ...message } = anyMessage(g, {});
      const bytes = canonicalBytes({ descriptor, ...message });
      const all = Object.entries(readObject(descriptor, bytes, 0, bytes.length));
      const few = all.filter(() => g(fc.boolean));
      const names = few.map(([name]) => name);
      expect(readObject(descriptor, bytes, 0, bytes.length, names)).toStrictEqual(Object.fromEntries(few));
    });
  });

  /** The message of an object. */
  function objectBytes(descriptor: MessageDescriptor, object: Record<string, unknown>): Uint8Array {
    const out = new ByteWriter();
    const builder = new MessageBuilder(out);
    builder.open(descriptor);
    writeObject(builder, descriptor, object, 'entry');
    builder.close();
    return out.view();
  }
});

describe('protobufjs', () => {
  /** What protobufjs makes of a message; numbers as text, so that 64 bits fit. */
  const byProtobufjs = (name: string, bytes: Uint8Array): unknown => {
    const type = messageType(`criu.${name}`);
    return plain(type.toObject(type.decode(bytes), { longs: String, enums: String }));
  };

  /** The same of any of both: numbers as text, bytes as base64. */
  const plain = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(plain);
    if (value instanceof Uint8Array) return Buffer.from(value).toString('base64');
    if (typeof value === 'number' || typeof value === 'bigint') return `${value}`;
    if (typeof value !== 'object' || value === null) return value;
    return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
  };

  it('reads the same values as objects have', () => {
    check((g) => {
      const message = anyMessage(g, { plain: true });
      const bytes = canonicalBytes(message);
      const object = plain(readObject(message.descriptor, bytes, 0, bytes.length));
      expect(object).toEqual(byProtobufjs(message.descriptor.name, bytes));
    });
  });

  it('reads the same values as stand in JSON', () => {
    check((g) => {
      const { image, messages } = anyImage(g, { plain: true }, canonicalBytes);
      const { entries } = parseExactly(toJson(image)) as { entries: unknown[] };
      const expected = messages.map((message) => byProtobufjs(message.descriptor.name, canonicalBytes(message)));
      expect(entries.map((entry, i) => unquote(messages[i]?.descriptor as MessageDescriptor, entry))).toEqual(expected);
    });
  });

  /** Values of JSON in the form of {@link plain}. */
  const unquote = (descriptor: MessageDescriptor, entry: unknown): unknown =>
    Object.fromEntries(
      Object.entries(entry as Record<string, unknown>).map(([name, value]) => {
        const field = descriptor.byName.get(name);
        const one = (inner: unknown): unknown => {
          if (field?.kind === KIND.MESSAGE) return unquote(field.message, inner);
          if (typeof inner !== 'string') return inner;
          // Numbers; a string may begin so as well.
          if (inner.startsWith('#') && field && field.kind < KIND.STRING) return inner.slice(1);
          if (field?.kind !== KIND.BYTES) return inner;
          // Names of sockets are in quoted-printable; quoted-printable.test.ts looks at these.
          return field.hints.unixName ? unquotePrintable(inner) : inner.replaceAll('\n', '');
        };
        return [name, Array.isArray(value) ? value.map(one) : one(value)];
      }),
    );

  const unquotePrintable = (text: string): string =>
    Buffer.from(
      text
        .replace(/=\r?\n/g, '')
        .replace(/=([\dA-F]{2})/g, (_, digits) => String.fromCharCode(Number.parseInt(digits, 16))),
      'latin1',
    ).toString('base64');
});

describe('a message in another form', () => {
  it('is known as such, and is put into canonical form', () => {
    check((g) => {
      const message = anyMessage(g, { unknown: true });
      const expected = canonicalBytes(message);
      const bytes = otherBytes(g, message);
      expect(isCanonical(message.descriptor, bytes, 0, bytes.length)).toBe(isSame(bytes, expected));
      expect(hex(canonicalise(message.descriptor, bytes, 0, bytes.length))).toBe(hex(expected));
      const { raw } = canonicalMessage(message.descriptor, bytes, 0, bytes.length);
      expect(raw && hex(raw)).toBe(isSame(bytes, expected) ? undefined : hex(bytes));
    });
  });

  it('comes back from JSON as it was, and its fields are those of the canonical form', () => {
    let others = 0;
    check((g) => {
      const { image, forms, messages } = anyImage(g, { unknown: true }, (message) => otherBytes(g, message));
      const json = toJson(image);
      const { entries } = JSON.parse(json) as { entries: Record<string, unknown>[] };
      expect(entries.map((entry) => '@raw' in entry)).toEqual(forms.map((isCanonicalForm) => !isCanonicalForm));
      expect(hex(imageOfJson(json))).toBe(hex(image));
      expect(hex(imageOfJson(toJson(image, { pretty: true })))).toBe(hex(image));
      const type = JSON.parse(json).magic as ImageType;
      const canonical = imageOf(type, ...messages.map((message) => new Message().raw(canonicalBytes(message))));
      expect(toJson(canonical)).toBe(json.replace(/(, )?"@raw": "[^"]*"/g, ''));
      if (forms.includes(false)) others++;
    });
    expect(others).toBeGreaterThan(RUNS / 4);
  });

  it('is written in canonical form where a field was changed in JSON', () => {
    const image = imageOf(
      'UTSNS',
      new Message().field(2, 'domain').field(1, 'host'),
      new Message().field(1, 'a').field(1, 'b').field(2, 'c'),
    );
    const { image: changed, warnings } = fromJson(toJson(image).replace('"host"', '"other"'));
    expect(warnings).toEqual([
      'x.json: entries[0]: differs from its @raw, so its fields are written in canonical form',
    ]);
    expect(hex(changed)).toBe(
      hex(
        imageOf(
          'UTSNS',
          new Message().field(1, 'other').field(2, 'domain'),
          new Message().field(1, 'a').field(1, 'b').field(2, 'c'),
        ),
      ),
    );
  });

  it('is written in canonical form where a field of a queued message was changed in JSON', () => {
    const desc = new Message().int(1, 1).int(2, 0).int(3, 0).int(4, 0).int(5, 0).int(6, 0).int(7, 0);
    const queue = new Message().field(1, desc).int(2, 16384).int(3, 1);
    const data = Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8);
    const image = imageOf('IPCNS_MSG', queue, new Message().int(2, 8).int(1, 77), data);
    const { image: changed, warnings } = fromJson(toJson(image).replace('"mtype": 77', '"mtype": 78'));
    expect(warnings).toEqual([
      'x.json: entries[0].extra[0]: differs from its @raw, so its fields are written in canonical form',
    ]);
    expect(hex(changed)).toBe(hex(imageOf('IPCNS_MSG', queue, new Message().int(1, 78).int(2, 8), data)));
  });
});

describe('damage', () => {
  const descriptor = messageDescriptor('utsns_entry');
  const errorOf = (of: MessageDescriptor, bytes: Uint8Array, start = 0, end = bytes.length): string => {
    try {
      canonicalMessage(of, bytes, start, end);
    } catch (error) {
      if (error instanceof WireError) return `${error.at}: ${error.message}`;
      throw error;
    }
    return 'none';
  };
  const name = new Message().field(1, 'a').finish();
  const domain = new Message().field(2, 'b').finish();
  const withMore = (...bytes: number[]) => Buffer.concat([name, domain, Uint8Array.from(bytes)]);
  const group = (depth: number) => [...Array(depth).fill(0x1b), ...Array(depth).fill(0x1c)];

  it.each<[what: string, bytes: Uint8Array, error: string]>([
    ['nothing', new Uint8Array(0), '0: expected the required field nodename of utsns_entry, found none'],
    ['half of it', name, '0: expected the required field domainname of utsns_entry, found none'],
    ['a field 0', withMore(0x00, 0x00), '6: expected a field number, found none'],
    [
      'a field number of 2^32',
      withMore(0x80, 0x80, 0x80, 0x80, 0x80, 0x01, 0),
      '6: expected a field number, found none',
    ],
    ['a tag alone', withMore(0x18), '7: expected a varint, found the end of the message'],
    ['half a varint', withMore(0x18, 0xff), '7: expected a varint, found the end of the message'],
    ['half a tag', withMore(0x98), '6: expected a varint, found the end of the message'],
    [
      'a varint of 11 bytes',
      withMore(0x18, ...Array(10).fill(0xff), 1),
      '7: expected a varint of at most 10 bytes, found a longer one',
    ],
    ['a length beyond the end', withMore(0x1a, 5, 1), '7: expected a field of at most 1 bytes, found a length of 5'],
    [
      'a length of 2^63',
      withMore(0x1a, ...Array(9).fill(0x80), 1),
      '7: expected a field of at most 0 bytes, found a length of 9223372036854776000',
    ],
    ['half of 4 bytes', withMore(0x1d, 1, 2), '7: expected 4 bytes, found 2'],
    ['half of 8 bytes', withMore(0x19, 1, 2, 3, 4, 5, 6, 7), '7: expected 8 bytes, found 7'],
    ['wire type 6', withMore(0x1e), '7: expected a wire type from 0 to 5, found 6'],
    ['wire type 7', withMore(0x1f), '7: expected a wire type from 0 to 5, found 7'],
    ['a group that ends only', withMore(0x1c), '7: expected a wire type from 0 to 5, found 4'],
    ['a group without end', withMore(0x1b), '7: expected a varint, found the end of the message'],
    ['a group of wire type 6', withMore(0x1b, 0x16), '8: expected a wire type from 0 to 5, found 6'],
    ['100 groups', withMore(...group(100)), 'none'],
    ['101 groups', withMore(...group(101)), '107: expected at most 100 groups in each other'],
    ['100,000 groups', withMore(...Array(100_000).fill(0x1b)), '107: expected at most 100 groups in each other'],
    // Where fields are out of order, before and behind that.
    [
      'fields out of order, one missing',
      Buffer.concat([withMore(), domain]).subarray(3),
      '0: expected the required field nodename of utsns_entry, found none',
    ],
    [
      'fields out of order, one damaged',
      Buffer.concat([domain, name, Uint8Array.of(0x1a, 9)]),
      '0: expected a field of at most 0 bytes, found a length of 9',
    ],
  ])('%s', (_, bytes, error) => {
    expect(errorOf(descriptor, bytes)).toBe(error);
  });

  const pipe = messageDescriptor('pipe_entry');
  const fown = new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0).finish();
  const withFown = (...bytes: Uint8Array[]) =>
    new Message().int(1, 1).int(2, 2).int(3, 3).field(4, Buffer.concat(bytes)).finish();

  it.each<[what: string, bytes: Uint8Array, error: string]>([
    ['nothing', withFown(fown), 'none'],
    ['damage', withFown(fown, Uint8Array.of(0x30)), '19: expected a varint, found the end of the message'],
    [
      'a field that is missing',
      withFown(fown.subarray(2)),
      '8: expected the required field uid of fown_entry, found none',
    ],
    [
      'one that is missing, and others out of order',
      withFown(fown.subarray(4), fown.subarray(2, 4)),
      '0: expected the required field uid of fown_entry, found none',
    ],
    [
      'damage, and fields out of order',
      withFown(fown.subarray(4), fown.subarray(0, 4), Uint8Array.of(0x30)),
      '0: expected a varint, found the end of the message',
    ],
  ])('in a message in another, with its place in the whole: %s', (_, bytes, error) => {
    expect(errorOf(pipe, bytes)).toBe(error);
    const shifted = Buffer.concat([Buffer.alloc(100), bytes, Buffer.alloc(100)]);
    const place = error.replace(/^\d+/, (at) => `${Number(at) + 100}`);
    expect(errorOf(pipe, shifted, 100, 100 + bytes.length)).toBe(place);
  });

  it('is a message of more than 1 MiB that is not in canonical form', () => {
    const large = new Uint8Array(1024 * 1024);
    const inOrder = Buffer.concat([name, Uint8Array.of(0x12, 0x80, 0x80, 0x40), large]);
    expect(errorOf(descriptor, inOrder)).toBe('none');
    const outOfOrder = Buffer.concat([inOrder.subarray(3), name]);
    expect(errorOf(descriptor, outOfOrder)).toBe(
      '0: expected at most 1048576 bytes of a utsns_entry whose fields are out of order, found 1048583',
    );
  });

  it('is a depth of more than 100 messages, in whatever form', () => {
    const cgroup = messageDescriptor('cgroup_dir_entry');
    const nested = (depth: number, order: (name: Message, children: Message) => Message[]): Uint8Array => {
      let dir = new Message().field(1, 'leaf');
      for (let i = 0; i < depth; i++) {
        const parts = order(new Message().field(1, 'dir'), new Message().field(2, dir));
        dir = parts.reduce((all, part) => all.raw(part.finish()), new Message());
      }
      return dir.finish();
    };
    const orders = [
      { order: (name: Message, children: Message) => [name, children], offsets: [790, 808] },
      { order: (name: Message, children: Message) => [children, name], offsets: [285, 303] },
    ];
    for (const { order, offsets } of orders) {
      expect(errorOf(cgroup, nested(100, order))).toBe('none');
      expect(errorOf(cgroup, nested(101, order))).toBe(`${offsets[0]}: expected at most 100 messages in each other`);
      expect(errorOf(cgroup, nested(500, order))).toBe(`${offsets[1]}: expected at most 100 messages in each other`);
    }
  });
});
