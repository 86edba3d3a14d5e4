/** Checks values that a restore passes to the kernel, which refuses unknown ones. */
import type { CheckedDump } from './checked-dump.js';
import type { FindingCode } from './findings.js';

type Value = number | bigint;

/** For the values of one entry of an image. Absent values are accepted. */
export class ValueCheck {
  constructor(
    private readonly dump: CheckedDump,
    private readonly file: string,
    private readonly entry = 0,
    private readonly code: FindingCode = 'BAD_VALUE',
  ) {}

  /** Reports a wrong value. */
  must(isRight: boolean, expected: string, found: unknown): void {
    if (isRight) return;
    this.dump.error(this.code, this.file, `expected ${expected}, found ${found}`, { entry: this.entry });
  }

  /** Reports a wrong state, which `message` describes. */
  mustNot(isWrong: boolean, message: string): void {
    if (isWrong) this.dump.error(this.code, this.file, message, { entry: this.entry });
  }

  between(what: string, value: Value | undefined, low: Value, high: Value): void {
    this.must(value === undefined || (value >= low && value <= high), `${what} of ${low} to ${high}`, value);
  }

  oneOf(what: string, value: Value | string | undefined, known: readonly (number | string)[]): void {
    const isKnown = value === undefined || known.includes(value as number | string);
    this.must(isKnown, `${what} of ${known.slice(0, -1).join(', ')} or ${known.at(-1)}`, value);
  }

  /** @param known bits that may be set */
  onlyBits(what: string, value: number | undefined, known: number): void {
    const unknown = ((value ?? 0) & ~known) >>> 0;
    this.must(unknown === 0, `${what} without unknown bits`, `0x${unknown.toString(16)}`);
  }
}
