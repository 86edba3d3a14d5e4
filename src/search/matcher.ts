/**
 * What looks for a pattern in memory: matchers. They are synchronous and see one view at a time, which holds bytes that follow
 * each other in memory. Whether a match begins at a byte depends only on the byte before it and on the `reach` bytes from it
 * on, and the byte after these. So it does not matter how memory is cut into views, as long as a view has these bytes.
 */

/** Bytes that follow each other in memory. */
export class View {
  private latin1: string | undefined;

  /**
   * Memory begins with the first byte, unless matches are asked for from a later one on.
   * @param isEnd whether there is no memory behind the last byte
   */
  constructor(
    readonly bytes: Buffer,
    readonly isEnd: boolean,
  ) {}

  /** The bytes as a string with a character for each, for the engines that take only strings. */
  get text(): string {
    this.latin1 ??= this.bytes.toString('latin1');
    return this.latin1;
  }
}

/** Positions in a view; `end` is exclusive. A match has at least a byte. */
export interface Match {
  start: number;
  end: number;
}

export interface Matcher {
  /** Bytes that the longest match has. */
  readonly reach: number;
  /**
   * The first match that begins at `from` or later, but not after `last`. Calls for one view must ascend.
   * @param last the view goes on for `reach` bytes and one more behind it, unless it is the end of memory
   */
  next(view: View, from: number, last: number): Match | undefined;
}

/** The matches of several matchers: the one that begins first, of two that begin together that of the earlier matcher. */
export class AnyOf implements Matcher {
  readonly reach: number;
  /** Index of the matcher of the last match. */
  which = 0;
  private view: View | undefined;
  private readonly found: (Match | undefined)[] = [];

  constructor(private readonly matchers: readonly Matcher[]) {
    this.reach = Math.max(...matchers.map(({ reach }) => reach));
  }

  next(view: View, from: number, last: number): Match | undefined {
    const isSame = view === this.view;
    this.view = view;
    let first: Match | undefined;
    this.matchers.forEach((matcher, i) => {
      const known = this.found[i];
      // None was found up to the same `last`, or one that has not been passed.
      if (!isSame || (known && known.start < from)) this.found[i] = matcher.next(view, from, last);
      const match = this.found[i];
      if (!match || (first && match.start >= first.start)) return;
      first = match;
      this.which = i;
    });
    return first;
  }
}
