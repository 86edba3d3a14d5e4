/** A dump in which some images have other values. The images are edited once, and held; the dump itself does not change. */

import type { MemoryBudget } from '../io/byte-queue.js';
import { HoldStore, type StoredFile } from '../io/hold-store.js';
import { type Assignment, ImageEditor } from '../json/edit.js';
import type { DumpFiles } from './files.js';
import { Images } from './images.js';

/**
 * @param assignments by image
 * @throws {DumpError} MISSING_IMAGE, BAD_VALUE, and those of reading the images
 */
export function edited(
  files: DumpFiles,
  assignments: ReadonlyMap<string, readonly Assignment[]>,
  budget: MemoryBudget,
): DumpFiles {
  if (assignments.size === 0) return files;
  const images = new Images(files);
  const store = new HoldStore(budget);
  const held = new Map<string, StoredFile>();
  try {
    for (const [name, ofImage] of assignments) {
      const file = store.file();
      images.decode(name, new ImageEditor((bytes) => file.push(bytes), ofImage, name));
      held.set(name, file);
    }
  } catch (error) {
    store.close();
    throw error;
  }
  const own: Partial<DumpFiles> = {
    entries: () => files.entries().map((entry) => ({ ...entry, size: held.get(entry.name)?.size ?? entry.size })),
    stat: (name) => {
      const stat = files.stat(name);
      return stat && { ...stat, size: held.get(name)?.size ?? stat.size };
    },
    readSome: (name, buffer, position) =>
      held.get(name)?.readSome(buffer, position) ?? files.readSome(name, buffer, position),
    place: (name) => (held.has(name) ? undefined : files.place?.(name)),
    close: () => {
      store.close();
      files.close();
    },
  };
  // Everything else is that of the dump.
  return Object.assign(Object.create(files), own);
}
