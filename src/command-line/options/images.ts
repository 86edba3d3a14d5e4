/** Options about images as JSON. */
import type { Option } from './option.js';

export const IMAGE_OPTIONS = {
  pretty: { type: 'boolean', help: 'one value a line; flags, devices and addresses in words' },
  unaligned: {
    type: 'boolean',
    help: 'take areas that begin or end inside a page. Otherwise they are refused: a tool such as jq before 1.7 has rounded them',
  },
  nopl: {
    type: 'boolean',
    help: 'print only the sizes of payloads: the contents of pipes, queues, segments and deleted files',
  },
  set: { type: 'string', value: 'PATH=VALUE', isMultiple: true, help: 'the field to change, and its new value' },
} as const satisfies Record<string, Option>;
