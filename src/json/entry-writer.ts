/** Writes entries with their extras, as they are read from JSON, into the bytes of an image. */
import type { Emit } from '../bytes.js';
import { invariant } from '../errors.js';
import { usualHeader } from '../image/decoder.js';
import { type Extra, extraOf, firstMessage, mayHaveExtra, nextMessage, type Payload } from '../image/grammar.js';
import { IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, type ImageType, MAGIC } from '../image/magic.js';
import { MessageBuilder, ValueError, withArticle } from '../protobuf/builder.js';
import { canonicalise } from '../protobuf/canonical.js';
import { type FieldDescriptor, type MessageDescriptor, messageDescriptor } from '../protobuf/descriptor.js';
import { type MessageObject, readObject } from '../protobuf/object.js';
import { ByteWriter, word } from '../protobuf/wire.js';
import { ExtraWriter } from './extra-writer.js';
import { JsonFields } from './json-fields.js';
import { PADDING_KEY, RAW_KEY } from './to-json.js';

/** Entries are gathered up to this size before they are handed on. */
const BATCH_BYTES = 64 * 1024;

const NO_FIELDS: MessageObject = {};
const NO_EXTRA: Extra = { payloads: [], messages: 0 };
const ANY_BYTES: Payload = { form: 'bytes', size: Number.POSITIVE_INFINITY, align: 1 };

const EXTRA_TOO_EARLY = 'expected an extra of this size behind all fields of its entry';

/** What the extra of an entry is in JSON. */
type ExtraForm = 'bytes' | 'parts' | 'numbers' | 'messages' | 'none';

export class EntryWriter {
  private readonly out = new ByteWriter();
  private readonly builder = new MessageBuilder(this.out);
  /** Messages in extras are made apart: they follow an entry that need not be complete. */
  private readonly sideBuilder = new MessageBuilder(new ByteWriter());
  private readonly extra = new ExtraWriter(this.out, () => this.drain(BATCH_BYTES));
  /** Takes the tokens of what was opened last. */
  readonly fields = new JsonFields(this.builder);

  private firstDescriptor: MessageDescriptor | undefined;
  private nextDescriptor: MessageDescriptor | undefined;
  private descriptor: MessageDescriptor | undefined;
  private entryStart = 0;
  private isWritten = false;
  private inMessage = false;
  /** Whether a payload without end was written. */
  private isOver = false;
  private raw: Uint8Array | undefined;

  /**
   * @param emit takes the image; the bytes are overwritten after the call
   * @param onChanged told of an entry whose fields are not those of its raw form
   */
  constructor(
    private readonly emit: Emit,
    private readonly onChanged: () => void,
  ) {}

  /** @param header the magic numbers, if they are not those that CRIU writes today */
  begin(type: ImageType, header = usualHeader(type)): void {
    const first = word(header, 0);
    const isFirst = header.length === 4 || first === IMG_COMMON_MAGIC || first === IMG_SERVICE_MAGIC;
    if (!isFirst || word(header, header.length - 4) !== MAGIC[type]) {
      throw new ValueError(`expected magic numbers of ${type}, found others`);
    }
    this.out.raw(header);
    this.firstDescriptor = messageDescriptor(firstMessage(type));
    this.nextDescriptor = messageDescriptor(nextMessage(type));
  }

  end(): void {
    this.drain(0);
  }

  open(index: number): void {
    const descriptor = index === 0 ? this.firstDescriptor : this.nextDescriptor;
    invariant(descriptor, 'entries come after the type');
    if (this.isOver) throw new ValueError('expected no entry behind bytes that go to the end of the image');
    this.descriptor = descriptor;
    this.entryStart = this.out.at;
    this.isWritten = false;
    this.raw = undefined;
    this.out.u32(0);
    this.builder.open(descriptor);
    this.fields.begin(descriptor);
  }

  /** Opens a message in the extra. */
  openMessage(): void {
    const descriptor = messageDescriptor('ipc_msg');
    this.entryRaw = this.raw;
    this.raw = undefined;
    this.inMessage = true;
    this.sideBuilder.out.at = 0;
    this.sideBuilder.open(descriptor);
    this.fields.builder = this.sideBuilder;
    this.fields.begin(descriptor);
  }

  private entryRaw: Uint8Array | undefined;

  /** Closes what was opened last. */
  close(): void {
    this.fields.endMessage();
    if (this.inMessage) this.closeMessage();
    else this.closeEntry();
  }

  private closeEntry(): void {
    const extra = this.isWritten ? NO_EXTRA : this.writeEntry();
    // Most types have none: it is asked for each of millions of entries.
    if (extra !== NO_EXTRA || !this.extra.isUntouched) this.extra.finish(extra);
    this.drain(BATCH_BYTES);
  }

