/**
 * Which areas of a task can be private mappings of a file in place of anonymous memory. A mapping of a file behaves
 * differently where the kernel treats anonymous memory in a special way; such areas stay as they are.
 */
import type { RawMessage } from '../image/decoder.js';
import { type Area, eachArea } from '../image/mm.js';
import { approximate } from '../image/number-fields.js';
import { type Kind, kindOfArea, type MapFlags, mapFlagsOf } from '../memory/vma.js';

/** What an area behind another one may grow by: mremap(2) shows what the file has there, which must be zeros. */
export const GROWTH_BYTES = 2 ** 40;

/** Bits of `vma_entry.madv`: MADV_WIPEONFORK, which only anonymous memory has; MADV_NOHUGEPAGE, which stacks of threads have. */
const WIPEONFORK = 1 << 18;
const NOHUGEPAGE = 1 << 15;
const PROT_EXEC = 4;

/** An area that can be mapped from a file. `start` and `end` are page numbers. */
export interface MappableArea {
  start: number;
  end: number;
}

/** Why an area stays as it is, in words that end a sentence about it. */
export type Hindrance =
  | 'smaller than --min-size'
  | 'executable'
  | 'wiped on fork'
  | 'with guard pages inside'
  | 'the stack of a thread'
  | `of kind ${Kind | 'guard'}`;

export interface AreaRules {
  /** Bytes. */
  pageSize: number;
  march: number | undefined;
  /** Bytes. */
  minBytes: number;
}

/**
 * The areas that can be mapped, ascending.
 * @param message an mm_entry
 * @param refuse told of every area that has memory of its own and stays as it is
 */
export function mappableAreas(
  message: Pick<RawMessage, 'bytes' | 'start' | 'end'>,
  rules: AreaRules,
  refuse: (why: Hindrance, pages: number) => void,
): MappableArea[] {
  const map = mapFlagsOf(rules.march);
  const areas: MappableArea[] = [];
  const guards: number[] = [];
  eachArea(message, (area) => {
    const start = approximate(area.start) / rules.pageSize;
    const end = approximate(area.end) / rules.pageSize;
    const kind = kindOfArea(area.flags.lo, area.status.lo, map);
    if (kind === 'guard') guards.push(start);
    else if (isAnonymous(area, map)) {
      const why = hindrance(area, kind, (end - start) * rules.pageSize < rules.minBytes);
      if (why) refuse(why, end - start);
      else areas.push({ start, end });
    }
  });
  areas.sort((a, b) => a.start - b.start);
  guards.sort((a, b) => a - b);
  let next = 0;
  return areas.filter(({ start, end }) => {
    while ((guards[next] ?? end) < start) next++;
    const isWhole = (guards[next] ?? end) >= end;
    if (!isWhole) refuse('with guard pages inside', end - start);
    return isWhole;
  });
}

const isAnonymous = ({ flags }: Area, map: MapFlags): boolean =>
  (flags.lo & (map.PRIVATE | map.ANONYMOUS)) === (map.PRIVATE | map.ANONYMOUS);

function hindrance({ prot, madv }: Area, kind: Kind | 'guard', isSmall: boolean): Hindrance | undefined {
  if (kind !== 'anon') return `of kind ${kind}`;
  if (prot.lo & PROT_EXEC) return 'executable';
  if (madv.lo & WIPEONFORK) return 'wiped on fork';
  if (madv.lo & NOHUGEPAGE) return 'the stack of a thread';
  return isSmall ? 'smaller than --min-size' : undefined;
}
