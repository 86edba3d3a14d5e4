/**
 * An image of any type, as it arrives: the bytes go in in chunks, whatever their size, and its parts come out. Entries
 * are gathered as a whole; payloads pass in pieces. grammar.ts has the order of the parts.
 */
import { DumpError, emptyInput } from '../errors.js';
import { counted } from '../printable.js';
import { type MessageDescriptor, messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import { ByteWriter, WireError, word } from '../protobuf/wire.js';
import { checkEntrySize, hex32, MAX_ENTRY_BYTES, truncated, wrongMagic } from './framing.js';
import { extraOf, firstMessage, mayHaveExtra, nextMessage, type Payload, paddingOf } from './grammar.js';
import { firstMagic, IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, type ImageType, MAGIC, typeOfMagic } from './magic.js';
import { guessRaw } from './raw.js';

/** Takes the parts of an image, in order. Bytes are overwritten after the call. */
export interface ImageHandler {
  /** @param header the magic numbers */
  image?(type: ImageType, header: Uint8Array): void;
  /** An entry: its message, in whatever form it was written. */
  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void;
  /** A message inside the extra of an entry. */
  message?(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void;
  /** A payload begins. */
  payload?(payload: Payload): void;
  bytes?(bytes: Uint8Array, start: number, end: number): void;
  payloadEnd?(padding: Uint8Array): void;
  end?(): void;
}

/** A message of an image, in `bytes` from `start` to `end`; valid until the call that it was handed to returns. */
export interface RawMessage {
  bytes: Uint8Array;
  start: number;
  end: number;
  descriptor: MessageDescriptor;
}

export type TakeMessage = (message: RawMessage) => void;

/** Larger buffers are not kept after use. */
const KEPT_BYTES = 1024 * 1024;

const NOTHING = new Uint8Array(0);

type State = 'magic' | 'type' | 'size' | 'message' | 'payload' | 'padding';

export interface DecodeOptions {
  /** For errors. */
  file?: string;
  /** The type that the image must have. */
  type?: ImageType | undefined;
}

export class ImageDecoder {
  private state: State = 'magic';
  private readonly file: string;
  private readonly expected: ImageType | undefined;
  private type: ImageType | undefined;

  private input: Uint8Array = NOTHING;
  private inputAt = 0;
  /** The beginning of something that has not arrived completely. */
  private readonly pending = new ByteWriter();
  /** Where {@link have} found something complete. */
  private view: Uint8Array = NOTHING;
  private viewAt = 0;
  /** In the file, of what comes next. */
  private offset = 0;

  /** Entries begun. */
  private entries = 0;
  private descriptor: MessageDescriptor | undefined;
  private nextDescriptor: MessageDescriptor | undefined;
  /** Bytes of the message that comes next. */
  private size = 0;
  private nested = false;
  private readonly payloads: Payload[] = [];
  /** Messages in the extra of this entry that are still to come. */
  private messages = 0;
  private payloadLeft = 0;

  constructor(
    private readonly handler: ImageHandler,
    { file = 'stdin', type }: DecodeOptions = {},
  ) {
    this.file = file;
    this.expected = type;
  }

  /** As soon as its magic has been read. */
  get imageType(): ImageType | undefined {
    return this.type;
  }

  push(chunk: Uint8Array): void {
    this.input = chunk;
    this.inputAt = 0;
    while (this.step());
  }

  /** Ends the image. Throws {@link DumpError} if it is incomplete. */
  end(): void {
    const left = this.pending.at;
    if (this.state === 'payload' && !Number.isFinite(this.payloadLeft)) {
      this.handler.payloadEnd?.(NOTHING);
    } else if (this.state !== 'size' || left > 0 || this.messages > 0) {
      throw this.cutOff(left);
    }
    this.handler.end?.();
  }

  private cutOff(left: number): DumpError {
    if (this.state === 'magic' || this.state === 'type') {
      if (this.offset + left === 0) return emptyInput('TRUNCATED', this.file, 'an image');
      return new DumpError('TRUNCATED', `expected an image, found ${counted(this.offset + left, 'byte')}`, {
        file: this.file,
      });
    }
    if (this.state === 'message') {
      return truncated(this.file, this.offset - 4, this.entry, this.size + 4, left + 4);
    }
    const expected = this.state === 'payload' ? `${this.payloadLeft} more bytes of payload` : 'the rest of an entry';
    return new DumpError(
      'TRUNCATED',
      `expected ${expected}, found the end of the file`,
      this.place(this.offset + left),
    );
  }

  /** Index of the entry for errors: the head of a pagemap is not counted. */
  private get entry(): number | undefined {
    const index = this.entries - (this.type === 'PAGEMAP' ? 2 : 1);
    return index < 0 ? undefined : index;
  }

  private place(offset: number) {
    const { entry } = this;
    return { file: this.file, offset, ...(entry === undefined ? {} : { entry }) };
  }

  /** Takes one step; false if it needs more input. */
  private step(): boolean {
    switch (this.state) {
      case 'size':
        return this.readSize();
      case 'message':
        return this.readMessage();
      case 'payload':
        return this.readPayload();
      case 'padding':
        return this.readPadding();
      default:
        return this.readMagic();
    }
  }

  /** Consumes `count` bytes into the view, if that many have arrived. */
  private have(count: number): boolean {
    const left = this.input.length - this.inputAt;
    const { pending } = this;
    if (pending.at === 0 && left >= count) {
      this.view = this.input;
      this.viewAt = this.inputAt;
      this.inputAt += count;
      this.offset += count;
      return true;
    }
    const more = Math.min(left, count - pending.at);
    pending.raw(this.input.subarray(this.inputAt, this.inputAt + more));
    this.inputAt += more;
    if (pending.at < count) return false;
    this.view = pending.bytes;
    this.viewAt = 0;
    pending.at = 0;
    if (pending.bytes.length > KEPT_BYTES) pending.bytes = new Uint8Array(KEPT_BYTES);
    this.offset += count;
    return true;
  }

  private readMagic(): boolean {
    if (!this.have(4)) return false;
    const magic = word(this.view, this.viewAt);
    const service = magic === IMG_SERVICE_MAGIC;
    if (this.state === 'magic' && (magic === IMG_COMMON_MAGIC || service)) {
      this.state = 'type';
      this.firstWord = magic;
      return true;
    }
    const type = typeOfMagic(magic);
    const { expected } = this;
    if (expected && type !== expected) {
      throw wrongMagic(this.file, this.offset - 4, magic, MAGIC[expected], expected);
    }
    if (!type) {
      const guess = guessRaw(magic);
      throw new DumpError(
        'WRONG_MAGIC',
        `expected the magic of an image, found ${hex32(magic)}${guess ? `, ${guess.what}` : ''}`,
        { file: this.file, offset: this.offset - 4, ...(guess ? { hint: guess.hint } : {}) },
      );
    }
    this.begin(type, magic);
    return true;
  }

  private firstWord: number | undefined;

  private begin(type: ImageType, magic: number): void {
    const header = new ByteWriter();
    if (this.firstWord !== undefined) header.u32(this.firstWord);
    header.u32(magic);
    this.type = type;
    this.descriptor = messageDescriptor(firstMessage(type));
    this.nextDescriptor = messageDescriptor(nextMessage(type));
    this.handler.image?.(type, header.view());
    this.state = 'size';
  }

  private readSize(): boolean {
    if (!this.have(4)) return false;
    this.size = word(this.view, this.viewAt);
    this.nested = this.messages > 0;
    if (!this.nested) this.entries++;
    checkEntrySize(this.size, MAX_ENTRY_BYTES, this.file, this.offset - 4, this.entry);
    this.state = 'message';
    return true;
  }

  private readMessage(): boolean {
    if (!this.have(this.size)) return false;
    const { view, viewAt, handler } = this;
    const end = viewAt + this.size;
    const descriptor = (this.nested ? messageDescriptor('ipc_msg') : this.descriptor) as MessageDescriptor;
    try {
      if (this.nested) handler.message?.(descriptor, view, viewAt, end);
      else handler.entry(descriptor, view, viewAt, end);
      if (mayHaveExtra(descriptor.name)) this.readExtra(descriptor, view, viewAt, end);
    } catch (error) {
      if (!(error instanceof WireError)) throw error;
      throw new DumpError('MALFORMED', error.message, this.place(this.offset - this.size + error.at - viewAt));
    }
    if (this.nested) this.messages--;
    else this.descriptor = this.nextDescriptor;
    this.next();
    return true;
  }

  private readExtra(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    const extra = extraOf(descriptor.name, readAnyObject(descriptor, bytes, start, end));
    this.payloads.push(...extra.payloads);
    this.messages += extra.messages;
  }

  /** Continues with what follows an entry, or with the next entry. */
  private next(): void {
    const [payload] = this.payloads;
    if (!payload) {
      this.state = 'size';
      return;
    }
    this.handler.payload?.(payload);
    this.payloadLeft = payload.size;
    this.state = 'payload';
  }

  private readPayload(): boolean {
    const count = Math.min(this.payloadLeft, this.input.length - this.inputAt);
    if (count > 0) this.handler.bytes?.(this.input, this.inputAt, this.inputAt + count);
    this.inputAt += count;
    this.offset += count;
    this.payloadLeft -= count;
    if (this.payloadLeft > 0) return false;
    this.state = 'padding';
    return true;
  }

  private readPadding(): boolean {
    const count = paddingOf(this.payloads[0] as Payload);
    if (!this.have(count)) return false;
    this.handler.payloadEnd?.(this.view.subarray(this.viewAt, this.viewAt + count));
    this.payloads.shift();
    this.next();
    return true;
  }
}

/** Whether magic numbers are those that CRIU writes today before an image of a type. */
export function isUsualHeader(type: ImageType, header: Uint8Array): boolean {
  return Buffer.compare(header, usualHeader(type)) === 0;
}

/** The magic numbers that CRIU writes today before an image of a type. */
export function usualHeader(type: ImageType): Uint8Array {
  const header = new ByteWriter();
  const first = firstMagic(type);
  header.u32(first);
  if (first !== MAGIC[type]) header.u32(MAGIC[type]);
  return header.view();
}
