/**
 * The colors of the map, in a light and a dark theme, and what they mean. The hues are those of Okabe and Ito, which people
 * with any kind of color blindness can tell apart; what has no bytes in the dump is a shade of gray.
 */
import { KINDS, type Kind } from '../memory/vma.js';
import { CONTENTS, type Content, STATES, type State } from './model.js';

/** What is drawn of each space, from top to bottom. */
export const LANES = ['kind', 'state', 'content', 'changed'] as const;
export type Lane = (typeof LANES)[number];
/** The lanes that every map, or every map of content, has. */
export type LegendLane = Exclude<Lane, 'changed'>;

/** Kinds of memory that share a color. */
export const FAMILIES = ['program', 'heap', 'anon', 'stack', 'shared', 'pinned', 'kernel', 'mixed'] as const;
export type Family = (typeof FAMILIES)[number];

export interface Color {
  light: string;
  dark: string;
  /** In legends. */
  label: string;
  /** The nearest of a terminal's 256 colors, and a letter where there are none. */
  terminal: number;
  letter: string;
}

const color = (label: string, letter: string, terminal: number, light: string, dark = light): Color => ({
  label,
  letter,
  terminal,
  light,
  dark,
});

const FAMILY_COLORS: Record<Family, Color> = {
  program: color('files', 'f', 36, '#009e73', '#12a67c'),
  heap: color('heap', 'h', 214, '#e69f00'),
  anon: color('anonymous', 'a', 32, '#0072b2', '#2b86c5'),
  stack: color('stack', 's', 175, '#cc79a7'),
  shared: color('shared memory', 'm', 228, '#e3d530', '#f0e442'),
  pinned: color('locked or huge pages', 'p', 166, '#d55e00', '#e0701a'),
  kernel: color("the kernel's", 'k', 245, '#8a8f98', '#8f959f'),
  mixed: color('several, or unknown', '?', 240, '#5b616b', '#5f6672'),
};

const STATE_COLORS: Record<State, Color> = {
  eager: color('in the dump, needed at once', 'E', 166, '#d55e00', '#e0701a'),
  lazy: color('in the dump, may come later', 'l', 74, '#56b4e9'),
  elsewhere: color('not in the dump, to be fetched', 'F', 175, '#cc79a7'),
  parent: color('in a parent dump', 'p', 36, '#009e73', '#12a67c'),
  shared: color('in shared memory, below', 's', 228, '#e3d530', '#f0e442'),
  zero: color('zeros', '0', 250, '#c3c8d0', '#59606c'),
  file: color('in the mapped file', '-', 253, '#dde1e6', '#3e444e'),
  absent: color('none', '.', 255, '#edeff2', '#2a2f37'),
};

const CONTENT_COLORS: Record<Content, Color> = {
  zero: color('zeros', '0', 250, '#c3c8d0', '#59606c'),
  text: color('text', 't', 74, '#56b4e9'),
  compressible: color('compressible', 'c', 36, '#009e73', '#12a67c'),
  random: color('random or compressed', 'R', 166, '#d55e00', '#e0701a'),
};

/** Pages that have no content because they have no bytes, or were not changed. */
const NOTHING = color('no bytes', '.', 255, '#edeff2', '#2a2f37');

/** The colors of each lane, in the order in which they are drawn from bottom to top. */
export const COLORS: Record<Lane, readonly Color[]> = {
  kind: FAMILIES.map((family) => FAMILY_COLORS[family]),
  state: STATES.map((state) => STATE_COLORS[state]),
  content: [...CONTENTS.map((content) => CONTENT_COLORS[content]), NOTHING],
  changed: [color('changed', 'C', 175, '#cc79a7'), { ...NOTHING, label: 'the same' }],
};

const FAMILY_OF: Partial<Record<Kind, Family>> = {
  anon: 'anon',
  heap: 'heap',
  stack: 'stack',
  'shadow-stack': 'stack',
  locked: 'pinned',
  hugetlb: 'pinned',
  'file-private': 'program',
  'file-shared': 'program',
  'anon-shared': 'shared',
  memfd: 'shared',
  sysvipc: 'shared',
  shmem: 'shared',
  vdso: 'kernel',
  vvar: 'kernel',
  vsyscall: 'kernel',
  'aio-ring': 'kernel',
  socket: 'kernel',
  uprobes: 'kernel',
};

/** Color of a name on the color of a kind. */
export const labelColor = (family: number): string => (ON_DARK.includes(FAMILIES[family] as Family) ? '#fff' : '#000');

const ON_DARK: readonly Family[] = ['anon', 'mixed'];

/** Index of the color of a kind. */
export const familyIndex = (kind: Kind | null): number => FAMILIES.indexOf((kind && FAMILY_OF[kind]) ?? 'mixed');

/** The kinds of a family. */
export const kindsOf = (family: number): Kind[] => KINDS.filter((kind) => familyIndex(kind) === family);
