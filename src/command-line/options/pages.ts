/** Options about pages: which are lazy, and which a filter selects. */
import { KINDS } from '../../memory/vma.js';
import { FILE, type Option } from './option.js';

export const PAGE_OPTIONS = {
  // What is lazy.
  policy: {
    type: 'string',
    value: ['auto', 'flags', 'vma', 'seed'],
    help: 'which pages are lazy',
    meanings: {
      auto: 'as flags where the pagemap has flags, otherwise as vma',
      flags: 'those flagged PE_LAZY in the pagemap',
      vma: 'by the rule of CRIU 3 and later: private anonymous memory that is not locked, hugetlb, vdso, vvar or vsyscall',
      seed: 'by the rule of 2016, for CRIU 2; refused where CRIU 3 and later would lose memory (only make-lazy, classify)',
    },
    fallback: 'auto',
  },
  unsafePolicy: { type: 'boolean', help: 'use --policy seed even where it is refused' },
  holes: {
    type: 'string',
    value: ['flag', 'drop'],
    help: 'what remains where pages were taken out',
    meanings: {
      flag: 'an entry flagged only PE_LAZY',
      drop: 'no entry; such a dump needs criu lazy-pages on DUMP, a page server does not work',
    },
    fallback: 'flag',
  },
  eagerList: {
    ...FILE,
    help: 'keep the lazy pages that FILE names: lines of PID 0xADDRESS, as pagepipe serve --record writes them. Such a dump needs a page server, criu lazy-pages on DUMP does not work',
  },

  // Which pages a filter selects.
  drop: { type: 'string', value: ['lazy', 'eager', 'all'], help: 'take out the selected pages of this class' },
  keep: {
    type: 'string',
    value: ['lazy', 'eager', 'all'],
    help: 'take out all pages but the selected ones of this class',
  },
  pid: { type: 'number', value: 'PID', isMultiple: true, help: 'only this process' },
  kind: {
    type: 'string',
    value: 'KIND',
    isMultiple: true,
    help: `only this kind of memory: ${KINDS.slice(1).join(', ')}`,
  },
  range: {
    type: 'string',
    value: 'START-END',
    isMultiple: true,
    help: 'only these addresses, in hex (0x…) or decimal, without END; whole pages',
  },
} as const satisfies Record<string, Option>;
