/** Checks the versions in the inventory. */
import type { CheckedDump } from './checked-dump.js';
import type { Survey } from './survey.js';

/** `inventory_entry.img_version`: 1 and 2 are those of CRIU so far, 3 comes with compressed pages. */
const IMAGE_VERSIONS = [1, 2, 3];
const COMPRESSED_VERSION = 3;
/** `inventory_entry.compress`: plain pages, or blocks. */
const COMPRESSIONS = [0, 1];
/** Several pages at a time, before CRIU 4.3. */
const UNRELEASED = 2;

export function checkVersions(dump: CheckedDump, { inventory }: Survey): void {
  if (!inventory) return;
  const { img_version: version, compress = 0, root_ids: ids } = inventory;
  const file = 'inventory.img';
  // A pre-dump has version 0.
  const isDump = dump.has('pstree.img');
  if (isDump && !IMAGE_VERSIONS.includes(version)) {
    dump.error('UNKNOWN_VERSION', file, `expected img_version 1, 2 or 3, found ${version}`, { entry: 0 });
  }
  if (isDump && !ids)
    dump.error('BAD_NAMESPACE', file, 'it has no root_ids, the namespaces of criu itself', { entry: 0 });
  if (!COMPRESSIONS.includes(compress)) {
    const what = compress === UNRELEASED ? ', of a layout that no release of CRIU had' : '';
    dump.warning('UNKNOWN_VERSION', file, `expected compress 0 or 1, found ${compress}${what}`, { entry: 0 });
  } else if (compress !== 0 && isDump && version < COMPRESSED_VERSION) {
    const message = `expected img_version ${COMPRESSED_VERSION} with compressed pages, found ${version}`;
    dump.error('UNKNOWN_VERSION', file, message, { entry: 0 });
  }
}
