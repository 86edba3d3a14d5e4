/**
 * What every match of a program has, found without running it: bytes that are in it, and sets of bytes that it begins with.
 * Where neither is in memory, no match begins, and looking for them is faster than any automaton.
 */
import { byteClass } from './literal.js';
import type { View } from './matcher.js';
import { closure, OP, type Program } from './program.js';

/** Where a match may begin: the first position from `from` on, or infinity. Calls for one view must ascend. */
export type Skip = (view: View, from: number) => number;

/** How far {@link startSets} looks. */
const MAX_SETS = 6;
/** Sets that more than one in so many positions of random bytes would pass are no help. */
const SELECTIVE = 256;
/** Analysis takes the square of the size of a program, so larger ones have no required bytes. */
const MAX_ANALYZED = 2000;

/**
 * The fastest way to leave out memory, if there is a good one.
 * @param reach bytes that the longest match has
 */
export function skipOf(program: Program, reach: number): Skip | undefined {
  const required = requiredBytes(program);
  const isPrefix = required?.isPrefix === true;
  if (required && isPrefix && required.bytes.length > 2) return skipToBytes(required.bytes, 0);
  const sets = startSets(program);
  const sources = sets.map((set) => byteClass(set));
  const odds = sets.reduce((product, set) => product * (set.filter(Boolean).length / 256), 1);
  const toSets = odds * SELECTIVE <= 1 ? skipToSets(new RegExp(sources.join(''), 'g')) : undefined;
  if (!required) return toSets;
  const toBytes = skipToBytes(required.bytes, isPrefix ? 0 : reach);
  if (!toSets || isPrefix) return toBytes;
  return (view, from) => {
    const at = toBytes(view, from);
    return at === Number.POSITIVE_INFINITY ? at : toSets(view, at);
  };
}

/** @param distance how far before the bytes a match may begin */
function skipToBytes(needle: Uint8Array, distance: number): Skip {
  const next = remembering(({ bytes }, from) => bytes.indexOf(needle, from));
  return (view, from) => Math.max(from, next(view, from) - distance);
}

const skipToSets = (expression: RegExp): Skip =>
  remembering(({ text }, from) => {
    expression.lastIndex = from;
    return expression.exec(text)?.index ?? -1;
  });

/** Looks only for what is behind the last find. @param find gives -1 for nothing */
function remembering(find: (view: View, from: number) => number): Skip {
  let last: View | undefined;
  let found = 0;
  return (view, from) => {
    if (last !== view || found < from) {
      const at = find(view, from);
      found = at < 0 ? Number.POSITIVE_INFINITY : at;
      last = view;
    }
    return found;
  };
}

/** For each of the first positions of a match the bytes that it may have there. */
export function startSets(program: Program): boolean[][] {
  const sets: boolean[][] = [];
  let at = closure(program, [program.start]);
  while (sets.length < MAX_SETS && ![...at].some((pc) => program.ops[pc] === OP.MATCH)) {
    const taking = [...at].filter((pc) => program.ops[pc] === OP.BYTE);
    sets.push(Array.from({ length: 256 }, (_, byte) => taking.some((pc) => program.takes[pc]?.[byte])));
    at = closure(
      program,
      taking.map((pc) => program.outs[pc] as number),
    );
  }
  return sets;
}

/** The longest run of bytes that every match has in it. `isPrefix`: it begins with them. */
export function requiredBytes(program: Program): { bytes: Uint8Array; isPrefix: boolean } | undefined {
  const { ops, outs, takes, start } = program;
  if (ops.length > MAX_ANALYZED) return undefined;
  const single = (pc: number): number => {
    const set = takes[pc];
    return set && set.indexOf(true) === set.lastIndexOf(true) ? set.indexOf(true) : -1;
  };
  /** What follows an instruction by itself, without a choice. */
  const passed = (pc: number): number => {
    while (ops[pc] === OP.NOTHING || ops[pc] === OP.ASSERTION) pc = outs[pc] as number;
    return pc;
  };
  const first = passed(start);
  let best: number[] = [];
  let isPrefix = false;
  for (let pc = 0; pc < ops.length; pc++) {
    if (single(pc) < 0) continue;
    const bytes: number[] = [];
    for (let at = pc; single(at) >= 0 && bytes.length < ops.length; at = passed(outs[at] as number))
      bytes.push(single(at));
    if (bytes.length <= best.length || !isRequired(program, pc)) continue;
    best = bytes;
    isPrefix = pc === first;
  }
  return best.length > 0 ? { bytes: Uint8Array.from(best), isPrefix } : undefined;
}

/** Whether every way to a match goes through an instruction. */
function isRequired({ ops, outs, others, start }: Program, without: number): boolean {
  const seen = new Set<number>([without]);
  const waiting = [start];
  for (let at = waiting.pop(); at !== undefined; at = waiting.pop()) {
    if (seen.has(at)) continue;
    seen.add(at);
    if (ops[at] === OP.MATCH) return false;
    if (ops[at] === OP.FAIL) continue;
    waiting.push(outs[at] as number);
    if (ops[at] === OP.ALTERNATIVE) waiting.push(others[at] as number);
  }
  return true;
}
