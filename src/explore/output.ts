/** Text that is written in pieces. */
import type { Emit } from '../bytes.js';
import { encodeText } from '../protobuf/object.js';

/** Characters that are gathered before they are written. */
const GATHERED = 32 * 1024;

/** Takes text. */
export type Print = (text: string) => void;

/** Gathers text into pieces of bytes. Names that are not UTF-8 keep their bytes. */
export class TextOutput {
  private gathered = '';

  constructor(private readonly emit: Emit) {}

  readonly print: Print = (text) => {
    this.gathered += text;
    if (this.gathered.length > GATHERED) this.flush();
  };

  flush(): void {
    const text = this.gathered;
    this.gathered = '';
    if (text !== '') this.emit(encodeText(text) ?? new TextEncoder().encode(text));
  }
}

/** The elements of a JSON array, one a line, without the brackets. */
class JsonElements {
  private first = true;

  constructor(private readonly print: Print) {}

  /** The text before an element. */
  next(): void {
    this.print(this.first ? '\n' : ',\n');
    this.first = false;
  }

  /** Prints a whole element. */
  add(value: unknown): void {
    this.next();
    this.print(JSON.stringify(value));
  }
}

/** A JSON array whose elements are printed as they come. */
export function printArray(print: Print, elements: (array: JsonElements) => void): void {
  print('[');
  elements(new JsonElements(print));
  print(']');
}
