/**
 * A deterministic automaton over bytes that is made of a program while it runs: a state is the list of instructions that the
 * program may be at, in order of preference, and a step leads to the same state for the same byte, so it is computed once.
 * A step takes constant time then, whatever the pattern. What the byte before was counts for assertions; whether one holds
 * is known only at the next byte, so a match is seen one step after its last byte.
 */
import { ASSERT, OP, type Program } from './program.js';

/** Follows the last byte of memory. */
export const END = 256;
/** Transitions of a state: one for each byte, and for the end. */
const WIDTH = 257;
/** Beyond so many states, 4 MiB, all are forgotten, and made again as they are needed. */
const MAX_STATES = 4096;

/** A transition that is not known yet. */
export const UNKNOWN = -1;

/** What the byte before a position is. */
const BEFORE = { OTHER: 0, WORD: 1, NEWLINE: 2, NOTHING: 3 } as const;

interface State {
  /** Instructions that the last byte led to. */
  list: Uint32Array;
  before: number;
}

/**
 * States are offsets in `table`, where `table[state + byte]` is the next state. What a caller has to look at is below 0:
 * {@link UNKNOWN}, or `-2 - 2 * state` if the next state is empty and this one is not, and one less if a match has ended before the
 * byte.
 */
export class Automaton {
  table = new Int32Array(64 * WIDTH);
  private states: State[] = [];
  private readonly offsets = new Map<string, number>();
  private readonly seen: Uint32Array;
  private readonly queued: Uint32Array;
  private round = 0;

  /**
   * @param isSearch whether a match may begin at any byte. It then ends as early as possible; otherwise where the pattern
   *   prefers it.
   */
  constructor(
    private readonly program: Program,
    private readonly isSearch: boolean,
  ) {
    this.seen = new Uint32Array(program.ops.length);
    this.queued = new Uint32Array(program.ops.length);
  }

  /** The state at a position where a match may begin. @param before the byte before it, or -1 where there is none */
  start(before: number): number {
    return this.offsetOf(this.isSearch ? [] : [this.program.start], this.classOf(before));
  }

  /** Whether no match has begun, or can go on. */
  isEmpty(state: number): boolean {
    return this.states[state / WIDTH]?.list.length === 0;
  }

  /** The transition for a byte, or END, which is computed if it is unknown. May forget all other states. */
  step(state: number, byte: number): number {
    const known = this.table[state + byte] as number;
    if (known !== UNKNOWN) return known;
    const from = this.states[state / WIDTH] as State;
    const { list, matched } = this.advance(from, byte);
    const isFull = this.states.length >= MAX_STATES;
    if (isFull) this.forget();
    const next = this.offsetOf(list, this.classOf(byte === END ? -1 : byte));
    const isSpecial = matched || (list.length === 0 && (from.list.length > 0 || !this.isSearch));
    const value = isSpecial ? -2 - 2 * next - (matched ? 1 : 0) : next;
    if (!isFull) this.table[state + byte] = value;
    return value;
  }

  private classOf(byte: number): number {
    if (!this.program.hasAssertions) return BEFORE.OTHER;
    if (byte < 0) return BEFORE.NOTHING;
    if (byte === 0x0a) return BEFORE.NEWLINE;
    return isWord(byte) ? BEFORE.WORD : BEFORE.OTHER;
  }

  private offsetOf(list: readonly number[], before: number): number {
    const key = `${before}:${list.join()}`;
    const known = this.offsets.get(key);
    if (known !== undefined) return known;
    const offset = this.states.length * WIDTH;
    if (offset + WIDTH > this.table.length) {
      const larger = new Int32Array(this.table.length * 2);
      larger.set(this.table);
      this.table = larger;
    }
    this.table.fill(UNKNOWN, offset, offset + WIDTH);
    this.states.push({ list: Uint32Array.from(list), before });
    this.offsets.set(key, offset);
    return offset;
  }

  private forget(): void {
    this.states = [];
    this.offsets.clear();
  }

  /** Where the instructions of a state lead with a byte. */
  private advance({ list, before }: State, byte: number): { list: number[]; matched: boolean } {
    const { ops, outs, others, assertions, takes, start } = this.program;
    const { seen, queued } = this;
    const round = ++this.round;
    const holds = assertionsAt(before, byte);
    const next: number[] = [];
    let matched = false;
    const waiting: number[] = this.isSearch ? [start] : [];
    for (let i = list.length - 1; i >= 0; i--) waiting.push(list[i] as number);
    for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
      if (seen[at] === round) continue;
      seen[at] = round;
      const out = outs[at] as number;
      const op = ops[at];
      if (op === OP.MATCH) {
        matched = true;
        // What is less preferred than a match is not followed.
        if (!this.isSearch) break;
      } else if (op === OP.ALTERNATIVE) waiting.push(others[at] as number, out);
      else if (op === OP.NOTHING || (op === OP.ASSERTION && ((assertions[at] as number) & ~holds) === 0))
        waiting.push(out);
      else if (op === OP.BYTE && takes[at]?.[byte] && queued[out] !== round) {
        queued[out] = round;
        next.push(out);
      }
    }
    return { list: next, matched };
  }
}

const isWord = (byte: number): boolean =>
  (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x5a) || byte === 0x5f || (byte >= 0x61 && byte <= 0x7a);

/** The assertions that hold between what is before and a byte. */
function assertionsAt(before: number, byte: number): number {
  const isBoundary = (before === BEFORE.WORD) !== isWord(byte);
  return (
    (before === BEFORE.NEWLINE || before === BEFORE.NOTHING ? ASSERT.BEGIN_LINE : 0) |
    (byte === 0x0a || byte === END ? ASSERT.END_LINE : 0) |
    (isBoundary ? ASSERT.WORD_BOUNDARY : ASSERT.NO_WORD_BOUNDARY)
  );
}
