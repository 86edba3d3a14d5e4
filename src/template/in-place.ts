/** Areas whose pages are all in one piece of a pages file: they can be mapped from there. */
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { Dump } from '../dump/dump.js';
import type { Space } from '../dump/records.js';
import { onFile, UsageError } from '../errors.js';
import type { AddressSpace } from '../memory/space.js';
import type { MappedArea } from './mapped-area.js';
import type { PlaceInDump } from './stage.js';

/**
 * @param isMapped whether areas of the dump map files already
 * @throws {UsageError} for a dump that has no pages files of its own
 */
export function placesInDump(
  dump: Dump,
  isMapped: boolean,
): (space: Space, area: MappedArea) => PlaceInDump | undefined {
  if (dump.files.kind !== 'directory' || dump.hasParent || isMapped) {
    throw new UsageError('--in-place: expected a directory with all pages of the dump in it');
  }
  let last: { index: number; memory: AddressSpace } | undefined;
  return (space, { start, end }) => {
    if (last?.index !== space.index) last = { index: space.index, memory: dump.addressSpace(space) };
    let place: PlaceInDump | undefined;
    let next = 0;
    for (const { state, at, pages } of last.memory.locate(start, end - start)) {
      if (state !== 'stored' || !at || at.compressed || at.position % dump.pageSize !== 0) return undefined;
      if (place && at.position !== next) return undefined;
      const { name } = at.file;
      place ??= { path: onFile(name, () => realpathSync(join(dump.path, name))), offset: at.position };
      next = at.position + pages * dump.pageSize;
    }
    return place;
  };
}
