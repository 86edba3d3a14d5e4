/** Whether the dump says that it is of a form that is known here. */
import type { CheckedDump } from './checked-dump.js';
import type { Survey } from './survey.js';

/** `inventory_entry.img_version`: 1 and 2 are those of CRIU so far, 3 comes with compressed pages. */
const IMAGE_VERSIONS = [1, 2, 3];
/** `inventory_entry.compress`: not at all, a page at a time, several pages at a time. */
const COMPRESSIONS = [0, 1, 2];

export function checkVersions(dump: CheckedDump, { inventory }: Survey): void {
  if (!inventory) return;
  const { img_version: version, compress = 0 } = inventory;
  const complain = (message: string) => dump.warning('UNKNOWN_VERSION', 'inventory.img', message, { entry: 0 });
  // A pre-dump has 0.
  const isDump = dump.has('pstree.img');
  if (isDump && !IMAGE_VERSIONS.includes(version)) complain(`expected img_version 1, 2 or 3, found ${version}`);
  if (!COMPRESSIONS.includes(compress)) complain(`expected compress 0, 1 or 2, found ${compress}`);
}
