/** Where the pages of lazy restores come from, whatever the dump is in. */
import type { LazyRuns } from './lazy-runs.js';

export interface PageSource {
  /** Bytes. */
  readonly pageSize: number;
  /** The pages of a task that a restore leaves out; undefined if the dump does not have the task. */
  runs(pid: number): LazyRuns | undefined;
  /** How many pages from one on, at most `pages`, can be read at once. */
  ready(pid: number, page: number, pages: number): number;
  /**
   * Reads pages that are ready.
   * @param page page number in the dump, the first of as many as `bytes` holds
   * @throws {DumpError} if they cannot be read, or have changed
   */
  read(pid: number, page: number, bytes: Uint8Array): void;
  /** Asks for pages that are not ready; {@link onArrival} is called when some are, and when they never will be. */
  request?(pid: number, page: number, pages: number, isFault: boolean): void;
  onArrival?: (() => void) | undefined;
  /** Throws {@link DumpError} CHANGED if the dump is no longer what it was. */
  check?(): void;
  close(): void;
}
