/**
 * JSON to an image: what crit 4.1.1, crit 4.2.1 and pagepipe decode, pretty or not, with keys in any order.
 *
 * The text is parsed as it comes, by stream-json; entries are made field by field, without an object in between. Only
 * the image's type must be known before its first entry: where `magic` comes later (jq -S sorts keys), the text up to it is
 * kept, and read again.
 */
import { isAscii } from 'node:buffer';
import { closestMatch } from 'leven';
import { isMany, none } from 'stream-chain/defs.js';
import type { Token } from 'stream-json/core/parser.js';
import type { Emit } from '../bytes.js';
import { DumpError, type DumpErrorCode, emptyInput } from '../errors.js';
import { type ImageType, MAGIC } from '../image/magic.js';
import { shorten, ValueError } from '../protobuf/builder.js';
import { WireError } from '../protobuf/wire.js';
import { Base64Reader, decodeBase64 } from './base64.js';
import { EntryWriter } from './entry-writer.js';
import { parseDigits } from './hints.js';
import { newParser, parserWords } from './json-parser.js';
import { EXTRA_KEY, HEADER_KEY, PADDING_KEY, RAW_KEY } from './to-json.js';
import { type ScalarForm, TokenReader, TWICE } from './token-reader.js';

/** Text that is kept where `magic` comes behind the entries, in characters. */
const MAX_KEPT_TEXT = 64 * 1024 * 1024;

/** Parsed at a time: the tokens of a piece are gone before V8 has to copy them. */
const PIECE_BYTES = 32 * 1024;

/** Keys of an image. */
const IMAGE_KEYS: ReadonlyMap<string, string> = new Map([
  ['magic', 'the type of an image'],
  ['entries', 'a list of entries'],
  [HEADER_KEY, 'magic numbers in base64'],
]);

/** Keys of an entry that are no fields. */
const SPECIAL_KEYS: ReadonlySet<string> = new Set([EXTRA_KEY, RAW_KEY, PADDING_KEY]);

export interface EncodeOptions {
  /** For errors. */
  file?: string;
  /** Called with a warning where the image differs from the text. */
  warn?: (message: string) => void;
  /** Refuses areas that begin or end inside a page, as they do when a tool has rounded their addresses. */
  checksAreas?: boolean;
}

/**
 * The place of the next token: `fields` are those of an entry, or of a message in an extra; the others are named after what
 * they hold. `parts` is an extra that is an object, `skipped` anything before the type is known.
 */
type Place = Keyed | Indexed;
/** `seen` are keys that came already: where they are no fields, of which the message itself knows. */
type Keyed = { kind: 'image' | 'fields' | 'parts' | 'skipped'; key: string; seen?: string[] };
type Indexed = { kind: 'entries' | 'numbers' | 'messages'; index: number };

export class JsonImageReader extends TokenReader<Place> {
  private readonly file: string;
  /** Made for the first bytes that are not ASCII. */
  private utf8: InstanceType<typeof TextDecoder> | undefined;
  /** Whether there was text without it: a byte order mark is one only at the start. */
  private isBehindStart = false;
  /** Whether the last bytes may be the beginning of a character. */
  private isInsideCharacter = false;
  private readonly entries: EntryWriter;
  private parse = newParser();
  private type: ImageType | undefined;
  private header: Uint8Array | undefined;
  private seenMagic = false;
  private seenEntries = false;
  /** The text so far, as long as the type is not known. */
  private kept: string[] | undefined = [];
  private keptLength = 0;
  /** Whether the entries came before the type. */
  private isLate = false;

  /** Of a payload under way. */
  private base64: Base64Reader | undefined;

  /** @param emit takes the image; the bytes are overwritten after the call */
  constructor(emit: Emit, { file = 'stdin', warn = () => {}, checksAreas = false }: EncodeOptions = {}) {
    super();
    this.file = file;
    this.entries = new EntryWriter(emit, () =>
      warn(`${file}: ${this.path()}: differs from its ${RAW_KEY}, so its fields are written in canonical form`),
    );
    this.entries.fields.checksAreas = checksAreas;
  }

  /** As soon as its name has been read. */
  get imageType(): ImageType | undefined {
    return this.type;
  }

  push(chunk: Uint8Array): void {
    for (let at = 0; at < chunk.length; at += PIECE_BYTES) this.feed(this.decode(chunk.subarray(at, at + PIECE_BYTES)));
  }

  /** Ends the text. Throws {@link DumpError} if the image is incomplete. */
  end(): void {
    this.feed(this.decodeUtf8(undefined, false));
    if (this.kept && this.keptLength === 0) throw emptyInput('BAD_JSON', this.file, 'an image in JSON');
    this.take(none);
    if (!this.type || !this.seenEntries) throw this.fail('BAD_JSON', 'expected an image in JSON, found the end');
    this.entries.end();
  }

