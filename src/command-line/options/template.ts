/** Options of templates. */
import type { Option } from './option.js';

export const TEMPLATE_OPTIONS = {
  template: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'restore from a template of the dump in DIR, which is made first if it is not there; see pagepipe template',
  },
  minSize: {
    type: 'number',
    value: 'BYTES',
    help: 'map areas of at least this size',
    fallback: '1M',
  },
  memory: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'folder of the mapped files, on the machine that runs pagepipe',
    fallback: 'OUT/memory; of a dump, where the names of the files say',
  },
  memoryName: {
    type: 'string',
    value: 'DIR',
    help: 'the name of that folder for the restored tasks, if it is another one, as in a container',
    fallback: 'its path',
  },
  allowDontneed: {
    type: 'string',
    value: 'PID|all',
    isMultiple: true,
    help: 'map the memory of this process even if it may count on zeros behind MADV_DONTNEED',
  },
  root: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'root folder of the dumped tasks, such as that of their container: their programs are looked at, and of core the files that they have mapped',
    fallback: '/',
  },
  inPlace: {
    type: 'boolean',
    help: 'map areas that are whole in a pages file of DUMP from that file, without a copy. Only for programs that never grow them by mremap, and as long as DUMP exists',
  },
  sums: {
    type: 'string',
    value: ['copied', 'all', 'none'],
    help: 'which mapped files get a sum of their content, for verify --content',
    meanings: {
      copied: 'those that do not share their blocks with a file of DUMP',
      all: 'also those, which are read for it',
      none: 'none',
    },
    fallback: 'copied',
  },
  content: {
    type: 'boolean',
    help: 'look at contents, too: verify compares mapped files with their sums, map reads all pages and shows what they hold',
  },
  move: { type: 'boolean', help: 'OUT is a template that was moved: write the new names into it' },
} as const satisfies Record<string, Option>;
