/** Values that a restore hands to the kernel, which refuses what it does not know. */
import type { CheckedDump } from './checked-dump.js';
import type { FindingCode } from './findings.js';

type Value = number | bigint;

/** The values of one entry of an image. Those that are absent are right. */
export class ValueCheck {
  constructor(
    private readonly dump: CheckedDump,
    private readonly file: string,
    private readonly entry = 0,
    private readonly code: FindingCode = 'BAD_VALUE',
  ) {}

  /** Tells of a value that is not right. */
  must(isRight: boolean, expected: string, found: unknown): void {
    if (isRight) return;
    this.dump.error(this.code, this.file, `expected ${expected}, found ${found}`, { entry: this.entry });
  }

  /** Tells of a state that a plain sentence describes. */
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
