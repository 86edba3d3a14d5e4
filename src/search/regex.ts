/**
 * Finds a regular expression in memory, in time that grows with the memory and not with what is in it. One automaton runs over
 * all bytes and sees where the first match ends. Another one then tries each byte that this match may begin at, in order, up
 * to the longest match; no byte is tried twice. What begins first is the match, with the end that the pattern prefers, as in
 * other engines.
 */
import { Automaton, END, UNKNOWN } from './automaton.js';
import { type Skip, skipOf } from './hints.js';
import type { Match, Matcher, View } from './matcher.js';
import { compileProgram } from './program.js';

/** Bytes of the longest match, unless the caller says otherwise. What would be longer is found as far as this. */
export const DEFAULT_REACH = 4096;
/** If the hints skip fewer bytes than this each time, the automaton is faster without them. */
const WORTHWHILE = 32;
/** So many times are looked at to know it. */
const SAMPLE = 64;

export interface RegexOptions {
  /** ASCII letters of both cases are the same. */
  ignoreCase?: boolean;
  /** Bytes of the longest match. */
  reach?: number;
}

export class Regex implements Matcher {
  readonly reach: number;
  private readonly search: Automaton;
  private readonly anchored: Automaton;
  private readonly skip: Skip | undefined;
  private view: View | undefined;
  /** No match begins before, in this view. */
  private tested = 0;
  private skips = 0;
  private skipped = 0;

  /** Throws a RangeError that says what is wrong with the pattern. */
  constructor(pattern: string, { reach = DEFAULT_REACH, ignoreCase = false }: RegexOptions = {}) {
    const program = compileProgram(pattern, { ignoreCase });
    this.reach = reach;
    this.search = new Automaton(program, true);
    this.anchored = new Automaton(program, false);
    this.skip = skipOf(program, reach);
  }

  next(view: View, from: number, last: number): Match | undefined {
    this.enter(view, from);
    const { bytes } = view;
    const { search } = this;
    /** Where the last match that may be found has ended. */
    const stop = Math.min(bytes.length, last + this.reach + 1);
    /** A match that has begun begins here or later. */
    let lower = this.skipFrom(view, this.tested);
    if (lower > last) return undefined;
    let at = lower;
    let state = search.start(byteBefore(view, at));
    for (let { table } = search; ; ) {
      let value = 0;
      for (; at < stop; at++) {
        value = table[state + (bytes[at] as number)] as number;
        if (value < 0) break;
        state = value;
      }
      if (at === stop && !(view.isEnd && at === bytes.length)) return undefined;
      if (value >= 0 || value === UNKNOWN) value = search.step(state, at === stop ? END : (bytes[at] as number));
      table = search.table;
      if (value >= 0) {
        state = value;
      } else {
        state = (-2 - value) >> 1;
        const match = value & 1 ? this.firstUntil(view, lower, Math.min(at - 1, last)) : undefined;
        if (match) return match;
      }
      if (at === stop) return undefined;
      at++;
      if (value >= 0 || !search.isEmpty(state)) continue;
      lower = this.skipFrom(view, at);
      if (lower > last) return undefined;
      if (lower > at) state = search.start(byteBefore(view, lower));
      at = lower;
    }
  }

  private enter(view: View, from: number): void {
    if (view === this.view) {
      this.tested = Math.max(this.tested, from);
      return;
    }
    this.view = view;
    this.tested = from;
    this.skips = 0;
    this.skipped = 0;
  }

  /** The first match that begins from `lower` on and ends behind `until`, or begins there. */
  private firstUntil(view: View, lower: number, until: number): Match | undefined {
    this.tested = Math.max(this.tested, lower, until + 1 - this.reach);
    while (this.tested <= until) {
      const start = this.tested++;
      const end = this.endOf(view, start);
      if (end > start) return { start, end };
    }
    return undefined;
  }

  /** Where the match that begins at a byte ends; -1 if there is none. */
  private endOf(view: View, start: number): number {
    const { bytes } = view;
    const { anchored } = this;
    const stop = Math.min(bytes.length, start + this.reach + 1);
    let state = anchored.start(byteBefore(view, start));
    let end = -1;
    for (let at = start; ; at++) {
      if (at === stop && !(view.isEnd && at === bytes.length && at <= start + this.reach)) return end;
      const value = anchored.step(state, at === stop ? END : (bytes[at] as number));
      if (value >= 0) {
        state = value;
      } else {
        state = (-2 - value) >> 1;
        if (value & 1) end = at;
        if (anchored.isEmpty(state)) return end;
      }
      if (at === stop) return end;
    }
  }

  /** The next position where a match may begin, as far as the hints tell. They are left alone where they do not help. */
  private skipFrom(view: View, from: number): number {
    if (!this.skip || (this.skips >= SAMPLE && this.skipped < this.skips * WORTHWHILE)) return from;
    const to = this.skip(view, from);
    this.skips++;
    this.skipped += to - from;
    return to;
  }
}

/** -1 at the start of memory. */
const byteBefore = ({ bytes }: View, at: number): number => (at > 0 ? (bytes[at - 1] as number) : -1);
