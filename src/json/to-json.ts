/**
 * An image to JSON, as crit writes it:
 *
 *     {"magic": TYPE, "entries": [{FIELD: VALUE, ..., "extra": EXTRA}, ...]}
 *
 * and, where crit would lose something, with keys that begin with @ (docs/crit.md):
 *
 *     "@header"   base64 of magic numbers other than CRIU's own today
 *     "@unknown"  base64 of the fields that the schema does not know, in any message
 *     "@raw"      base64 of an entry whose fields are not in canonical form
 *     "@padding"  base64 of the padding in an extra, if it is not all zeros
 */
import type { Emit } from '../bytes.js';
import { concatBytes } from '../bytes.js';
import { type ImageHandler, isUsualHeader } from '../image/decoder.js';
import type { Payload } from '../image/grammar.js';
import type { ImageType } from '../image/magic.js';
import { canonicalMessage } from '../protobuf/canonical.js';
import type { MessageDescriptor } from '../protobuf/descriptor.js';
import { WireReader } from '../protobuf/wire.js';
import { MessagePrinter } from './print.js';
import { Base64Lines, JsonText } from './text.js';

export const HEADER_KEY = '@header';
export const RAW_KEY = '@raw';
export const PADDING_KEY = '@padding';
export const EXTRA_KEY = 'extra';

export interface JsonOptions {
  /** One value a line, and numbers as their hints write them. */
  pretty?: boolean;
  /** Only the size of payloads. */
  noPayload?: boolean;
}

/** Handler of {@link ImageDecoder} that writes JSON, without a newline at its end. */
export class JsonImageWriter implements ImageHandler {
  private readonly text: JsonText;
  private readonly printer: MessagePrinter;
  private readonly lines: Base64Lines;
  private readonly reader = new WireReader();
  private readonly pretty: boolean;
  private readonly noPayload: boolean;
  private inEntry = false;
  /** The bracket that closes the extra of this entry. */
  private closing: '}' | ']' | undefined;
  private current: Payload | undefined;
  /** The first byte of a number of two. */
  private half: number | undefined;
  private paddings: Uint8Array[] = [];
  /** Bytes of payload of this entry, if it has any. */
  private payloadBytes: number | undefined;

  constructor(emit: Emit, { pretty = false, noPayload = false }: JsonOptions = {}) {
    this.text = new JsonText(emit, pretty);
    this.printer = new MessagePrinter(this.text);
    this.lines = new Base64Lines(this.text);
    this.pretty = pretty;
    this.noPayload = noPayload;
  }

  image(type: ImageType, header: Uint8Array): void {
    const { text } = this;
    text.open('{');
    text.namedKey('magic');
    text.asciiString(type);
    if (!isUsualHeader(type, header)) this.base64(HEADER_KEY, header);
    text.namedKey('entries');
    text.open('[');
  }

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.closeEntry();
    const { text } = this;
    text.element();
    text.open('{');
    this.inEntry = true;
    this.fields(descriptor, bytes, start, end, this.pretty);
    if (descriptor.name === 'ipc_msg_entry' || descriptor.name === 'tcp_stream_entry') this.openExtra(descriptor);
  }

  /** Extras of more than one part. */
  private openExtra(descriptor: MessageDescriptor): void {
    if (this.noPayload) {
      this.payloadBytes = 0;
      return;
    }
    this.closing = descriptor.name === 'ipc_msg_entry' ? ']' : '}';
    this.text.namedKey(EXTRA_KEY);
    this.text.open(this.closing === ']' ? '[' : '{');
  }

  message(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    if (this.noPayload) {
      this.payloadBytes = (this.payloadBytes ?? 0) + end - start;
      return;
    }
    const { text } = this;
    text.element();
    text.open('{');
    // Never with hints: so does crit.
    this.fields(descriptor, bytes, start, end, false);
    text.close('}');
  }

  private fields(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number, pretty: boolean): void {
    const message = canonicalMessage(descriptor, bytes, start, end);
    this.printer.fields(descriptor, this.reader.over(message.bytes, message.start, message.end), pretty);
    if (message.raw) this.base64(RAW_KEY, message.raw);
  }

  private base64(key: string, bytes: Uint8Array): void {
    this.text.namedKey(key);
    this.text.quote();
    this.lines.push(bytes);
    this.lines.end();
    this.text.quote();
  }

  payload(payload: Payload): void {
    this.current = payload;
    if (this.noPayload) {
      // crit prints nothing for ghost files.
      if (!payload.ghost) this.payloadBytes = (this.payloadBytes ?? 0) + payload.size;
      return;
    }
    const { text } = this;
    if (this.closing === ']') text.element();
    else text.namedKey(payload.key ?? EXTRA_KEY);
    if (payload.form === 'u16') text.open('[');
    else text.quote();
  }

  bytes(bytes: Uint8Array, start: number, end: number): void {
    if (this.noPayload) return;
    if (this.current?.form === 'bytes') {
      this.lines.push(bytes, start, end);
      return;
    }
    for (let at = start; at < end; at++) {
      const byte = bytes[at] as number;
      if (this.half === undefined) {
        this.half = byte;
      } else {
        this.text.element();
        this.text.decimal(this.half | (byte << 8), 0);
        this.half = undefined;
      }
    }
  }

  payloadEnd(padding: Uint8Array): void {
    if (this.noPayload) return;
    if (this.current?.form === 'u16') {
      this.text.close(']');
    } else {
      this.lines.end();
      this.text.quote();
    }
    if (padding.length > 0) this.paddings.push(padding.slice());
  }

  private closeEntry(): void {
    if (!this.inEntry) return;
    const { text } = this;
    if (this.closing) text.close(this.closing);
    this.closing = undefined;
    if (this.payloadBytes !== undefined) {
      text.namedKey(EXTRA_KEY);
      text.asciiString(`... <${readableSize(this.payloadBytes)}>`);
      this.payloadBytes = undefined;
    }
    if (this.paddings.length > 0) this.closePaddings();
    text.close('}');
    this.inEntry = false;
  }

  private closePaddings(): void {
    const padding = concatBytes(this.paddings);
    if (padding.some((byte) => byte !== 0)) this.base64(PADDING_KEY, padding);
    this.paddings = [];
  }

  end(): void {
    this.closeEntry();
    this.text.close(']');
    this.text.close('}');
    this.text.flush();
  }
}

const UNITS = ['', 'K', 'M', 'G', 'T', 'P', 'E'];

/** A size in crit's words: `117B`, `1.5KB`. */
function readableSize(bytes: number): string {
  const power = UNITS.findIndex((_, i) => bytes < 1024 ** (i + 1));
  const value = bytes / 1024 ** power;
  return `${Number.isInteger(value) ? value : oneDecimal(value)}${UNITS[power]}B`;
}

/** As Python rounds: 1.25 to the even digit, where toFixed takes the larger one. */
function oneDecimal(value: number): string {
  const tenths = Math.floor(value * 10);
  const isHalf = value * 10 - tenths === 0.5;
  return (isHalf ? (tenths + (tenths % 2)) / 10 : value).toFixed(1);
}