  /** The text of bytes; most JSON has no others than those of ASCII, which need no decoder. */
  private decode(bytes: Uint8Array): string {
    if (this.isInsideCharacter || !isAscii(bytes)) {
      this.isInsideCharacter = (bytes.at(-1) as number) >= 0x80;
      return this.decodeUtf8(bytes, true);
    }
    this.isBehindStart = true;
    return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString('latin1');
  }

  private decodeUtf8(chunk: Uint8Array | undefined, stream: boolean): string {
    this.utf8 ??= new TextDecoder('utf-8', { fatal: true, ignoreBOM: this.isBehindStart });
    try {
      return this.utf8.decode(chunk, { stream });
    } catch {
      throw this.noJson('expected UTF-8, found other bytes');
    }
  }

  private feed(text: string): void {
    const { kept } = this;
    if (kept) {
      kept.push(text);
      this.keptLength += text.length;
      if (this.keptLength > MAX_KEPT_TEXT) {
        throw this.fail('LIMIT', `expected "magic" before the entries, or within ${MAX_KEPT_TEXT} characters`);
      }
    }
    this.take(text);
    if (!kept || !this.type) return;
    this.kept = undefined;
    if (!this.isLate) return;
    this.isLate = false;
    this.header = undefined;
    this.seenMagic = false;
    this.seenEntries = false;
    this.parse = newParser();
    this.places.length = 0;
    this.place = undefined;
    for (const piece of kept) this.take(piece);
  }

  private take(text: string | typeof none): void {
    let tokens: unknown;
    try {
      tokens = this.parse(text as string);
    } catch (error) {
      throw this.noJson(parserWords((error as Error).message));
    }
    if (!isMany(tokens)) return;
    try {
      for (const token of tokens.values as Token[]) {
        this.token(token);
        if (this.isLate && this.type) return;
      }
    } catch (error) {
      if (error instanceof ValueError || error instanceof WireError) throw this.fail('BAD_VALUE', error.message);
      throw error;
    }
  }

  override token(token: Token): void {
    const { place } = this;
    if (place?.kind === 'fields') this.fieldToken(place, token);
    else super.token(token);
  }

  /** A token of an entry, or of a message in an extra. */
  private fieldToken(place: Keyed, token: Token): void {
    const { entries } = this;
    if (entries.fields.isAtTop) {
      if (token.name === 'endObject') {
        place.key = '';
        entries.close();
        this.leave();
        return;
      }
      if (token.name === 'keyValue') {
        place.key = SPECIAL_KEYS.has(token.value) && !entries.hasField(token.value) ? token.value : '';
        if (place.key === '') entries.fields.token(token);
        else checkOnce(place);
        entries.checkKey(token.value);
        return;
      }
    }
    if (place.key === '') entries.fields.token(token);
    else super.token(token);
  }

  // Objects and lists.

  protected openObject(): void {
    const { place } = this;
    if (!place) {
      this.enter({ kind: 'image', key: '' });
    } else if (this.isSkipped(place)) {
      this.enter({ kind: 'skipped', key: '' });
    } else if (place.kind === 'entries') {
      this.entries.open(place.index);
      this.enter({ kind: 'fields', key: '' });
    } else if (place.kind === 'messages') {
      this.entries.openMessage();
      this.enter({ kind: 'fields', key: '' });
    } else if (place.kind === 'fields' && place.key === EXTRA_KEY && this.entries.extraForm === 'parts') {
      this.enter({ kind: 'parts', key: '' });
    } else {
      throw this.unexpected('an object');
    }
  }

  protected openArray(): void {
    const { place } = this;
    if (place?.kind === 'image' && place.key === 'entries') {
      this.openEntries();
    } else if (place && this.isSkipped(place)) {
      this.enter({ kind: 'skipped', key: '' });
    } else if (place?.kind === 'fields' && place.key === EXTRA_KEY) {
      const form = this.entries.extraForm;
      if (form !== 'messages' && form !== 'numbers') throw this.unexpected('a list');
      if (form === 'numbers') this.entries.beginPayload();
      this.enter({ kind: form, index: -1 });
    } else {
      throw this.unexpected('a list');
    }
  }

  /** Whether nothing can be made of a value, since the type is not known yet. */
  private isSkipped({ kind }: Place): boolean {
    return kind === 'skipped' || (this.isLate && kind === 'entries');
  }

  private openEntries(): void {
    if (this.seenEntries) throw new ValueError(TWICE);
    this.seenEntries = true;
    if (this.type) this.entries.begin(this.type, this.header);
    else this.isLate = true;
    this.enter({ kind: 'entries', index: -1 });
  }

  protected override key(name: string): void {
    super.key(name);
    if (this.place?.kind === 'parts') checkOnce(this.place);
  }

