/**
 * The entries of a pagemap for printing: address, count and flags. Other readers refuse unknown fields, because these may move
 * the pages. This one does not need the place of the pages.
 */

import type { Images } from '../dump/images.js';
import type { RawMessage } from '../image/decoder.js';
import { NumberFields, type Word } from '../image/number-fields.js';
import { PE_LAZY, PE_MASK, PE_PARENT, PE_PRESENT } from '../memory/runs.js';
import { messageDescriptor } from '../protobuf/descriptor.js';

/** The entry that was read last. */
export interface PagemapEntry {
  vaddr: Word;
  pages: Word;
  /** PE_* */
  flags: number;
}

/**
 * The entries of the pagemap of a process, of any generation: see docs/pagemap.md.
 * @param take is given the same object every time
 */
export function eachPagemapEntry(images: Images, pid: number, take: (entry: PagemapEntry) => void): void {
  const head = messageDescriptor('pagemap_head');
  const message = new NumberFields('pagemap_entry', ['vaddr', 'compat_nr_pages', 'in_parent', 'flags', 'nr_pages']);
  const { vaddr, compat_nr_pages: older, in_parent: inParent, flags, nr_pages: newer } = message.fields;
  const entry: PagemapEntry = { vaddr, pages: older, flags: 0 };
  const takeRaw = (raw: RawMessage) => {
    if (raw.descriptor === head) return;
    message.read(raw);
    entry.pages = newer.present ? newer : older;
    entry.flags = flags.present ? flags.lo : inParent.lo ? 0 : PE_PRESENT;
    if (inParent.lo) entry.flags |= PE_PARENT;
    take(entry);
  };
  images.messages(`pagemap-${pid}.img`, takeRaw, 'pstree.img');
}

const NAMES = { PARENT: PE_PARENT, LAZY: PE_LAZY, PRESENT: PE_PRESENT };

/** JSON lists of flag names, by flags: millions of entries have the same few. */
const NAMES_JSON = Array.from({ length: PE_MASK + 1 }, (_, flags) =>
  JSON.stringify(Object.entries(NAMES).flatMap(([name, flag]) => (flags & flag ? [name] : []))),
);

/** Names of PE_* flags as a list in JSON. */
export const flagsJson = (flags: number): string => NAMES_JSON[flags & PE_MASK] as string;
