/**
 * The options of all commands, in one table. Parsing, help, docs/options.md, man pages and completions are made from it, so
 * an option means the same and has the same default in every command that takes it. The table loads no code of a command.
 */
import { KINDS } from '../memory/vma.js';

export interface Option {
  /** What it is called, where another option has that name in another sense: each command takes only one of them. */
  word?: string;
  type: 'string' | 'boolean' | 'number';
  /** One letter: `i` for `-i`. */
  short?: string;
  isMultiple?: true;
  /** The placeholder of the value in help, or the words that it can be. */
  value?: string | readonly string[];
  /** What a shell completes the value with. */
  completes?: 'file' | 'folder';
  /** What it does, in one or two sentences. */
  help: string;
  /** What each of the words means. */
  meanings?: Readonly<Record<string, string>>;
  /** The default, in words. */
  fallback?: string;
}

const ADDRESS = { type: 'string', value: 'HOST:PORT' } as const;
const FILE = { type: 'string', value: 'FILE', completes: 'file' } as const;

/** By name in camelCase. */
export const OPTIONS = {
  // What is read.
  from: {
    type: 'string',
    value: ['directory', 'tar', 'oci', 'stream', 'shards'],
    help: 'what DUMP is. Separate several shards by commas',
    fallback: 'found by its first bytes',
  },
  shardFds: {
    type: 'string',
    short: 's',
    value: '10,11',
    help: 'descriptors of the shards of criu-image-streamer; DUMP is then -, and OUT is left out',
  },
  pageSize: {
    type: 'number',
    value: 'BYTES',
    help: 'page size of the dumped machine, such as 4096 or 64k',
    fallback: 'found in the dump; 4096 where nothing shows it',
  },
  incomplete: {
    type: 'boolean',
    help: 'read what can be read of a damaged dump, or of one whose pages pagepipe filter has taken out so that nothing can fetch them',
  },
  buffer: {
    type: 'number',
    value: 'MIB',
    help: 'memory for what must wait or be held; with k, M, G or T at its end in bytes',
    fallback: '64',
  },
  spillDir: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'folder of an unnamed file for what exceeds --buffer',
    fallback: "the system's temporary folder",
  },
  maxBytes: {
    type: 'number',
    value: 'BYTES',
    help: 'limit on the decompressed size of an archive, such as 10G',
    fallback: '2^53',
  },
  coldFrom: {
    type: 'string',
    value: ['directory', 'tar', 'oci', 'stream', 'shards'],
    help: 'what COLD is, as --from for HOT',
    fallback: 'found by its first bytes',
  },

  // What is written.
  to: {
    type: 'string',
    value: ['directory', 'tar', 'oci', 'shards'],
    help: 'what to write. - is stdout and needs --to. Separate several shards by commas',
    fallback:
      'by the name: an OCI archive for .oci.tar, tar for .tar, .tar.gz, .tgz, .tar.zst and .tzst, otherwise directory',
  },
  compress: {
    type: 'string',
    value: ['gzip', 'zstd', 'none'],
    help: 'compress the archive, or what is sent',
    fallback: 'by the name of the archive; none without one',
  },
  prefix: {
    type: 'string',
    value: 'FOLDER',
    help: 'folder of the images in the archive, such as checkpoint. The files of an archive keep theirs',
    fallback: 'the top',
  },
  cold: { type: 'string', value: ['-'], help: 'write COLD as a page stream to stdout, for pagepipe write' },
  force: { type: 'boolean', help: 'replace what is there, if it is a dump or a file' },
  dryRun: { type: 'boolean', help: 'write nothing, only say what would be written' },
  in: { ...FILE, short: 'i', help: 'the file to read', fallback: 'stdin' },
  out: {
    ...FILE,
    short: 'o',
    help: 'the file to write; it appears complete or not at all. - is stdout',
    fallback: 'stdout; of edit the image itself; of map a picture in the terminal',
  },

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

  // Images as JSON.
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

  // Pages over the network.
  listen: {
    ...ADDRESS,
    help: 'address to listen at. Without --tls everybody who can connect can read or send the memory of the dump',
    fallback: '127.0.0.1:27000',
  },
  stdio: {
    type: 'boolean',
    help: 'one client, on stdin and stdout, for ssh, socat and pagepipe connect',
  },
  once: { type: 'boolean', help: 'exit after the first client; serve waits for one that closes its session' },
  maxClients: { type: 'number', value: 'N', help: 'refuse further clients', fallback: '64' },
  idleTimeout: {
    type: 'number',
    value: 'SECONDS',
    help: 'disconnect clients that neither send nor receive, such as 90 or 5m; 0 for never',
    fallback: '600',
  },
  tls: {
    type: 'boolean',
    help: 'TLS with certificates on both sides, as criu --tls. The files below are by default those of criu',
  },
  tlsCacert: { ...FILE, help: 'certificate of the authority' },
  tlsCacrl: { ...FILE, help: 'its list of revoked certificates' },
  tlsCert: { ...FILE, help: 'certificate of this side' },
  tlsKey: { ...FILE, help: 'key of this side' },
  record: { ...FILE, help: 'record which pages are faulted on, for --order and --eager-list' },
  metrics: { ...ADDRESS, help: 'address of metrics for Prometheus', fallback: 'none' },
  prevImagesDir: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'the dump that this one builds on, relative to OUT, as for criu',
  },

  // A core of a process.
  all: { type: 'boolean', help: 'one core for each process, core.PID in the directory of --out' },
  files: {
    type: 'boolean',
    help: 'include the pages of mapped files, such as code, from the files in --root; otherwise a debugger looks for them',
  },

  // A lazy restore.
  workDir: {
    type: 'string',
    short: 'W',
    value: 'DIR',
    completes: 'folder',
    help: 'work directory of criu restore, in which the two meet at lazy-pages.socket',
    fallback: 'the current directory; of restore a new one',
  },
  imagesDir: {
    type: 'string',
    short: 'D',
    value: 'DIR',
    completes: 'folder',
    help: 'the images directory, as criu takes it: of lazy-pages DUMP, otherwise the one in which CRIU looks for its streamer',
    fallback: 'of capture-wait the current directory',
  },
  tree: {
    type: 'number',
    short: 't',
    value: 'PID',
    help: 'run criu dump for this process tree; options behind -- are for it',
  },
  extFileFds: {
    type: 'string',
    short: 'e',
    value: 'NAME:FD',
    help: 'a file of the dump that goes through a pipe and not through CRIU, such as fs.tar:10; several by commas',
  },
  progressFd: {
    type: 'number',
    short: 'p',
    value: 'FD',
    help: 'write the lines of criu-image-streamer to this descriptor: socket-init, checkpoint-start, and JSON at the end',
  },
  tcpListenRemap: {
    type: 'string',
    value: 'OLD:NEW',
    help: 'have TCP sockets that listen at port OLD listen at NEW; several by commas, as for criu-image-streamer',
  },
  daemon: { type: 'boolean', short: 'd', help: 'go on in the background once a restore can begin' },
  pidfile: { ...FILE, help: 'write the pid of the daemon to FILE' },
  statusFd: {
    type: 'number',
    value: 'FD',
    help: 'write a byte of zero to this descriptor and close it once a restore can begin',
  },
  logFile: {
    ...FILE,
    help: 'with --daemon, write messages to FILE',
    fallback: 'lazy-pages.log in the work directory',
  },
  order: {
    ...FILE,
    help: 'deliver the pages that FILE names first, in its order: lines of PID 0xADDRESS, as --record writes them',
  },
  wait: { type: 'boolean', help: 'wait for the restored root task, as criu restore without -d' },
  plain: { type: 'boolean', help: 'restore without laziness, for comparison' },
  criu: { type: 'string', value: 'PATH', help: 'where criu is', fallback: 'criu' },
  keepListening: { type: 'boolean', help: 'serve any number of restores, until it is stopped' },

  // A template.
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

  // To another machine.
  lazy: { type: 'boolean', help: 'send first what is needed at once, the other pages later' },
  pageServer: {
    ...ADDRESS,
    help: 'address of the page server: where lazy-pages gets the pages, and where the far end of send serves them to criu lazy-pages',
    fallback: 'of send 127.0.0.1, a free port',
  },
  keepServing: { type: 'boolean', help: 'serve more restores until it is stopped' },
  rsh: {
    type: 'string',
    short: 'e',
    value: 'COMMAND',
    help: "use this in place of ssh, such as 'ssh -p 2222'; it gets HOST and the words of a command",
    fallback: 'ssh',
  },
  restoreOptions: {
    type: 'string',
    value: 'WORDS',
    help: 'more options for criu restore, in words between spaces: --restore-options=--tcp-established',
    fallback: 'those behind -- that both need',
  },
  farCriu: { type: 'string', value: 'PATH', help: 'where criu is on HOST', fallback: 'criu' },
  dumpDir: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'with --lazy, the folder in which the complete dump is held here until all pages are there',
    fallback: 'in memory, if there is room twice for it; else the temporary folder',
  },
  olderCriu: { type: 'boolean', help: 'take a criu on HOST that is older than the one here' },
  keepDump: { type: 'boolean', help: 'keep the dump when the processes run, instead of removing it' },
  pagepipePath: { type: 'string', value: 'PATH', help: 'where pagepipe is on HOST', fallback: 'pagepipe' },

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

  // What is said.
  json: { type: 'boolean', help: 'print results on stdout and messages on stderr as JSON (docs/json.md)' },
  quiet: { type: 'boolean', short: 'q', help: 'print only warnings and errors on stderr' },
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof OPTIONS;