  protected override closeObject(): void {
    const { place } = this;
    if (place?.kind !== 'image') return;
    place.key = '';
    if (this.seenMagic && this.seenEntries) return;
    throw new ValueError(`expected "${this.seenMagic ? 'entries' : 'magic'}", found none`);
  }

  private unexpected(found: string): ValueError {
    const { place } = this;
    if (!place) return new ValueError(`expected an image: an object with magic and entries, found ${found}`);
    if (place.kind === 'entries') return new ValueError(`expected an entry, found ${found}`);
    if (place.kind === 'image')
      return new ValueError(`expected ${IMAGE_KEYS.get(place.key) ?? 'magic and entries alone'}, found ${found}`);
    if (place.kind === 'numbers') return new ValueError(`expected a number below 65536, found ${found}`);
    const isBase64 = place.kind === 'fields' && place.key !== EXTRA_KEY;
    return new ValueError(`expected ${isBase64 ? 'base64' : this.entries.extraWords}, found ${found}`);
  }

  // Values.

  protected scalar(text: string, form: ScalarForm): void {
    const { place } = this;
    if (place && this.isSkipped(place)) return;
    if (form !== 'string') this.extraNumber(text);
    else if (place?.kind === 'image' && place.key === 'magic') this.setType(text);
    else if (place?.kind === 'image' && place.key === HEADER_KEY) this.setHeader(decodeBase64(text));
    else if (place?.kind === 'fields') this.entries.special(place.key, decodeBase64(text));
    else throw this.unexpected(JSON.stringify(shorten(text)));
  }

  private setType(text: string): void {
    if (this.seenMagic) throw new ValueError(TWICE);
    this.seenMagic = true;
    if (!Object.hasOwn(MAGIC, text)) {
      const close = closestMatch(text, Object.keys(MAGIC), { maxDistance: 3 });
      const hint = close ? `; did you mean ${close}?` : '';
      throw new ValueError(`expected the type of an image, found ${JSON.stringify(shorten(text))}${hint}`);
    }
    this.type = text as ImageType;
  }

  private setHeader(bytes: Uint8Array): void {
    if (this.header) throw new ValueError(TWICE);
    if (this.seenEntries || (bytes.length !== 4 && bytes.length !== 8)) {
      throw new ValueError('expected one or two magic numbers, before the entries');
    }
    this.header = bytes;
  }

  /** A number of an extra that is a list of them. */
  private extraNumber(text: string): void {
    const value = this.place?.kind === 'numbers' ? parseDigits(text) : undefined;
    if (!value || value.negative || value.hi !== 0 || value.lo > 0xffff) throw this.unexpected(shorten(text));
    this.entries.payloadBytes(Uint8Array.of(value.lo, value.lo >> 8));
  }

  // Payloads.

  private get isPayload(): boolean {
    const { place } = this;
    return (
      place?.kind === 'parts' || place?.kind === 'messages' || (place?.kind === 'fields' && place.key === EXTRA_KEY)
    );
  }

  protected override openString(): void {
    const { place } = this;
    if (!this.isPayload) return;
    const form = this.entries.extraForm;
    if (place?.kind === 'fields' && form !== 'bytes') throw this.unexpected('a string');
    this.entries.beginPayload(place?.kind === 'parts' ? place.key : undefined);
    this.base64 = new Base64Reader();
  }

  protected override stringChunk(text: string): void {
    if (this.base64) this.entries.payloadBytes(this.base64.push(checkLeftOut(text)));
    else super.stringChunk(text);
  }

  protected override closeString(text: string): void {
    if (!this.base64) {
      super.closeString(text);
      return;
    }
    this.base64.end();
    this.base64 = undefined;
    this.entries.endPayload();
  }

  // Errors.

  protected override step(place: Place): string {
    return place.kind === 'fields' && place.key === '' ? this.entries.fields.path() : super.step(place);
  }

  override path(): string {
    return super.path().replace(/^\./, '');
  }

  /** The error for text that is no JSON. The parser tells no place: only the last value before this text is known. */
  private noJson(what: string): DumpError {
    const path = this.path();
    return new DumpError('BAD_JSON', path === '' ? what : `${what}, behind ${path}`, { file: this.file });
  }

  private fail(code: DumpErrorCode, what: string): DumpError {
    const path = this.path();
    return new DumpError(code, what, { file: this.file, ...(path === '' ? {} : { path }) });
  }
}

/** Notes the key of a place. */
function checkOnce(place: Keyed): void {
  place.seen ??= [];
  if (place.seen.includes(place.key)) throw new ValueError(TWICE);
  place.seen.push(place.key);
}

/** What show --nopl has in place of a payload. */
function checkLeftOut(text: string): string {
  if (text.startsWith('... <')) throw new ValueError('expected base64, found that the payload was left out (--nopl)');
  return text;
}
