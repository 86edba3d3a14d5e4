/**
 * Images as streams of parts, for stream-chain:
 *
 *     image   := start, (entry, extra)*
 *     extra   := payload*, or (message, payload)*      see src/image/grammar.ts for which types have one
 *     payload := payload, bytes*, payloadEnd
 *
 *     const mm = chain([createReadStream('mm-12.img'), decodeImage({ type: 'MM' }), (part) => ...]);
 */
import { flushable, many } from 'stream-chain';
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { MessageBuilder, ValueError } from '../protobuf/builder.js';
import { canonicalise, canonicalMessage } from '../protobuf/canonical.js';
import { type MessageDescriptor, type MessageName, messageDescriptor } from '../protobuf/descriptor.js';
import { type MessageObject, readObject } from '../protobuf/object.js';
import { ByteWriter, WireError } from '../protobuf/wire.js';
import { located, writeObject } from '../protobuf/write-object.js';
import { type DecodeOptions, ImageDecoder, type ImageHandler, isUsualHeader, usualHeader } from './decoder.js';
import { extraOf, type MessagesIn, mayHaveExtra, type Payload, paddingOf } from './grammar.js';
import type { ImageType } from './magic.js';

export interface ImageStart<T extends ImageType = ImageType> {
  type: 'image';
  image: T;
  /** The magic numbers, where they are not those that CRIU writes today. */
  header?: Uint8Array;
}

/** An entry (`entry`), or a message inside an extra (`message`). */
export type MessagePart<M extends MessageName = MessageName> = M extends MessageName
  ? {
      type: M extends 'ipc_msg' ? 'message' : 'entry';
      message: M;
      entry: Messages[M];
      /** As it was read, where its fields are not in canonical form. Written again unless `entry` was changed. */
      raw?: Uint8Array;
    }
  : never;

export interface PayloadPart {
  type: 'payload';
  /** Bytes; Infinity if it goes to the end of the image. */
  size: number;
  /** Of a TCP stream. */
  key?: 'inq' | 'outq';
}

export interface PayloadBytesPart {
  type: 'bytes';
  /** A view of the chunk that went in. */
  bytes: Uint8Array;
}

export interface PayloadEndPart {
  type: 'payloadEnd';
  /** What fills the payload up, where it is not zeros. */
  padding?: Uint8Array;
}

export type ImagePart<T extends ImageType = ImageType> =
  | ImageStart<T>
  | MessagePart<MessagesIn<T>>
  | PayloadPart
  | PayloadBytesPart
  | PayloadEndPart;

/**
 * A stage: chunks of an image in, its parts out. With a `type` the image must have it, and its entries are typed.
 * @throws {DumpError} in the chain: WRONG_MAGIC, TRUNCATED, LIMIT, MALFORMED
 */
export function decodeImage<T extends ImageType = ImageType>(options: DecodeOptions & { type?: T | undefined } = {}) {
  const collector = new PartCollector();
  const decoder = new ImageDecoder(collector, options);
  const take = () => many(collector.parts.splice(0) as ImagePart<T>[]);
  return flushable(
    (chunk: Uint8Array) => {
      decoder.push(chunk);
      return take();
    },
    () => {
      decoder.end();
      return take();
    },
  );
}

class PartCollector implements ImageHandler {
  readonly parts: ImagePart[] = [];

  image(image: ImageType, header: Uint8Array): void {
    this.parts.push({ type: 'image', image, ...(isUsualHeader(image, header) ? {} : { header: header.slice() }) });
  }

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.add('entry', descriptor, bytes, start, end);
  }

  message(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.add('message', descriptor, bytes, start, end);
  }

  private add(
    type: 'entry' | 'message',
    descriptor: MessageDescriptor,
    bytes: Uint8Array,
    start: number,
    end: number,
  ): void {
    const canonical = canonicalMessage(descriptor, bytes, start, end);
    const entry = readObject(descriptor, canonical.bytes, canonical.start, canonical.end);
    const raw = canonical.raw && { raw: canonical.raw.slice() };
    this.parts.push({ type, message: descriptor.name, entry, ...raw } as unknown as ImagePart);
  }

  payload({ size, key }: Payload): void {
    this.parts.push({ type: 'payload', size, ...(key ? { key } : {}) });
  }

  bytes(bytes: Uint8Array, start: number, end: number): void {
    this.parts.push({ type: 'bytes', bytes: bytes.subarray(start, end) });
  }

  payloadEnd(padding: Uint8Array): void {
    this.parts.push({
      type: 'payloadEnd',
      ...(padding.some((byte) => byte !== 0) ? { padding: padding.slice() } : {}),
    });
  }
}

/**
 * A stage: the parts of an image in, its bytes out, a chunk for each part.
 * @throws {DumpError} in the chain: BAD_VALUE, with the path of what cannot be written
 */
export function encodeImage({ file = 'image' }: { file?: string } = {}) {
  const writer = new PartWriter();
  const guarded = <T>(action: () => T): T => {
    try {
      return action();
    } catch (error) {
      if (!(error instanceof ValueError)) throw error;
      throw new DumpError('BAD_VALUE', error.message, {
        file,
        ...(error.path === undefined ? {} : { path: error.path }),
      });
    }
  };
  return flushable(
    (part: ImagePart) => guarded(() => writer.write(part)),
    () => guarded(() => writer.end()),
  );
}