/** An option as the general type, without the exact type of its row. */
export const optionOf = (name: OptionName): Option => OPTIONS[name];

/** How an option is written: `--page-size` for `pageSize`. */
export const dashed = (name: OptionName): string => `--${optionOf(name).word ?? kebab(name)}`;

/** `page-size` for `pageSize`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The value of an option as help shows it; undefined for one without. */
export const valueText = ({ value }: Option): string | undefined =>
  typeof value === 'object' ? value.join('|') : value;

/** How an option is written in help: `-i, --in FILE`. */
export function optionText(name: OptionName): string {
  const option = optionOf(name);
  const value = valueText(option);
  const short = option.short === undefined ? '' : `-${option.short}, `;
  return `${short}${dashed(name)}${value === undefined ? '' : ` ${value}`}`;
}

/** Options of every command that reads a dump. */
export const SOURCE_OPTIONS = ['from', 'shardFds', 'pageSize', 'buffer', 'spillDir', 'maxBytes'] as const;
/** Options of every command that writes a dump. */
export const SINK_OPTIONS = ['to', 'compress', 'prefix', 'force', 'dryRun'] as const;
/** Options of every command that listens. */
export const LISTEN_OPTIONS = [
  'listen',
  'stdio',
  'idleTimeout',
  'tls',
  'tlsCacert',
  'tlsCacrl',
  'tlsCert',
  'tlsKey',
] as const;
