/**
 * The mark of a partial dump: pages were taken out of it that no lazy restore can fetch. A restore would succeed, and its
 * processes would compute on zeros. CRIU ignores the file. It is JSON:
 *
 *     {"version": 1, "spaces": [{"pagemap": "pagemap-15.img", "pages": 7, "kinds": {"stack": 7}}]}
 */
import { DumpError } from '../errors.js';
import { isPagemapName, PARTIAL } from './names.js';

const VERSION = 1;

/** Longest mark that is read, in bytes. A space takes about a hundred. */
export const MAX_PARTIAL_BYTES = 16 * 1024 * 1024;

/** Pages that were taken out, by kind of memory, by the name of the pagemap. */
export class LostPages {
  private readonly spaces = new Map<string, Map<string, number>>();

  /**
   * Reads a mark.
   * @throws {DumpError} MALFORMED, UNSUPPORTED
   */
  static parse(bytes: Uint8Array): LostPages {
    const lost = new LostPages();
    let mark: unknown;
    try {
      mark = JSON.parse(Buffer.from(bytes).toString());
    } catch (cause) {
      throw malformed('it is no JSON', cause);
    }
    const { version, spaces } = objectOf(mark);
    if (version !== VERSION) {
      throw new DumpError('UNSUPPORTED', `expected version ${VERSION}, found ${JSON.stringify(version)}`, {
        file: PARTIAL,
      });
    }
    if (!Array.isArray(spaces)) throw malformed('it has no list of spaces');
    for (const space of spaces) {
      const { pagemap, kinds } = objectOf(space);
      if (typeof pagemap !== 'string' || !isPagemapName(pagemap)) throw malformed('a space has no pagemap');
      for (const [kind, pages] of Object.entries(objectOf(kinds))) {
        if (!Number.isSafeInteger(pages) || (pages as number) < 1)
          throw malformed('a number of pages is no whole number');
        lost.add(pagemap, kind, pages as number);
      }
    }
    return lost;
  }

  get pages(): number {
    return sum([...this.spaces.values()].flatMap((kinds) => [...kinds.values()]));
  }

  add(pagemap: string, kind: string, pages: number): void {
    const kinds = this.spaces.get(pagemap) ?? new Map<string, number>();
    this.spaces.set(pagemap, kinds.set(kind, (kinds.get(kind) ?? 0) + pages));
  }

  /** Adds what another mark says. */
  merge(other: LostPages): void {
    for (const [pagemap, kinds] of other.spaces) for (const [kind, pages] of kinds) this.add(pagemap, kind, pages);
  }

  /** The mark. */
  bytes(): Uint8Array {
    const spaces = [...this.spaces].map(([pagemap, kinds]) => ({
      pagemap,
      pages: sum([...kinds.values()]),
      kinds: Object.fromEntries(kinds),
    }));
    return Buffer.from(`${JSON.stringify({ version: VERSION, spaces }, undefined, 2)}\n`);
  }

  /** For people: what was taken out. */
  toString(): string {
    const kinds = new Map<string, number>();
    for (const space of this.spaces.values()) {
      for (const [kind, pages] of space) kinds.set(kind, (kinds.get(kind) ?? 0) + pages);
    }
    const list = [...kinds].map(([kind, pages]) => `${pages} ${kind}`).join(', ');
    const { pages } = this;
    return `${pages} ${pages === 1 ? 'page was' : 'pages were'} taken out that no lazy restore can fetch: ${list}`;
  }
}

const sum = (numbers: readonly number[]): number => numbers.reduce((total, number) => total + number, 0);

function objectOf(value: unknown): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw malformed('an object is missing');
  return value as Record<string, unknown>;
}

const malformed = (what: string, cause?: unknown): DumpError =>
  new DumpError('MALFORMED', `not a list of pages that were taken out: ${what}`, { file: PARTIAL, cause });
