/** Options of commands that look into a dump. */
import { FILE, type Option } from './option.js';

/** A core of a process. */
export const CORE_OPTIONS = {
  all: { type: 'boolean', help: 'one core for each process, core.PID in the directory of --out' },
  files: {
    type: 'boolean',
    help: 'include the pages of mapped files, such as code, from the files in --root; otherwise a debugger looks for them',
  },
} as const satisfies Record<string, Option>;

export const LOOK_OPTIONS = {
  // What is shown.
  psTree: { type: 'boolean', help: 'all processes as a tree' },
  cmd: { type: 'boolean', help: 'command lines, as a shell would take them' },
  env: { type: 'boolean', help: 'environments' },
  showFiles: { type: 'boolean', word: 'files', help: 'open files, with positions and flags' },
  sockets: { type: 'boolean', help: 'sockets, with addresses and states' },
  mounts: { type: 'boolean', help: 'mounts' },
  showMemory: { type: 'boolean', word: 'memory', help: 'memory of each process by kind, and shared memory' },
  container: { type: 'boolean', help: 'all that a container engine has written about the container' },
  showAll: {
    type: 'boolean',
    word: 'all',
    help: 'all of these, and users, limits, signals, namespaces and control groups of each process',
  },
  // What is compared.
  onlyImages: { type: 'boolean', word: 'images', help: 'compare only images' },
  onlyMemory: { type: 'boolean', word: 'memory', help: 'compare only areas and pages' },
  page: {
    ...FILE,
    word: 'out',
    short: 'o',
    help: 'also write a page (.html) that shows the memory of both, with the changed pages marked',
  },

  // What is looked for.
  regex: { type: 'boolean', help: 'PATTERN is a regular expression in the syntax of RE2, over bytes' },
  hex: { type: 'boolean', help: "PATTERN is bytes in hex, with ? for any digit: 'de ?? be e?'" },
  ignoreCase: { type: 'boolean', help: 'with --regex: letters of both cases are the same' },
  wide: { type: 'boolean', help: 'also find the text as UTF-16 (little-endian)' },
  context: {
    type: 'number',
    value: 'BYTES',
    help: 'bytes to print before and after a match, at most 65536',
    fallback: '16',
  },
  count: { type: 'boolean', help: 'print only the number of matches, of each process and segment' },
  secrets: {
    type: 'boolean',
    help: 'find private keys, tokens and passwords; prints where they are, and of what kind',
  },
  show: { type: 'boolean', help: 'with --secrets: print what was found, too' },

  // What is extracted.
  byteRange: {
    type: 'string',
    word: 'range',
    value: 'START-END',
    isMultiple: true,
    help: 'these addresses, in hex (0x…) or decimal, without END; also START+BYTES',
  },
  area: {
    type: 'string',
    value: 'NAME',
    isMultiple: true,
    help: 'areas of this name: the path of a mapped file or its last part, a name of shared memory, [heap], [stack] and so on, or an address in one',
  },
  wholeMemory: { type: 'boolean', word: 'all', help: 'all areas, one after the other' },
  hexdump: { type: 'boolean', help: 'print text as xxd does, with addresses' },
  skipGaps: { type: 'boolean', help: 'leave out what has no page in the dump, instead of writing zeros' },
  gapMap: {
    ...FILE,
    word: 'map',
    help: 'write a text file that says where each part of the output is from, and what is not in the dump',
  },
} as const satisfies Record<string, Option>;
