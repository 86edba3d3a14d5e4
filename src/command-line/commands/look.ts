/** Commands that look into a dump. */
import { SOURCE_OPTIONS } from '../options.js';
import type { CommandSpec } from './spec.js';

/** The topics of `x`. */
export const TOPICS = {
  ps: 'processes, as a tree',
  fds: 'their open files',
  mems: 'their memory areas',
  rss: 'their dumped pages, by area',
};

export const LOOK = {
  ls: {
    group: 'look',
    summary: 'list the dumps in a folder or below an s3:// prefix',
    usage: ['[PLACE] [--json]'],
    about: `Lists the dumps in a folder and in the folders in it, sorted: directories with
images, archives (plain, gzip or zstd), OCI images, page streams and shards,
with their sizes and times. With --json it is a line for each: the list that a
job array is made from. PLACE is the current folder by default.

COMPLETE says whether a directory has its inventory, or a plain archive its
end; of others only reading them tells. Names and first bytes are all that is
read. Links are not followed, and hidden names are left out. Below an s3://
name nothing is read but lists. See docs/schedulers.md.`,
    options: ['endpointUrl', 'json'],
    examples: `  pagepipe ls /var/lib/kubelet/checkpoints
  pagepipe ls /srv/dumps --json | jq -r 'select(.complete != false).path'
`,
  },
  x: {
    group: 'look',
    summary: 'explore a dump: processes, files, memory',
    usage: Object.entries(TOPICS).map(([topic, what]) => `DUMP ${topic.padEnd(6)}  ${what}`),
    about: `Explores a dump and prints the same text as crit x; on a terminal, control
characters of names are escaped. It reads only the images that it needs, and no
pages. DUMP is a directory, a tar archive (a plain one is read in place), a
page stream, or shards; - is stdin.`,
    options: ['json', 'progress', ...SOURCE_OPTIONS],
    words: Object.keys(TOPICS),
    examples: `  pagepipe x dump rss --json |
    jq '.[] | {pid, heap: [.areas[] | select(.kind == "heap").pages] | add}'
`,
  },
  core: {
    group: 'look',
    summary: 'make an ELF core of a process, for gdb',
    usage: ['DUMP [--pid PID] [-o CORE] [options]', 'DUMP --all -o DIR [options]'],
    about: `Makes a core of a process: its memory, and its threads with their registers,
for gdb and other debuggers. It has the pages of the dump and of its parents,
also those of shared memory. Code and constants are in the files that the
process has mapped: a debugger finds them by name, or they go into the core by
--files. Processes are of x86-64, i386 or aarch64, whatever this machine is.

Without --pid the dump must have one process. DUMP is a directory, a tar
archive (a plain one is read in place), a page stream, or shards; - is stdin.
docs/core.md shows how to use a core.`,
    options: [
      'pid',
      'all',
      'out',
      'files',
      'root',
      'force',
      'ifAbsent',
      'incomplete',
      'json',
      'progress',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe core checkpoint.tar.zst --pid 12 -o core.12
  gdb -iex 'set sysroot /srv/rootfs' /srv/rootfs/usr/bin/app core.12
`,
  },
  map: {
    group: 'look',
    summary: 'draw the memory of a dump',
    usage: ['DUMP [--content]', 'DUMP -o MAP.html|MAP.svg [--content] [--force]'],
    about: `Draws the memory of all processes: what each area is, and whether its pages are
in the dump and needed at once, may come later, are in a parent, are zeros or
those of a mapped file. Without -o it is a small picture for the terminal.
MAP.html is one page that needs no network: it can be zoomed, and has a table
of all areas. docs/map.md says what the colors mean.

With --content all pages are read once. The map then shows what they hold, and
how much zeros, repeated pages and compression would save.

NO_COLOR turns colors off; COLUMNS sets the width of the picture.`,
    options: ['content', 'out', 'force', 'ifAbsent', 'slice', 'json', 'progress', ...SOURCE_OPTIONS],
    examples: `  pagepipe map checkpoint.tar.zst -o map.html
  pagepipe map dump --content
`,
  },
  inspect: {
    group: 'look',
    summary: 'show what is in a dump: container, processes, memory, sockets',
    usage: ['DUMP [options]'],
    about: `Shows on one screen what a dump is of: engine, container, image and pod, the
processes with their command lines, memory by kind, sockets and sizes. The
options print whole lists in place of it. Command lines and environments are
read from the memory of the processes; where a dump does not have it, as in a
lazy one, names are shown. What cannot be read is left out, and listed.

DUMP is a directory, a tar archive (plain, gzip or zstd) such as podman, CRI-O
and containerd make, an OCI image, a page stream, or shards; - is stdin.
Nothing is unpacked. docs/inspect.md has the details.`,
    options: [
      'psTree',
      'cmd',
      'env',
      'showFiles',
      'sockets',
      'mounts',
      'showMemory',
      'container',
      'showAll',
      'json',
      'progress',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe inspect checkpoint.tar.zst
  pagepipe inspect checkpoint.tar.zst --files --sockets
  pagepipe inspect dump --all --json | jq '.processes[] | {pid, args}'
`,
  },
  search: {
    group: 'look',
    summary: 'find text, bytes or secrets in the memory of a dump',
    usage: ['DUMP PATTERN [options]', 'DUMP --regex | --hex PATTERN [options]', 'DUMP --secrets [--show] [options]'],
    about: `Looks for PATTERN in the memory of the processes and in shared memory, each
segment once. A match may go across pages, and pages may be in parent dumps or
compressed. Prints a line for each: process, address, kind of memory and file,
and the bytes around it, escaped.

PATTERN is text. With --regex it is a regular expression in the syntax of RE2,
which takes linear time; a match has at most 4096 bytes. See docs/search.md.

Only bytes in the dump and its parents are searched: no pages that come later,
no mapped files, and no zeros that are not stored.

Exit codes: 0 found, 1 not found, or a failure, which has a message.`,
    options: [
      'regex',
      'hex',
      'ignoreCase',
      'wide',
      'secrets',
      'show',
      'pid',
      'kind',
      'context',
      'count',
      'slice',
      'json',
      'progress',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe search DUMP 'connection refused' --kind heap --kind stack
  pagepipe search DUMP --regex 'user=[a-z]+' --count
  pagepipe search DUMP --hex '7f 45 4c 46 0?' --pid 15
  pagepipe search checkpoint.tar.zst --secrets
`,
  },
  diff: {
    group: 'look',
    summary: 'compare two dumps of a program',
    usage: ['A B [--images | --memory] [-o DIFF.html] [options]'],
    about: `Compares two dumps of one program, in any containers: processes that came and
went, fields of images, areas, and pages, by area and by kind of memory, with
the number of bytes that differ. Entries of images are compared by what they
are about, such as the id of a file. Prints a line for each difference. See
docs/diff.md. Options about DUMP are about both.

DIFF.html is one page that needs no network: it shows the memory of A and B,
one below the other, with the changed pages marked. docs/map.md explains it.

Exit codes: 0 no difference, 1 a difference, or a failure, which has a message.
With --if-absent also 0 if DIFF.html is there: nothing is compared then.`,
    options: ['onlyImages', 'onlyMemory', 'page', 'force', 'ifAbsent', 'json', 'progress', ...SOURCE_OPTIONS],
    examples: `  pagepipe diff monday.tar.zst tuesday.tar.zst --memory
  pagepipe diff monday.tar.zst tuesday.tar.zst -o diff.html
`,
  },
  extract: {
    group: 'look',
    summary: 'write memory of a process to a file, or as a hexdump',
    usage: [
      'DUMP --pid PID --range START-END [-o FILE]',
      'DUMP --pid PID (--kind KIND | --area NAME) [-o FILE]',
      'DUMP --pid PID --all [-o FILE] [--skip-gaps] [--map FILE]',
    ],
    about: `Writes memory of one process: ranges of addresses, all areas of a kind, areas
by their name, or all areas, one after the other in ascending order. Pages come
from the dump, its parent dumps and shared memory. What is in no pagemap is
zeros. So is what is not in the dump at all, such as lazy pages and mapped
files, with a warning; in a file these become holes. --skip-gaps leaves both
out, and --map says in a text file which bytes are where:

  OFFSET START-END STATE KIND NAME

STATE is stored, parent, zero, or of what is not in the dump lazy, file,
missing or absent. OFFSET is - for what was left out.`,
    options: [
      'pid',
      'byteRange',
      'kind',
      'area',
      'wholeMemory',
      'out',
      'hexdump',
      'skipGaps',
      'gapMap',
      'force',
      'ifAbsent',
      'json',
      'progress',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe extract dump --pid 12 --kind heap -o heap.bin
  pagepipe extract dump.tar.zst --pid 1 --range 0x7ffd6f2a1000+256 --hexdump
  pagepipe extract dump --pid 12 --all --skip-gaps -o m.bin --map m.txt
`,
  },
  show: {
    group: 'look',
    summary: 'print an image as JSON for reading',
    usage: ['IMAGE [--nopl]', 'DUMP IMAGE [--nopl]'],
    about: `Prints an image as decode --pretty does: a file, or an image in a dump that is
in any container, such as an archive.`,
    options: ['nopl', 'json'],
  },
  info: {
    group: 'look',
    summary: 'print the type of an image and its number of entries',
    usage: ['IMAGE', 'DUMP IMAGE'],
    about: `Prints the type of an image and the number of its entries, without the head of
a pagemap, as JSON. DUMP may be in any container, such as an archive.`,
    options: ['json'],
  },
  decode: {
    group: 'look',
    summary: 'turn an image into JSON',
    usage: ['[IMAGE] [-o JSON] [--pretty]', 'DUMP IMAGE [-o JSON] [--pretty]'],
    about: `Turns an image into JSON, in the form of crit decode. What crit would lose is
under keys that begin with @: see docs/crit.md. Reads stdin without IMAGE.
DUMP may be in any container, such as an archive. With -i it takes crit's
options.`,
    options: ['in', 'out', 'pretty', 'ifAbsent', 'json'],
    examples: `  pagepipe decode core-12.img | jq '.entries[0].tc.comm'
  pagepipe decode checkpoint.tar.gz checkpoint/core-12.img
  ssh host cat dump/mm-12.img | pagepipe decode --pretty
`,
  },
} as const satisfies Record<string, CommandSpec>;
