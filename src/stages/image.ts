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
import { MessageBuilder, ValueError } from '../image/builder.js';
import { canonicalise, canonicalMessage } from '../image/canonical.js';
import { type DecodeOptions, ImageDecoder, type ImageHandler, isUsualHeader, usualHeader } from '../image/decoder.js';
import { extraOf, type MessagesIn, mayHaveExtra, type Payload, paddingOf } from '../image/grammar.js';
import type { ImageType } from '../image/magic.js';
import { type MessageName, type MessagePlan, messagePlan } from '../image/message.js';
import { type MessageObject, readObject } from '../image/object.js';
import { ByteWriter } from '../image/wire.js';
import { writeObject } from '../image/write-object.js';

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
export function decodeImage<T extends ImageType = ImageType>(options: DecodeOptions & { type?: T } = {}) {
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

  entry(plan: MessagePlan, bytes: Uint8Array, start: number, end: number): void {
    this.add('entry', plan, bytes, start, end);
  }

  message(plan: MessagePlan, bytes: Uint8Array, start: number, end: number): void {
    this.add('message', plan, bytes, start, end);
  }

  private add(type: 'entry' | 'message', plan: MessagePlan, bytes: Uint8Array, start: number, end: number): void {
    const canonical = canonicalMessage(plan, bytes, start, end);
    const entry = readObject(plan, canonical.bytes, canonical.start, canonical.end);
    const raw = canonical.raw && { raw: canonical.raw.slice() };
    this.parts.push({ type, message: plan.name, entry, ...raw } as unknown as ImagePart);
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

  end(): void {}
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
      throw error instanceof ValueError ? new DumpError('BAD_VALUE', error.message, { file }) : error;
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
  private entries = 0;
  /** What must follow: payloads, and messages with theirs. */
  private payloads: Payload[] = [];
  private messages = 0;
  private payloadBytes = 0;

  write(part: ImagePart): Uint8Array {
    switch (part.type) {
      case 'image':
        return part.header ?? usualHeader(part.image);
      case 'entry':
        this.checkEnd();
        return this.writeMessage(part, `entries[${this.entries++}]`);
      case 'message':
        this.messages--;
        return this.writeMessage(part, `entries[${this.entries - 1}].extra`);
      case 'payload':
        this.payloadBytes = 0;
        if (!this.payloads[0]) throw new ValueError(`entries[${this.entries - 1}]: expected no payload`);
        return NOTHING;
      case 'bytes':
        this.payloadBytes += part.bytes.length;
        return part.bytes;
      default:
        return this.endPayload(part.padding);
    }
  }

  /** Says that nothing follows. */
  end(): Uint8Array {
    this.checkEnd();
    return NOTHING;
  }

  private writeMessage(part: MessagePart, path: string): Uint8Array {
    const plan = messagePlan(part.message);
    const { out, builder } = this;
    out.at = 0;
    out.u32(0);
    builder.open(plan);
    writeObject(builder, plan, part.entry as unknown as MessageObject, path);
    builder.close();
    if (mayHaveExtra(plan.name)) {
      const extra = extraOf(plan.name, readObject(plan, out.bytes, 4, out.at));
      this.payloads.push(...extra.payloads);
      this.messages += extra.messages;
    }
    if (part.raw && Buffer.compare(canonicalise(plan, part.raw, 0, part.raw.length), out.view().subarray(4)) === 0) {
      out.at = 4;
      out.raw(part.raw);
    }
    out.setU32(0, out.at - 4);
    return out.view().slice();
  }

  private endPayload(padding: Uint8Array | undefined): Uint8Array {
    const payload = this.payloads.shift();
    if (!payload) throw new ValueError(`entries[${this.entries - 1}]: expected no payload`);
    if (Number.isFinite(payload.size) && payload.size !== this.payloadBytes) {
      throw new ValueError(
        `entries[${this.entries - 1}]: expected ${payload.size} bytes of payload by its fields, found ${this.payloadBytes}`,
      );
    }
    return padding ?? new Uint8Array(paddingOf(payload));
  }

  private checkEnd(): void {
    const missing = this.payloads.some(({ size }) => size > 0 && Number.isFinite(size));
    if (missing || this.messages > 0) {
      throw new ValueError(`entries[${this.entries - 1}]: expected its payload, found none`);
    }
    this.payloads = [];
  }
}
