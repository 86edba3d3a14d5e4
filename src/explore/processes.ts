/** The processes of a dump. Exploring needs fewer images than a restore, so it also works on an incomplete dump. */
import { missingImage } from '../dump/files.js';
import type { Images } from '../dump/images.js';
import { isDead } from '../dump/tasks.js';
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { MARCH, type MapFlags, mapFlagsOf } from '../memory/vma.js';

/** A process, as `pstree.img` has it. */
export type PstreeEntry = Messages['pstree_entry'];

/** The processes of the dump, in the order in which they were dumped. Throws {@link DumpError} MISSING_IMAGE, MALFORMED. */
export function processesOf(images: Images): PstreeEntry[] {
  if (!images.has('pstree.img')) {
    throw new DumpError('MISSING_IMAGE', 'the image is missing; every dump of processes has it', {
      file: 'pstree.img',
      hint: 'a pre-dump holds memory alone: explore the last dump of its chain',
    });
  }
  const processes: PstreeEntry[] = [];
  images.each('pstree.img', 'pstree_entry', (entry) => processes.push(entry));
  if (processes.length > 0) return processes;
  throw new DumpError('MALFORMED', 'expected at least one pstree_entry, found none', { file: 'pstree.img' });
}

/** The core of a process. */
export const coreOf = (images: Images, pid: number): Messages['core_entry'] =>
  images.first(`core-${pid}.img`, 'core_entry', 'pstree.img');

/** Whether a process lacks an image because it is a zombie. Throws if it must have the image. */
export function lacksAsZombie(images: Images, pid: number, name: string): boolean {
  if (images.has(name)) return false;
  if (images.has(`core-${pid}.img`) && isDead(coreOf(images, pid))) return true;
  throw missingImage(name, 'pstree.img');
}

/** MAP_* in the numbers of the machine that the core of a process names, if there is one. */
export function mapFlagsOfTask(images: Images, pid: number): MapFlags {
  if (!images.has(`core-${pid}.img`)) return mapFlagsOf(undefined);
  const { mtype } = coreOf(images, pid);
  return mapFlagsOf((MARCH as Record<string, number>)[String(mtype)]);
}
