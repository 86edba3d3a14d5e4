/**
 * The extra of an entry on its way into an image. JSON may have it before the fields that say how long it must be, so it
 * is held until the entry is complete. One that grows too large for that passes: then its entry must be complete before it.
 */

import { type Extra, type Payload, paddingOf } from '../image/grammar.js';
import { ValueError } from '../protobuf/builder.js';
import { ByteWriter } from '../protobuf/wire.js';

/** What is held of bytes whose entry is not complete. */
const MAX_HELD_BYTES = 1024 * 1024;
/** Lists of messages and of numbers are always held: a message queue has 16 KiB where nobody raised that. */
const MAX_LIST_BYTES = 256 * 1024 * 1024;

/** A payload as it was given, or a message with what must follow it. */
type Part = { key: Payload['key']; payload: ByteWriter } | { message: Uint8Array; extra: Extra };

export class ExtraWriter {
  private parts: Part[] = [];
  private heldBytes = 0;
  private padding = new Uint8Array(0);
  /** Payloads still expected behind an entry that is written; the first is the one under way. */
  private passing: Payload[] | undefined;
  /** The payload that has passed; its padding may still come. */
  private passed: Payload | undefined;
  private passedBytes = 0;

  /**
   * @param out takes the payloads behind their entry
   * @param drain passes on the contents of `out`
   */
  constructor(
    private readonly out: ByteWriter,
    private readonly drain: () => void,
  ) {}

  /** Whether the entry must be written before more of the payload is taken. */
  get isFull(): boolean {
    return !this.passing && this.heldBytes > MAX_HELD_BYTES;
  }

  /** Whether nothing was given for this entry. */
  get isUntouched(): boolean {
    return this.parts.length === 0 && !this.passing && this.padding.length === 0;
  }

  begin(key?: Payload['key']): void {
    if (!this.passing) {
      this.parts.push({ key, payload: new ByteWriter() });
      return;
    }
    this.padPassed();
    const [next] = this.passing;
    if (!next || next.key !== key) throw new ValueError(`expected ${next ? next.key : 'no more'}, found ${key}`);
    this.passedBytes = 0;
  }

  push(bytes: Uint8Array): void {
    if (this.passing) {
      this.pass(bytes);
      return;
    }
    const part = this.parts.at(-1) as { payload: ByteWriter };
    part.payload.raw(bytes);
    this.hold(bytes.length);
  }

  endPayload(): void {
    const [payload] = this.passing ?? [];
    if (!payload) return;
    checkSize(payload, this.passedBytes);
    this.passed = payload;
    this.passing?.shift();
  }

  private padPassed(): void {
    if (this.passed) this.putPadding(this.passed);
    this.passed = undefined;
  }

  addMessage(message: Uint8Array, extra: Extra): void {
    this.parts.push({ message, extra });
    this.hold(message.length);
  }

  private hold(bytes: number): void {
    this.heldBytes += bytes;
    if (this.heldBytes > MAX_LIST_BYTES) throw new ValueError(`expected an extra of at most ${MAX_LIST_BYTES} bytes`);
  }

  /** Sets the bytes that fill the gaps after payloads, in place of zeros. */
  setPadding(bytes: Uint8Array): void {
    this.padding = bytes as Uint8Array<ArrayBuffer>;
  }

  /** Writes what is held behind its entry, and passes on what is still to come of the last payload. */
  startPassing(extra: Extra): void {
    this.passing = this.write(extra, true);
  }

  /** Writes what is held behind its entry: that is complete, and so is the extra. */
  finish(extra: Extra): void {
    this.padPassed();
    // What may be empty may also be left out.
    for (const payload of this.passing ?? this.write(extra, false)) checkSize(payload, 0);
    if (this.padding.length > 0) throw new ValueError('expected padding that fits the extra, found more');
    this.parts = [];
    this.heldBytes = 0;
    this.passing = undefined;
  }

  /** @returns the payloads that were not given, or with the last one under way, it and those behind it */
  private write(extra: Extra, underWay: boolean): Payload[] {
    if (extra.messages > 0 || this.parts.some((part) => 'message' in part)) {
      this.writeMessages(extra);
      return [];
    }
    const expected = [...extra.payloads];
    // What is under way must be the last.
    if (!underWay) this.sortParts(extra.payloads);
    for (const [i, part] of this.parts.entries()) {
      const [payload] = expected;
      if (!('payload' in part) || !payload || payload.key !== part.key) {
        throw new ValueError(`expected ${payload ? `${payload.key ?? 'bytes'} as the next payload` : 'no extra'}`);
      }
      if (underWay && i === this.parts.length - 1) {
        this.passedBytes = 0;
        this.passing = expected;
        this.pass(part.payload.view());
        return expected;
      }
      this.put(payload, part.payload);
      expected.shift();
    }
    return expected;
  }

  /** Puts parts that have keys in the order in which they are to be written. */
  private sortParts(payloads: readonly Payload[]): void {
    const rank = (part: Part) => payloads.findIndex(({ key }) => 'payload' in part && part.key === key);
    if (this.parts.length > 1) this.parts.sort((a, b) => rank(a) - rank(b));
  }

  private writeMessages(extra: Extra): void {
    if (this.parts.length !== 2 * extra.messages) {
      throw new ValueError(
        `expected ${extra.messages} messages, each with its data, found a list of ${this.parts.length}`,
      );
    }
    for (let i = 0; i < this.parts.length; i += 2) {
      const [head, data] = [this.parts[i], this.parts[i + 1]];
      if (!head || !data || !('message' in head) || !('payload' in data)) {
        throw new ValueError('expected messages and their data in turn');
      }
      this.out.u32(head.message.length);
      this.out.raw(head.message);
      this.put(head.extra.payloads[0] as Payload, data.payload);
    }
  }

  private put(payload: Payload, bytes: ByteWriter): void {
    checkSize(payload, bytes.at);
    this.out.raw(bytes.view());
    this.putPadding(payload);
  }

  private pass(bytes: Uint8Array): void {
    const [payload] = this.passing as [Payload];
    this.passedBytes += bytes.length;
    if (this.passedBytes > payload.size) checkSize(payload, this.passedBytes);
    this.out.raw(bytes);
    this.drain();
  }

  private putPadding(payload: Payload): void {
    const count = paddingOf(payload);
    if (this.padding.length > 0 && this.padding.length < count) {
      throw new ValueError('expected padding that fits the extra, found less');
    }
    this.out.raw(this.padding.length > 0 ? this.padding.subarray(0, count) : new Uint8Array(count));
    this.padding = this.padding.subarray(Math.min(count, this.padding.length));
  }
}

function checkSize({ size, key }: Payload, found: number): void {
  if (!Number.isFinite(size) || size === found) return;
  throw new ValueError(`expected ${size} bytes of ${key ?? 'extra'} by the fields of the entry, found ${found}`);
}