  private closeMessage(): void {
    const descriptor = messageDescriptor('ipc_msg');
    const { out } = this.sideBuilder;
    this.sideBuilder.close();
    const extra = extraOf(descriptor.name, readObject(descriptor, out.bytes, 0, out.at));
    if (this.raw) this.putRaw(descriptor, this.raw, out, 0);
    this.extra.addMessage(out.view().slice(), extra);
    this.inMessage = false;
    this.raw = this.entryRaw;
    this.fields.builder = this.builder;
    // The entry itself goes on.
    this.fields.begin(this.descriptor as MessageDescriptor);
  }

  /** Completes the message of an entry; returns what must follow it. */
  private writeEntry(): Extra {
    const { out, builder } = this;
    const descriptor = this.descriptor as MessageDescriptor;
    if (descriptor.name === 'pagemap_entry') countInField2(descriptor, builder);
    builder.close();
    const start = this.entryStart + 4;
    const fields = mayHaveExtra(descriptor.name) ? readObject(descriptor, out.bytes, start, out.at) : NO_FIELDS;
    if (this.raw) this.putRaw(descriptor, this.raw, out, start);
    out.setU32(this.entryStart, out.at - start);
    this.isWritten = true;
    // crit takes the entries behind such a segment for its bytes: they go back where they were.
    if (fields === NO_FIELDS) return NO_EXTRA;
    if (fields['in_pagemaps'] === true) return { payloads: [ANY_BYTES], messages: 0 };
    const extra = extraOf(descriptor.name, fields);
    this.isOver = extra.payloads.some(({ size }) => size === Number.POSITIVE_INFINITY);
    return extra;
  }

  /** Puts a message back as it was, unless its fields have been changed since. */
  private putRaw(descriptor: MessageDescriptor, raw: Uint8Array, out: ByteWriter, start: number): void {
    const canonical = canonicalise(descriptor, raw, 0, raw.length);
    if (Buffer.compare(canonical, out.bytes.subarray(start, out.at)) !== 0) {
      this.onChanged();
      return;
    }
    out.at = start;
    out.raw(raw);
  }

  /** Whether the message that was opened last knows a field. */
  hasField(name: string): boolean {
    return !this.inMessage && this.descriptor?.byName.has(name) === true;
  }

  /** A key that comes when the entry is written already is too late. */
  checkKey(name: string): void {
    if (this.isWritten && name !== PADDING_KEY) throw new ValueError(EXTRA_TOO_EARLY);
  }

  /** A value of a key that is no field. */
  special(key: string, bytes: Uint8Array): void {
    if (key === RAW_KEY) this.raw = bytes;
    else if (key === PADDING_KEY && !this.inMessage) this.extra.setPadding(bytes);
    else throw new ValueError(`expected no ${key} here`);
  }

  get extraForm(): ExtraForm {
    const name = this.descriptor?.name;
    if (this.inMessage || !name || !mayHaveExtra(name)) return 'none';
    if (name === 'tcp_stream_entry') return 'parts';
    if (name === 'ipc_sem_entry') return 'numbers';
    return name === 'ipc_msg_entry' ? 'messages' : 'bytes';
  }

  /** What the extra must be, for errors. */
  get extraWords(): string {
    const name = this.descriptor?.name ?? '';
    return {
      bytes: 'base64',
      parts: 'an object with inq and outq in base64',
      numbers: 'a list of numbers',
      messages: 'a list of messages, each with its data in base64',
      none: `no extra of ${withArticle(name)}`,
    }[this.extraForm];
  }

  /** @param key of a part, where the extra has several */
  beginPayload(key?: string): void {
    if (key !== undefined && key !== 'inq' && key !== 'outq') throw new ValueError(`expected ${this.extraWords}`);
    this.extra.begin(key);
  }

  payloadBytes(bytes: Uint8Array): void {
    this.extra.push(bytes);
    if (!this.extra.isFull || this.isWritten) return;
    const form = this.extraForm;
    if (form === 'bytes' || form === 'parts') this.extra.startPassing(this.entryBefore());
  }

  /** Completes the message of an entry whose extra is too large to be held. */
  private entryBefore(): Extra {
    try {
      return this.writeEntry();
    } catch (error) {
      throw error instanceof ValueError ? new ValueError(EXTRA_TOO_EARLY) : error;
    }
  }

  endPayload(): void {
    this.extra.endPayload();
  }

  /** Hands on what is written, if it is more than `least`. */
  private drain(least: number): void {
    if (this.out.at <= least) return;
    this.emit(this.out.view());
    this.out.at = 0;
  }
}

/**
 * crit 4.1.1 calls field 2 of a pagemap entry nr_pages, the name that field 5 has since. Field 2 is required, so an entry
 * without it comes from there.
 */
function countInField2(descriptor: MessageDescriptor, builder: MessageBuilder): void {
  const [old, current] = [descriptor.byNumber[2] as FieldDescriptor, descriptor.byNumber[5] as FieldDescriptor];
  if (builder.has(current) && !builder.has(old)) builder.renumber(current, old);
}