const NOTHING = new Uint8Array(0);

class PartWriter {
  private readonly out = new ByteWriter();
  private readonly builder = new MessageBuilder(this.out);
  private hasBegun = false;
  private entries = 0;
  /** What must follow: payloads, and messages with theirs. */
  private payloads: Payload[] = [];
  private messages = 0;
  /** Bytes of the payload under way. */
  private payloadBytes: number | undefined;
  /** Whether a payload without end was written. */
  private isOver = false;

  write(part: ImagePart): Uint8Array {
    if (this.hasBegun === (part.type === 'image')) {
      throw new ValueError(`expected ${this.hasBegun ? 'one image' : 'an image'} first, found ${part.type}`);
    }
    if (part.type === 'image') {
      this.hasBegun = true;
      return part.header ?? usualHeader(part.image);
    }
    return located(this.path(part), () => this.writePart(part));
  }

  /** Checks that nothing is missing at the end. */
  end(): Uint8Array {
    if (!this.hasBegun) throw new ValueError('expected an image, found nothing');
    located(this.path(), () => this.checkEnd());
    return NOTHING;
  }

  /** The place of a part, as jq writes it. */
  private path(part?: ImagePart): string {
    if (part?.type === 'entry') return `entries[${this.entries}]`;
    return this.entries === 0 ? 'entries' : `entries[${this.entries - 1}]${part ? '.extra' : ''}`;
  }

  private writePart(part: Exclude<ImagePart, ImageStart>): Uint8Array {
    switch (part.type) {
      case 'entry':
        located(this.path(), () => this.checkEnd());
        if (this.isOver) throw new ValueError('expected no entry behind bytes that go to the end of the image');
        return this.writeMessage(part, this.path(part));
      case 'message':
        if (this.messages === 0 || this.payloads.length > 0) throw this.unexpected('a message');
        this.messages--;
        return this.writeMessage(part, this.path(part));
      case 'payload':
        if (!this.payloads[0] || this.payloadBytes !== undefined) throw this.unexpected('a payload');
        this.payloadBytes = 0;
        return NOTHING;
      case 'bytes':
        if (this.payloadBytes === undefined) throw this.unexpected('bytes');
        this.payloadBytes += part.bytes.length;
        return part.bytes;
      default:
        return this.endPayload(part.padding);
    }
  }

  private unexpected(found: string): ValueError {
    const expected =
      this.payloadBytes !== undefined
        ? 'bytes or the end of the payload'
        : this.payloads.length > 0
          ? 'a payload'
          : this.messages > 0
            ? 'a message'
            : 'no extra';
    return new ValueError(`expected ${expected} by the fields of the entry, found ${found}`);
  }

  private writeMessage(part: MessagePart, path: string): Uint8Array {
    const descriptor = messageDescriptor(part.message);
    const { out, builder } = this;
    out.at = 0;
    out.u32(0);
    builder.open(descriptor);
    writeObject(builder, descriptor, part.entry as unknown as MessageObject, path);
    builder.close();
    if (mayHaveExtra(descriptor.name)) {
      const extra = extraOf(descriptor.name, readObject(descriptor, out.bytes, 4, out.at));
      this.payloads.push(...extra.payloads);
      this.messages += extra.messages;
    }
    if (part.raw && isFormOf(descriptor, part.raw, out.view().subarray(4))) {
      out.at = 4;
      out.raw(part.raw);
    }
    out.setU32(0, out.at - 4);
    this.entries += part.type === 'entry' ? 1 : 0;
    return out.view().slice();
  }

  private endPayload(padding: Uint8Array | undefined): Uint8Array {
    const [payload] = this.payloads;
    const { payloadBytes } = this;
    if (!payload || payloadBytes === undefined) throw this.unexpected('the end of a payload');
    if (Number.isFinite(payload.size) && payload.size !== payloadBytes) {
      throw new ValueError(`expected ${payload.size} bytes by the fields of the entry, found ${payloadBytes}`);
    }
    const room = paddingOf(payload);
    if (padding && padding.length !== room) {
      throw new ValueError(`expected ${room} bytes of padding, found ${padding.length}`);
    }
    this.payloads.shift();
    this.payloadBytes = undefined;
    this.isOver = payload.size === Number.POSITIVE_INFINITY;
    return padding ?? new Uint8Array(room);
  }

  private checkEnd(): void {
    // What may be empty may also be left out.
    const missing = this.payloads.some(({ size }) => size > 0 && Number.isFinite(size));
    if (missing || this.messages > 0 || this.payloadBytes !== undefined) throw this.unexpected('the end of the entry');
    this.payloads = [];
  }
}

/** Whether a message says the same as one in canonical form. */
function isFormOf(descriptor: MessageDescriptor, raw: Uint8Array, canonical: Uint8Array): boolean {
  try {
    return Buffer.compare(canonicalise(descriptor, raw, 0, raw.length), canonical) === 0;
  } catch (error) {
    throw error instanceof WireError ? new ValueError(`expected raw to be an entry: ${error.message}`) : error;
  }
}
