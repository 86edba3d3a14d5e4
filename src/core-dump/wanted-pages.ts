/** Of a dump that arrives, the pages that may be in the core of one process. */
import type { WantedPages } from '../arrival/hold.js';
import { spaceIdentity } from '../dump/names.js';
import { DumpError } from '../errors.js';
import { ownersOf } from '../inspect/wanted-pages.js';

/** All but those that only other processes have: shared memory may be mapped by any. */
export const pagesOfProcess =
  (pid: number): WantedPages =>
  (files, pages, isComplete) => {
    try {
      const owners = ownersOf(files, pages, isComplete)?.map(spaceIdentity);
      const isOfOthers = owners?.every((space) => space.kind === 'task' && space.pid !== pid);
      return isOfOthers ? new Float64Array(0) : undefined;
    } catch (error) {
      // What is wrong shows when it is read.
      if (error instanceof DumpError) return undefined;
      throw error;
    }
  };
