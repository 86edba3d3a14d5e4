/** Checks that no image is missing that a dump must have. */

import { readAll } from '../dump/files.js';
import { isPagemapName, PARTIAL } from '../dump/names.js';
import { neededImages } from '../dump/needed.js';
import { LostPages, MAX_PARTIAL_BYTES } from '../dump/partial.js';
import { typeOfName } from '../image/magic.js';
import type { CheckedDump } from './checked-dump.js';
import { isColdHalf, tellOfColdHalf } from './cold.js';
import type { Survey, SurveyedTask } from './survey.js';

/** Reports missing images. Images that others refer to by id are checked elsewhere. */
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
  tellOfLostPages(dump);
  const isCold = isColdHalf(dump);
  if (isCold) tellOfColdHalf(dump);
  const needy = survey.tasks.map((task) => ({ ...task, dead: task.state !== 'alive' }));
  for (const name of neededImages(needy, dump.sizes.keys())) dump.require(name, 'pstree.img');
  const named = new Set<string>();
  for (const task of survey.tasks) {
    const { pid, threads, state } = task;
    for (const id of [pid, ...threads]) named.add(`core-${id}.img`);
    if (state === 'alive' && !isCold) checkOlderImages(dump, task);
  }
  if (!dump.isSound('pstree.img')) return;
  for (const name of dump.sizes.keys()) {
    if (typeOfName(name) !== 'CORE' || named.has(name)) continue;
    dump.warning('CORE_UNUSED', name, 'expected a process or thread of this id in pstree.img, found none');
  }
}

/** Pages that were taken out and that nothing can fetch. */
function tellOfLostPages(dump: CheckedDump): void {
  if (!dump.has(PARTIAL)) return;
  dump.attempt(PARTIAL, () => {
    dump.error('PARTIAL_DUMP', PARTIAL, `${LostPages.parse(readAll(dump.files, PARTIAL, MAX_PARTIAL_BYTES))}`);
  });
}

/** In older dumps, separate images have what the core lacks. */
function checkOlderImages(dump: CheckedDump, { pid, olderImages }: SurveyedTask): void {
  for (const name of olderImages) {
    if (dump.has(name)) continue;
    dump.error('MISSING_IMAGE', name, `expected this image, or what it holds in core-${pid}.img, found neither`);
  }
}
