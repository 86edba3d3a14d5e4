/** Where the pages of lazy restores come from, whatever the dump is in. */
import { DumpError } from '../errors.js';
import type { FarPages } from './far-pages.js';
import type { LazyRuns } from './lazy-runs.js';

interface AnySource {
  /** Bytes. */
  readonly pageSize: number;
  /** The pages of a task that a restore leaves out; undefined if the dump does not have the task. */
  runs(pid: number): LazyRuns | undefined;
  /** Why no more pages can come; what was delivered may be wrong then, too. */
  readonly failure?: unknown;
  /** Set by the daemon; called when more pages are ready or known, and when there is a failure. */
  onChange?: (() => void) | undefined;
  close(): void;
}

/** Pages that are here, or will be: those of a dump that still arrives. */
export interface LocalSource extends AnySource {
  /** Whether more is to come. Until then the pages of a task may be known only in part, and the dump may turn out damaged. */
  readonly isArriving?: boolean;
  /** For pages that take long to come. */
  readonly far?: FarPages | undefined;
  /**
   * How many pages from one on, at most `pages`, can be read at once; 0 for one that has to be waited for.
   * @param isNeeded whether those that are far away come from now on
   * @throws {DumpError} for one that never comes
   */
  ready(pid: number, page: number, pages: number, isNeeded?: boolean): number;
  /**
   * Reads pages that are ready.
   * @param page page number in the dump, the first of as many as `bytes` holds
   * @throws {DumpError} if they cannot be read, or have changed
   */
  read(pid: number, page: number, bytes: Uint8Array): void;
  /**
   * Where pages that are ready are, if they are in one piece of a file, whose descriptor is then in {@link fd}. Good until
   * anything else is asked for. Saves time where {@link read} would read one page.
   * @returns position in bytes, or -1
   */
  positionOf?(pid: number, page: number, pages: number): number;
  fd?: number;
}

/** Pages that somebody else has. */
export interface RemoteSource extends AnySource {
  /**
   * Asks for pages, which come to {@link onPages}, in pieces.
   * @returns whether they were asked for. In the background that is not done while too much is on its way
   */
  ask(pid: number, page: number, pages: number, isFault: boolean): boolean;
  /** Set by the daemon; the bytes are valid during the call. */
  onPages?: ((pid: number, page: number, bytes: Uint8Array) => void) | undefined;
}

export type PageSource = LocalSource | RemoteSource;

/**
 * The pages of a task that a restore leaves out. A task that the dump does not have belongs to another dump: without its pages
 * it would get zeros.
 * @throws {DumpError} MISSING_IMAGE
 */
export function runsOf(source: PageSource, pid: number): LazyRuns {
  const runs = source.runs(pid);
  if (runs) return runs;
  const message = 'expected the pagemap of a task that is restored, found none';
  throw new DumpError('MISSING_IMAGE', message, {
    file: `pagemap-${pid}.img`,
    hint: 'is this dump the one that is restored?',
  });
}

/** Whether the dump still arrives. */
export const isArriving = (source: PageSource): boolean => !isRemote(source) && source.isArriving === true;

/** Of a source whose pages take long to come. */
export const farPages = (source: PageSource): FarPages | undefined => (isRemote(source) ? undefined : source.far);

export const isRemote = (source: PageSource): source is RemoteSource => 'ask' in source;
