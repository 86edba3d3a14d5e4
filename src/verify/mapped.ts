/** Checks the files that areas of a template map: whether they are there, and what they were when it was made. */
import { contentSum } from '../template/content-sum.js';
import { FILES_IMAGE } from '../template/images.js';
import { type MappedFile, MappedMemory } from '../template/mapped-memory.js';
import { contentBytes } from '../template/memory-folder.js';
import type { CheckedDump } from './checked-dump.js';
import type { VerifiedPart } from './part.js';

export interface MappedOptions {
  /** Of the mapped files; by default it is found. */
  folder: string | undefined;
  /** Whether their content is compared as well. */
  content: boolean;
  /** Only the files of a slice, if their content is compared. */
  part: VerifiedPart | undefined;
}

/** @param images in which the files are found */
export function checkMapped(
  dump: CheckedDump,
  march: number | undefined,
  { folder, content, part }: MappedOptions,
  images = dump,
): void {
  if (!images.isSound(FILES_IMAGE)) return;
  let memory: MappedMemory | undefined;
  images.attempt(FILES_IMAGE, () => {
    memory = MappedMemory.open(images.files, march, folder);
  });
  try {
    for (const [index, file] of (memory?.used ?? []).entries()) {
      if (part && !part.hasMapped(index) && content) continue;
      dump.attempt(file.path, () => checkFile(dump, file, content));
    }
  } finally {
    memory?.close();
  }
}

function checkFile(dump: CheckedDump, file: MappedFile, content: boolean): void {
  const { change, path, entry } = file;
  if (change !== undefined) dump.error('CHANGED', path, change);
  else if (content && entry.sha256 === undefined) {
    dump.warning('CHANGED', path, 'its content cannot be compared: the template has no sum of it, see template --sums');
  } else if (content && contentSum(path, path, contentBytes(entry.size)) !== entry.sha256) {
    dump.error('CHANGED', path, 'its content is not what the template was made with');
  }
}
