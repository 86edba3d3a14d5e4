/** The images of a template: areas that map files in place of anonymous memory, and entries for these files. */
import { approximate, NumberFields } from '../image/number-fields.js';
import { mapFlagsOf, VMA } from '../memory/vma.js';
import { FILES_IMAGE, type HeldImages } from './images.js';
import type { Manifest } from './manifest.js';
import type { TaskPlan } from './plan.js';
import { type AreaChange, addFiles, changeArea, rewriteAreas } from './rewrite.js';

/** An area that maps a file at an offset, made of its anonymous one. */
export function mappedEntry(
  area: Uint8Array,
  { id, offset, march }: { id: number; offset: number; march: number | undefined },
): Uint8Array {
  const { flags, status } = flagsOf(area);
  const change: AreaChange = {
    flags: (flags & ~mapFlagsOf(march).ANONYMOUS) >>> 0,
    status: ((status & ~VMA.ANON_PRIVATE) | VMA.FILE_PRIVATE) >>> 0,
    shmid: id,
    pgoff: offset,
    hasFdflags: true,
  };
  return changeArea(area, change);
}

/** The reverse, for an area that is not known from the manifest as it is. */
export function anonymousEntry(area: Uint8Array, march: number | undefined): Uint8Array {
  const { flags, status } = flagsOf(area);
  return changeArea(area, {
    flags: (flags | mapFlagsOf(march).ANONYMOUS) >>> 0,
    status: ((status & ~VMA.FILE_PRIVATE) | VMA.ANON_PRIVATE) >>> 0,
    shmid: 0,
    pgoff: 0,
    hasFdflags: false,
  });
}

function flagsOf(area: Uint8Array): { flags: number; status: number } {
  const entry = new NumberFields('vma_entry', ['flags', 'status']);
  entry.read({ bytes: area, start: 0, end: area.length });
  return { flags: entry.fields.flags.lo, status: entry.fields.status.lo };
}

/**
 * The images that change, by name; the manifest gets its areas.
 * @param plans of the tasks that have mapped areas
 */
export function templateImages(
  images: HeldImages,
  plans: Iterable<TaskPlan>,
  manifest: Manifest,
  march: number | undefined,
): Map<string, Uint8Array> {
  const { pageSize, files } = manifest;
  const ids = images.freeIds(files.length);
  const changed = new Map<string, Uint8Array>();
  const range = new NumberFields('vma_entry', ['start']);
  for (const { pid, areas } of plans) {
    const mapped = new Map(areas.filter(({ at }) => at).map((area) => [area.start, area]));
    const image = images.mm(pid);
    if (mapped.size === 0 || !image) continue;
    const file = `mm-${pid}.img`;
    const rewritten = rewriteAreas(image, file, (entry) => {
      range.read({ bytes: entry, start: 0, end: entry.length });
      const area = mapped.get(approximate(range.fields.start) / pageSize);
      if (!area?.at) return undefined;
      const { start, end, at } = area;
      manifest.areas.push({
        pid,
        start,
        end,
        file: at.file,
        offset: at.offset,
        entry: Buffer.from(entry).toString('base64'),
      });
      return mappedEntry(entry, { id: ids[at.file] as number, offset: at.offset, march });
    });
    changed.set(file, rewritten);
  }
  const named = files.map(({ name, size, mode }, i) => ({ id: ids[i] as number, name, size, mode }));
  if (named.length > 0) changed.set(FILES_IMAGE, addFiles(images.files, named));
  return changed;
}
