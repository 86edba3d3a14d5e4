/**
 * Whether the images are there that a dump must have. Which these are was read off real dumps by CRIU 4.1 and 4.2: an image
 * without entries is not written at all, so that only those can be asked for that are never empty.
 */

import { isPagemapName } from '../dump/names.js';
import { typeOfName } from '../image/magic.js';
import type { CheckedDump } from './checked-dump.js';
import { isColdHalf, tellOfColdHalf } from './cold.js';
import type { Survey, SurveyedTask } from './survey.js';

/** Fields of a namespace id, and the images that are never empty. A pid namespace has none. */
const NAMESPACE_IMAGES = [
  ['net_ns_id', 'netns'],
  ['net_ns_id', 'netdev'],
  ['ipc_ns_id', 'ipcns-var'],
  ['uts_ns_id', 'utsns'],
  ['mnt_ns_id', 'mountpoints'],
  ['user_ns_id', 'userns'],
  ['time_ns_id', 'timens'],
] as const;

/** What is missing. Images that others refer to by an id are another check's. */
export function checkPresence(dump: CheckedDump, survey: Survey): void {
  dump.require('inventory.img');
  if (!dump.has('pstree.img')) {
    const names = [...dump.sizes.keys()];
    const memoryAlone = names.some(isPagemapName) && !names.some((name) => typeOfName(name) === 'CORE');
    const why = memoryAlone
      ? ': a pre-dump holds memory alone, and only the last dump of its chain can be restored'
      : '';
    dump.error('MISSING_IMAGE', 'pstree.img', `expected this image, found none${why}`);
  }
  const isCold = isColdHalf(dump);
  if (isCold) tellOfColdHalf(dump);
  const named = new Set<string>();
  for (const task of survey.tasks) {
    const { pid, threads, state } = task;
    for (const id of [pid, ...threads]) named.add(`core-${id}.img`);
    dump.require(`core-${pid}.img`, 'pstree.img');
    if (state !== 'alive') continue;
    for (const tid of threads) if (tid !== pid) dump.require(`core-${tid}.img`, 'pstree.img');
    const kinds = isCold ? ['mm', 'pagemap'] : ['ids', 'mm', 'pagemap', 'fs'];
    for (const kind of kinds) dump.require(`${kind}-${pid}.img`, 'pstree.img');
    if (isCold) continue;
    checkOlderImages(dump, task);
    checkNamespaces(dump, survey, task);
  }
  if (!dump.isSound('pstree.img')) return;
  for (const name of dump.sizes.keys()) {
    if (typeOfName(name) !== 'CORE' || named.has(name)) continue;
    dump.warning('CORE_UNUSED', name, 'expected a process or thread of this id in pstree.img, found none');
  }
}

/** Nothing newer than the core says which of them a dump must have. */
function checkOlderImages(dump: CheckedDump, { pid, olderImages }: SurveyedTask): void {
  for (const name of olderImages) {
    if (dump.has(name)) continue;
    dump.warning('MISSING_IMAGE', name, `expected this image, or what it holds in core-${pid}.img, found neither`);
  }
}

/** A process in a namespace of its own, not in one that CRIU itself was in, needs what makes that anew. */
function checkNamespaces(dump: CheckedDump, { inventory }: Survey, { pid, ids }: SurveyedTask): void {
  const root = inventory?.root_ids;
  if (!ids || !root || !inventory.ns_per_id) return;
  for (const [field, image] of NAMESPACE_IMAGES) {
    const id = ids[field];
    if (id && id !== root[field]) dump.require(`${image}-${id}.img`, `ids-${pid}.img`, 'warning');
  }
}
