/** Maps that no dump is needed for. */
import { MapBuilder, type MapLimits, type NewArea } from '../../src/map/builder.js';
import { CONTENTS, type MemoryMap, STATES } from '../../src/map/model.js';

const LIBRARIES = ['libc.so.6', 'libssl.so.3', 'libcrypto.so.3', 'libstdc++.so.6', 'libz.so.1', 'ld-linux-x86-64.so.2'];
const MIB = 256;

export interface SampleOptions {
  processes?: number;
  /** Of each process: how often its pages change from one state to another. */
  runs?: number;
  hasContent?: boolean;
  hasChanges?: boolean;
  limits?: Partial<MapLimits>;
  /** Of processes and files. */
  name?: string;
}

/** A map of a server with some processes, which share memory; the same each time. */
export function sampleMap(options: SampleOptions = {}): MemoryMap {
  const { processes = 4, runs = 200, hasContent = false, hasChanges = false, limits, name = 'postgres' } = options;
  const builder = new MapBuilder({ pageSize: 4096, hasContent, hasChanges, ...(limits ? { limits } : {}) });
  const random = generator(7);
  const content = () => (hasContent ? CONTENTS[Math.floor(random() ** 2 * CONTENTS.length)] : undefined);
  const fill = (pages: number, parts: number, states: readonly number[]) => {
    for (let left = pages; left > 0; ) {
      const count = Math.min(left, Math.max(1, Math.ceil(((2 * pages) / parts) * random())));
      const state = STATES[states[Math.floor(random() * states.length)] ?? 0] ?? 'zero';
      builder.pages(
        state,
        count,
        state === 'eager' || state === 'lazy' ? content() : undefined,
        hasChanges && random() < 0.2,
      );
      left -= count;
    }
  };
  for (let i = 0; i < processes; i++) {
    builder.space('task', 100 + i, i === 0 ? name : `${name}: worker ${i}`);
    const scale = i === 0 ? 4 : 1;
    for (const [kind, at, pages, states, more] of layout(name, scale)) {
      builder.newArea({ start: at, end: at + pages, kind, flags: 'rw-p', ...more });
      fill(pages, pages < 64 ? 2 : runs / 4, states);
    }
  }
  builder.space('shmem', 1188, '/dev/zero');
  builder.newArea({ start: 0, end: 8 * MIB, kind: 'shmem', flags: '' });
  fill(8 * MIB, runs, [0, 0, 5]);
  const read = hasContent ? contentTotals() : null;
  return builder.map(read);
}

const contentTotals = () => ({
  pages: 20_000,
  contents: { zero: 2000, text: 6000, compressible: 9000, random: 3000 },
  distinctPages: 15_000,
  isExact: true,
  compressedBytes: 31_000_000,
  sampledPages: 4000,
});

type Row = [kind: NewArea['kind'], start: number, pages: number, states: number[], more?: Partial<NewArea>];

function layout(name: string, scale: number): Row[] {
  const program = 0x55d3c4a00;
  const libraries = 0x7f1c20000;
  const file = `/usr/lib/postgresql/17/bin/${name}`;
  return [
    ['file-private', program, 400, [6, 6, 6], { file, flags: 'r--p' }],
    ['file-private', program + 400, 1200, [6, 6, 0], { file, flags: 'r-xp', offset: 400 }],
    ['file-private', program + 1600, 90, [0], { file, flags: 'rw-p', offset: 1600 }],
    ['heap', program + 4000, 3 * MIB * scale, [1, 1, 1, 5]],
    ['anon', 0x7f1800000, 6 * MIB * scale, [1, 1, 5, 3, 2]],
    ['anon', 0x7f1a00000, 16 * MIB, [7], { flags: '---p' }],
    ['anon-shared', 0x7f1b00000, 8 * MIB, [4], { flags: 'rw-s', segment: 1188 }],
    ...LIBRARIES.flatMap((library, i): Row[] => {
      const of = { file: `/usr/lib/x86_64-linux-gnu/${library}` };
      const at = libraries + i * 1000;
      return [
        ['file-private', at, 40, [6], { ...of, flags: 'r--p' }],
        ['file-private', at + 40, 300, [6, 6, 6, 0], { ...of, flags: 'r-xp', offset: 40 }],
        ['file-private', at + 340, 20, [0], { ...of, offset: 340 }],
      ];
    }),
    ['locked', libraries + 8000, 64, [0]],
    ['stack', 0x7ffd4f2a0, 34, [1, 5]],
    ['vdso', 0x7ffd4f3ff, 2, [0], { flags: 'r-xp' }],
  ];
}

/** Numbers from 0 to 1 that look random and are the same each time. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}
