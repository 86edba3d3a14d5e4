/** Takes the tokens of stream-json's parser: keeps the place of the next value, and joins text that comes in pieces. */
import type { Token } from 'stream-json/core/parser.js';
import { ValueError } from '../protobuf/builder.js';

/** More text in one value than any image has, in characters. */
const MAX_TEXT = 256 * 1024 * 1024;

/** For a key that an object has twice. */
export const TWICE = 'expected this key once, found it twice';

export type ScalarForm = 'string' | 'number' | 'word';

/** The place of the next token: behind a key of an object, or in a list, -1 before its first element. */
type TokenPlace = { key: string } | { index: number };

export abstract class TokenReader<Place extends TokenPlace> {
  protected readonly places: Place[] = [];
  protected place: Place | undefined;
  private text = '';

  token(token: Token): void {
    switch (token.name) {
      case 'keyValue':
        this.key(token.value);
        return;
      case 'numberValue':
        this.nextElement();
        this.scalar(token.value, 'number');
        return;
      case 'startString':
        this.nextElement();
        this.text = '';
        this.openString();
        return;
      case 'stringChunk':
        this.stringChunk(token.value);
        return;
      case 'endString':
        this.closeString(this.text);
        return;
      case 'trueValue':
      case 'falseValue':
      case 'nullValue':
        this.nextElement();
        this.scalar(String(token.value), 'word');
        return;
      case 'startObject':
        this.nextElement();
        this.openObject();
        return;
      case 'endObject':
        this.closeObject();
        this.leave();
        return;
      case 'startArray':
        this.nextElement();
        this.openArray();
        return;
      case 'endArray':
        this.closeArray();
        this.leave();
    }
  }

  /** The path of the next token, as jq writes it. */
  path(): string {
    return this.places.map((place) => this.step(place)).join('');
  }

  protected step(place: Place): string {
    if ('index' in place) return place.index < 0 ? '' : `[${place.index}]`;
    return place.key && `.${place.key}`;
  }

  /** Enters a place that is in no other. */
  protected enterFirst(place: Place): void {
    // Not by setting the length to 0: V8 would then make new memory for each of millions of entries.
    while (this.places.length > 0) this.places.pop();
    this.enter(place);
  }

  protected enter(place: Place): void {
    this.places.push(place);
    this.place = place;
  }

  protected leave(): void {
    this.places.pop();
    this.place = this.places[this.places.length - 1];
  }

  private nextElement(): void {
    if (this.place && 'index' in this.place) this.place.index++;
  }

  protected key(name: string): void {
    (this.place as { key: string }).key = name;
  }

  protected abstract openObject(): void;
  protected abstract openArray(): void;
  protected closeObject(): void {}
  protected closeArray(): void {}

  protected openString(): void {}

  protected stringChunk(text: string): void {
    if (this.text.length + text.length > MAX_TEXT) {
      throw new ValueError(`expected a text of at most ${MAX_TEXT} characters`);
    }
    this.text += text;
  }

  protected closeString(text: string): void {
    this.scalar(text, 'string');
  }

  /** A value that is neither an object nor a list. */
  protected abstract scalar(text: string, form: ScalarForm): void;
}
