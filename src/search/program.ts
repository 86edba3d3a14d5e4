/**
 * A regular expression as a program: instructions that lead to each other. RE2JS parses, simplifies and compiles it. Its
 * engines decode characters, which takes far longer than to read memory, so here the program is one over bytes: of each
 * instruction the set of bytes that it takes.
 */
import { RE2JS, RE2JSException, RE2JSSyntaxException } from 're2js';
import { bytePattern } from './byte-syntax.js';

/** What an instruction does. */
export const OP = { ALTERNATIVE: 0, NOTHING: 1, ASSERTION: 2, BYTE: 3, MATCH: 4, FAIL: 5 } as const;

/** Bits of {@link Program.assertions}, in the numbers of RE2. */
export const ASSERT = { BEGIN_LINE: 1, END_LINE: 2, WORD_BOUNDARY: 16, NO_WORD_BOUNDARY: 32 } as const;

export interface Program {
  start: number;
  /** {@link OP} of each instruction. */
  ops: Uint8Array;
  /** The next instruction; of an alternative the preferred one. */
  outs: Uint32Array;
  /** The other way of an alternative. */
  others: Uint32Array;
  /** Assertions that must hold before the next instruction. */
  assertions: Uint8Array;
  /** Of BYTE: which of the 256 bytes it takes. */
  takes: (readonly boolean[] | undefined)[];
  hasAssertions: boolean;
}

/** A program has at most so many instructions: each byte of memory may cost as many steps. */
const MAX_INSTRUCTIONS = 10_000;

/** Of the instructions of RE2JS, by their number; the others are bytes. */
const KNOWN: Readonly<Record<number, number>> = {
  1: OP.ALTERNATIVE,
  2: OP.ALTERNATIVE,
  3: OP.NOTHING,
  4: OP.ASSERTION,
  5: OP.FAIL,
  6: OP.MATCH,
  7: OP.NOTHING,
};

interface Instruction {
  op: number;
  out: number;
  arg: number;
  matchRune(rune: number): boolean;
}

/**
 * Compiles a pattern. `^` and `$` are about lines; the border of memory is also one.
 * @throws {RangeError} that says what is wrong with it
 */
export function compileProgram(pattern: string, { ignoreCase = false } = {}): Program {
  const { inst, start } = parsed(bytePattern(pattern), ignoreCase);
  if (inst.length > MAX_INSTRUCTIONS) {
    throw new RangeError(
      `expected at most ${MAX_INSTRUCTIONS} steps, found ${inst.length}: a smaller repetition helps`,
    );
  }
  const ops = Uint8Array.from(inst, ({ op }) => KNOWN[op] ?? OP.BYTE);
  const program: Program = {
    start,
    ops,
    outs: Uint32Array.from(inst, ({ out }) => out),
    others: Uint32Array.from(inst, ({ op, arg }) => (KNOWN[op] === OP.ALTERNATIVE ? arg : 0)),
    assertions: Uint8Array.from(inst, ({ op, arg }) => (KNOWN[op] === OP.ASSERTION ? arg : 0)),
    takes: inst.map((instruction) => (KNOWN[instruction.op] === undefined ? bytesOf(instruction) : undefined)),
    hasAssertions: ops.includes(OP.ASSERTION),
  };
  if (reaches(program, [start], OP.MATCH)) {
    throw new RangeError('expected a pattern that takes at least a byte: this one matches everywhere');
  }
  return program;
}

function parsed(pattern: string, ignoreCase: boolean): { inst: Instruction[]; start: number } {
  const flags = RE2JS.MULTILINE | RE2JS.DISABLE_UNICODE_GROUPS | (ignoreCase ? RE2JS.CASE_INSENSITIVE : 0);
  try {
    return RE2JS.compile(pattern, flags).re2().prog;
  } catch (error) {
    // The message names the flags that were added to the pattern.
    if (error instanceof RE2JSSyntaxException) throw new RangeError(error.getDescription());
    if (error instanceof RE2JSException) throw new RangeError(error.message);
    throw error;
  }
}

const bytesOf = (instruction: Instruction): boolean[] =>
  Array.from({ length: 256 }, (_, byte) => instruction.matchRune(byte));

/** All instructions that are reached from some without taking a byte, as if every assertion held. */
export function closure({ ops, outs, others }: Program, from: readonly number[]): Set<number> {
  const seen = new Set<number>();
  const waiting = [...from];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (seen.has(at)) continue;
    seen.add(at);
    const op = ops[at] as number;
    if (op <= OP.ASSERTION) waiting.push(outs[at] as number);
    if (op === OP.ALTERNATIVE) waiting.push(others[at] as number);
  }
  return seen;
}

/** Whether an instruction of a kind is reached without taking a byte. */
const reaches = (program: Program, from: readonly number[], op: number): boolean =>
  [...closure(program, from)].some((at) => program.ops[at] === op);
