/**
 * What make-lazy must leave of a dump, worked out page by page and shared with no code of the tool: for each pagemap the
 * entries that must stand in it, and by address the pages that must stand in its pages file.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ReadEntry, readMemory, readPagemap, splitImage } from './dump-writer.js';
import { messageType } from './message-type.js';

const LAZY = 2;
const PRESENT = 4;
const PARENT = 1;

export interface Rules {
  policy: 'auto' | 'flags' | 'vma' | 'seed';
  holes: 'flag' | 'drop';
  pageSize?: number;
}

export interface Expected {
  entries: { vaddr: bigint; pages: number; flags: number; hasFlags: boolean; countField: 'old' | 'new' | 'both' }[];
  pages: Map<bigint, Uint8Array>;
}

const mmEntry = messageType('criu.mm_entry');

interface Area {
  start: bigint;
  end: bigint;
  flags: number;
  status: number;
}

function areasOf(dump: string, pagemap: string): Area[] {
  const mm = join(dump, pagemap.replace('pagemap', 'mm'));
  if (!existsSync(mm)) return [];
  const [body] = splitImage(readFileSync(mm));
  const { vmas } = mmEntry.toObject(mmEntry.decode(body as Uint8Array), { longs: String }) as {
    vmas: { start: string; end: string; flags: number; status: number }[];
  };
  return vmas
    .map(({ start, end, flags, status }) => ({ start: BigInt(start), end: BigInt(end), flags, status }))
    .filter(({ status }) => (status & (1 << 16)) === 0);
}

/** By area: MAP_PRIVATE and MAP_ANON, and nothing that CRIU never fetches; the rule of 2016 lets more through. */
function areaIsLazy({ flags, status }: Area, policy: Rules['policy']): boolean {
  const privateAnon = (flags & 0x2) !== 0 && (flags & 0x20) !== 0;
  const special = policy === 'seed' ? (1 << 2) | (1 << 3) : (1 << 2) | (1 << 3) | (1 << 12);
  const pinned = policy === 'seed' ? 0 : 0x2000 | 0x40000;
  return privateAnon && (flags & pinned) === 0 && (status & special) === 0;
}

/** What must become of each pagemap of a dump. */
export function expectLazy(dump: string, { policy, holes, pageSize = 4096 }: Rules): Map<string, Expected> {
  const memory = readMemory(dump, pageSize);
  const expected = new Map<string, Expected>();
  for (const pagemap of readdirSync(dump).filter((name) => name.startsWith('pagemap-'))) {
    const areas = areasOf(dump, pagemap);
    const pages = new Map(memory.get(pagemap));
    const entries: Expected['entries'] = [];
    for (const entry of readPagemap(join(dump, pagemap)).entries) {
      const hasFlags = entry.fields.includes(4);
      let last: Expected['entries'][number] | undefined;
      for (let i = 0; i < entry.pages; i++) {
        const address = entry.vaddr + BigInt(i * pageSize);
        const area = areas.find(({ start, end }) => start <= address && address < end);
        const byFlags = policy === 'flags' || (policy === 'auto' && hasFlags);
        const lazy = byFlags ? (entry.flags & LAZY) !== 0 : area !== undefined && areaIsLazy(area, policy);
        const takes = !pagemap.includes('shmem') && lazy && (entry.flags & (PRESENT | PARENT)) === PRESENT;
        if (takes) pages.delete(address);
        if (takes && holes === 'drop') {
          last = undefined;
          continue;
        }
        // Kept by an area rule: a restore would pass over a page that is flagged.
        const keeps = !pagemap.includes('shmem') && !byFlags && !lazy && (entry.flags & PRESENT) !== 0;
        const flags = takes ? LAZY : keeps ? entry.flags & ~LAZY : entry.flags;
        if (last?.flags === flags) {
          last.pages++;
          continue;
        }
        last = { vaddr: address, pages: 1, flags, hasFlags: hasFlags || takes, countField: countField(entry) };
        entries.push(last);
      }
    }
    expected.set(pagemap, { entries, pages });
  }
  return expected;
}

const countField = (entry: ReadEntry): 'old' | 'new' | 'both' =>
  entry.fields.includes(5) ? (entry.oldCount === 0 ? 'new' : 'both') : 'old';

/** The same of a directory as it is. */
export function readLazy(out: string, pageSize = 4096): Map<string, Expected> {
  const memory = readMemory(out, pageSize);
  return new Map(
    readdirSync(out)
      .filter((name) => name.startsWith('pagemap-'))
      .map((pagemap) => [
        pagemap,
        {
          entries: readPagemap(join(out, pagemap)).entries.map((entry) => ({
            vaddr: entry.vaddr,
            pages: entry.pages,
            flags: entry.flags,
            hasFlags: entry.fields.includes(4),
            countField: countField(entry),
          })),
          pages: memory.get(pagemap) as Map<bigint, Uint8Array>,
        },
      ]),
  );
}

/** Where what is differs from what must be; nothing if it does not. */
export function differences(expected: Map<string, Expected>, found: Map<string, Expected>): string[] {
  const lines: string[] = [];
  for (const name of new Set([...expected.keys(), ...found.keys()])) {
    const [a, b] = [expected.get(name), found.get(name)];
    const text = (of?: Expected) =>
      JSON.stringify(of?.entries, (_, value) => (typeof value === 'bigint' ? value.toString(16) : value));
    if (text(a) !== text(b)) lines.push(`${name}: expected ${text(a)}, found ${text(b)}`);
    const addresses = new Set([...(a?.pages.keys() ?? []), ...(b?.pages.keys() ?? [])]);
    for (const address of addresses) {
      const [pageA, pageB] = [a?.pages.get(address), b?.pages.get(address)];
      if (!pageA || !pageB || Buffer.compare(pageA, pageB) !== 0) lines.push(`${name} page 0x${address.toString(16)}`);
    }
  }
  return lines;
}

/** Files that must be the same, byte for byte, in a directory made by make-lazy: all but tasks' pagemaps and pages. */
export function untouchedFiles(dump: string): string[] {
  const changed = readdirSync(dump)
    .filter((name) => /^pagemap-\d/.test(name))
    .flatMap((name) => [name, `pages-${readPagemap(join(dump, name)).pagesId}.img`]);
  return readdirSync(dump).filter((name) => !changed.includes(name) && name !== 'parent');
}
