/**
 * What a criu that was killed leaves behind: processes that are restored in part, and wait for it without end. They become
 * children of this process.
 */
import { linux } from '../io/linux.js';
import { childrenOf, ProcessTree } from './process-tree.js';

/**
 * From now on the orphans among the descendants of this process become its children, if the system calls are available.
 * @returns kills those that it has more than now, and what descends from them
 */
export function adoptOrphans(): () => void {
  linux()?.becomeSubreaper();
  const before = new Set(childrenOf('self'));
  return () => {
    for (const pid of childrenOf('self')) if (!before.has(pid)) ProcessTree.of(pid)?.signal('SIGKILL');
  };
}
