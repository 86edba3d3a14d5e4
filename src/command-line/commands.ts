/**
 * What each command is for. Help, docs/options.md, man pages and completions are made from this table and that of the
 * options. It loads no code of a command, so `--help` is fast.
 */
import { LISTEN_OPTIONS, type OptionName, SINK_OPTIONS, SOURCE_OPTIONS } from './options.js';

/** What a person wants to do, in the order of the help. */
export const GROUPS = {
  look: 'Look into a dump',
  check: 'Check it',
  change: 'Change its images',
  lazy: 'Restore it at once',
  move: 'Move it',
  stages: 'Stages, for pipes',
} as const;

export interface CommandSpec {
  /** Undefined for a command that only other commands start, or that is about the program itself. */
  group?: keyof typeof GROUPS;
  /** In the list of commands. */
  summary: string;
  /** What follows the name, one for each form. */
  usage: readonly string[];
  /** Paragraphs of the help. */
  about: string;
  options: readonly OptionName[];
  /** Old names of options, accepted with a note until 1.0. */
  oldNames?: readonly OptionName[];
  /** Words that an argument may be, for completion. */
  words?: readonly string[];
  /** Lines for a shell. */
  examples?: string;
}

/** The topics of `x`. */
export const TOPICS = {
  ps: 'processes, as a tree',
  fds: 'their open files',
  mems: 'their memory areas',
  rss: 'their dumped pages, by area',
};

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

export const COMMANDS = {
  x: {
    group: 'look',
    summary: 'explore a dump: processes, files, memory',
    usage: Object.entries(TOPICS).map(([topic, what]) => `DUMP ${topic.padEnd(6)}  ${what}`),
    about: `Explores a dump and prints the same text as crit x; on a terminal, control
characters of names are escaped. It reads only the images that it needs, and no
pages. DUMP is a directory, a tar archive (a plain one is read in place), a
page stream, or shards; - is stdin.`,
    options: ['json', ...SOURCE_OPTIONS],
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
    options: ['pid', 'all', 'out', 'files', 'root', 'force', 'incomplete', 'json', ...SOURCE_OPTIONS],
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
    options: ['content', 'out', 'force', 'json', ...SOURCE_OPTIONS],
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
      'json',
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

Exit codes: 0 no difference, 1 a difference, or a failure, which has a message.`,
    options: ['onlyImages', 'onlyMemory', 'page', 'force', 'json', ...SOURCE_OPTIONS],
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
      'json',
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
    options: ['nopl'],
  },
  info: {
    group: 'look',
    summary: 'print the type of an image and its number of entries',
    usage: ['IMAGE', 'DUMP IMAGE'],
    about: `Prints the type of an image and the number of its entries, without the head of
a pagemap, as JSON. DUMP may be in any container, such as an archive.`,
    options: [],
  },
  decode: {
    group: 'look',
    summary: 'turn an image into JSON',
    usage: ['[IMAGE] [-o JSON] [--pretty]', 'DUMP IMAGE [-o JSON] [--pretty]'],
    about: `Turns an image into JSON, in the form of crit decode. What crit would lose is
under keys that begin with @: see docs/crit.md. Reads stdin without IMAGE.
DUMP may be in any container, such as an archive. With -i it takes crit's
options.`,
    options: ['in', 'out', 'pretty'],
    examples: `  pagepipe decode core-12.img | jq '.entries[0].tc.comm'
  pagepipe decode checkpoint.tar.gz checkpoint/core-12.img
  ssh host cat dump/mm-12.img | pagepipe decode --pretty
`,
  },

  verify: {
    group: 'check',
    summary: 'check whether a dump can be restored',
    usage: ['DUMP [options]'],
    about: `Checks a dump while the dumped process still exists: whether all images are
there and can be decoded, whether each page has its place and its bytes, here
or in a parent dump, and whether the ids in the images lead anywhere. Writes
nothing, and looks at no page. Findings go to stdout, one a line, and a summary
to stderr; with --json both are lines of JSON on stdout.

DUMP is a directory, a tar archive (plain, gzip or zstd), a page stream, or the
shards of criu-image-streamer. - is stdin.

The files that a template maps are compared with what they were when it was
made, with --content their content, too.

Exit codes: 0 no findings or only warnings, 1 the dump is damaged.`,
    options: ['memory', 'content', 'json', ...SOURCE_OPTIONS],
    examples: `  criu dump --leave-stopped -t 1234 -D dump &&
    pagepipe verify dump && kill -9 1234
  pagepipe verify checkpoint.tar.zst
  pagepipe verify shard0,shard1,shard2 --from shards
`,
  },

  edit: {
    group: 'change',
    summary: 'change fields of an image',
    usage: ['IMAGE --set PATH=VALUE ... [-o FILE]'],
    about: `Changes fields of an image. The new image replaces the old one when it is
complete. Everything else stays the same, byte for byte.

PATH is as in the output of decode: entries[0].tc.comm,
entries[*].vmas[2].flags, where * means all.
VALUE is what encode accepts: a number in any base, flags or constants in
words, base64, text, or JSON.`,
    options: ['set', 'out', 'dryRun', 'json'],
    examples: `  pagepipe edit files.img --set 'entries[3].reg.name=/var/log/new.log'
  pagepipe edit inetsk.img --set 'entries[*].src_addr=["10.0.0.7"]'
`,
  },
  encode: {
    group: 'change',
    summary: 'turn JSON into an image',
    usage: ['[JSON] [-o IMAGE]'],
    about: `Turns the JSON of pagepipe decode or crit decode, pretty or not, back into an
image. An image that replaces another one keeps its mode. Reads stdin without
JSON. With -i JSON it takes crit's options.`,
    options: ['in', 'out', 'unaligned'],
    examples: `  pagepipe decode files.img |
    jq '(.entries[] | select(.id == 3)).reg.name = "/tmp/log"' |
    pagepipe encode -o files.img
`,
  },

  'make-lazy': {
    group: 'lazy',
    summary: 'copy a dump without the pages that can come later',
    usage: ['DUMP OUT [options]'],
    about: `Copies a dump without the pages that can be restored lazily. A restore from OUT
starts at once, and these pages come from DUMP on demand. OUT appears complete
or not at all. DUMP is never written. The report ends with the commands that
restore OUT.

The same as
  pagepipe read DUMP | pagepipe classify | pagepipe filter --drop lazy |
    pagepipe rebuild | pagepipe write OUT`,
    options: ['policy', 'unsafePolicy', 'holes', 'eagerList', ...SINK_OPTIONS, 'incomplete', 'json', ...SOURCE_OPTIONS],
  },
  split: {
    group: 'lazy',
    summary: 'divide a dump into what starts at once and the rest',
    usage: ['DUMP HOT COLD [options]', 'DUMP HOT --cold - > STREAM'],
    about: `Splits a dump into two halves, each page in one of them. HOT is what make-lazy
gives: it starts at once. COLD has the lazy pages, and the images that
pagepipe serve COLD and criu lazy-pages -D COLD need. pagepipe merge HOT COLD
OUT gives back the dump, byte for byte.

HOT is complete before COLD is. From a directory or a plain archive, it is
complete before COLD begins; any other dump is read only once. Either HOT or
COLD may be -, which is stdout; --to is then for that half.`,
    options: ['cold', 'policy', 'eagerList', ...SINK_OPTIONS, 'incomplete', 'json', ...SOURCE_OPTIONS],
  },
  merge: {
    group: 'lazy',
    summary: 'merge the two halves of a split dump',
    usage: ['HOT COLD OUT [options]'],
    about: `Merges the two halves of pagepipe split: OUT is the dump that they were made
from, byte for byte. If HOT is an archive and OUT is one, it includes the files
outside the dump. HOT is read from front to back, COLD at random; a COLD that
allows no random access is held. Options about DUMP are about HOT. Either half
may be -, which is stdin.`,
    options: [...SINK_OPTIONS, 'json', ...SOURCE_OPTIONS, 'coldFrom'],
  },
  serve: {
    group: 'lazy',
    summary: 'serve pages to lazy restores',
    usage: ['DUMP [--listen HOST:PORT] [options]'],
    about: `Serves the pages of a dump to lazy restores by an unmodified CRIU, any number
of them, at once or one after the other. DUMP is a directory or a plain tar
archive, which is read in place. SIGINT and SIGTERM stop it. A client that asks
for something that is not in the dump is disconnected; the others are not
affected.

  source$  pagepipe make-lazy dump small && rsync -a small/ dest:small/
  source$  pagepipe serve dump --listen 10.0.0.1:27000
  dest$    criu lazy-pages --page-server --address 10.0.0.1 --port 27000 \\
             -D small -W run -d
  dest$    criu restore --lazy-pages -D small -W run -d`,
    options: [...LISTEN_OPTIONS, 'once', 'maxClients', 'record', 'metrics', 'pageSize', 'incomplete', 'json'],
  },

  restore: {
    group: 'lazy',
    summary: 'restore a dump lazily, from any container, by one command',
    usage: ['DUMP [-W DIR] [options] [-- CRIU OPTIONS ...]'],
    about: `Restores a dump by criu restore, from wherever it is: makes what make-lazy
keeps of it in a directory in memory, delivers the pages as pagepipe lazy-pages
does, says when the tasks run, and exits when all their pages are there. What
it made is then removed. Options behind -- are for criu restore.

DUMP is a directory, a tar archive (plain, gzip or zstd), an OCI image, a page
stream, or the shards of criu-image-streamer. - is stdin. What does not come
from a directory or a plain archive is read to its end first, within --buffer
and --spill-dir.

If criu restore fails, its exit code is that of the command.`,
    options: [
      'workDir',
      'order',
      'record',
      'wait',
      'plain',
      'template',
      'minSize',
      'allowDontneed',
      'root',
      'criu',
      'incomplete',
      'json',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe restore checkpoint.tar.zst -- --shell-job
  pagepipe restore checkpoint.tar.zst --template /srv/template
  pagepipe restore DUMP --record faults.txt
  pagepipe restore DUMP --order faults.txt
`,
  },
  'lazy-pages': {
    group: 'lazy',
    summary: 'deliver the pages of a lazy restore, in place of criu lazy-pages',
    usage: [
      'DUMP [-W DIR] [options]',
      'OUT --page-server HOST:PORT [-W DIR] [options]',
      'OUT [-W DIR] [options] -- COMMAND ...',
    ],
    about: `The daemon of lazy restores: criu restore --lazy-pages connects to it, and it
delivers the pages that the restored tasks wait for, then all others. It exits
when all pages of the restore are there. With --keep-listening it serves any
number of restores, at once and one after the other.

DUMP is the whole dump: a directory, a tar archive (plain, gzip or zstd), a
page stream, the shards of criu-image-streamer, or COLD of pagepipe split. With
--page-server, or a COMMAND whose stdin and stdout lead to a page server, OUT
is the dump that is restored. What is read from front to back, as a compressed
archive is, may still arrive while tasks run: faults on pages that have not
come wait for them.

The first signal (SIGINT, SIGTERM) makes it deliver all pages and end. A second
one, and any failure, stops the tasks whose memory is not complete (SIGSTOP):
without their daemon they would compute on pages of zeros.`,
    options: [
      'workDir',
      'imagesDir',
      'daemon',
      'pidfile',
      'statusFd',
      'logFile',
      'order',
      'record',
      'keepListening',
      'pageServer',
      'tls',
      'tlsCacert',
      'tlsCacrl',
      'tlsCert',
      'tlsKey',
      'metrics',
      'incomplete',
      'json',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe make-lazy DUMP OUT
  pagepipe lazy-pages DUMP -W RUN -d &&
    criu restore --lazy-pages -D OUT -W RUN -d
  pagepipe lazy-pages OUT -W RUN -- ssh host pagepipe serve DUMP --stdio
`,
  },
  template: {
    group: 'lazy',
    summary: 'make a dump whose memory is mapped, not read',
    usage: [
      'DUMP OUT [options]',
      '--memory DIR [options] < STREAM > STREAM',
      '--move OUT [--memory DIR] [--memory-name DIR]',
    ],
    about: `Makes a dump that an unmodified CRIU restores in the time of its metadata, any
number of times: private anonymous memory becomes a private mapping of files in
OUT/memory. Pages are read when they are first used. Processes that are
restored from OUT share them, and a dump of one has only the pages that it
wrote. The files must stay as they are, and in their place, for as long as OUT,
such a process or such a dump is needed.

A program that counts on zeros behind MADV_DONTNEED would compute on old bytes
here. Its memory stays as it is, and the report says why. docs/template.md says
which programs are known, and what else differs.`,
    options: [
      'minSize',
      'kind',
      'pid',
      'memory',
      'memoryName',
      'allowDontneed',
      'root',
      'inPlace',
      'sums',
      'move',
      'force',
      'dryRun',
      'incomplete',
      'json',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe template DUMP OUT && criu restore -D OUT -d
  pagepipe read DUMP | pagepipe template --memory /srv/memory |
    pagepipe write OUT
`,
  },
  untemplate: {
    group: 'lazy',
    summary: 'make an ordinary dump of one whose memory is mapped',
    usage: ['DUMP OUT [--memory DIR] [options]'],
    about: `Makes an ordinary, complete dump of a template, or of a dump of a process that
was restored from one. The pages that are not in DUMP come from the mapped
files, or from its parent dumps.`,
    options: ['memory', ...SINK_OPTIONS, 'incomplete', 'json', ...SOURCE_OPTIONS],
    examples: `  criu dump -t PID -D AGAIN && pagepipe untemplate AGAIN FULL
`,
  },
  copy: {
    group: 'move',
    summary: 'copy a dump into another container, unchanged',
    usage: ['DUMP OUT [options]'],
    about: `Copies a dump unchanged into another place or another container, as tar and
criu-image-streamer extract do, but refuses an incomplete dump. DUMP is a
directory, a tar archive (plain, gzip or zstd), the shards of
criu-image-streamer or a page stream. OUT appears complete or not at all. The
same as pagepipe read DUMP | pagepipe write OUT, but a copy from an archive to
an archive includes the files outside the dump.`,
    options: [...SINK_OPTIONS, 'json', ...SOURCE_OPTIONS],
    examples: `  pagepipe copy checkpoint.tar.zst dump
  pagepipe copy dump checkpoint.tar.zst --prefix checkpoint
  pagepipe copy shard0,shard1 dump --from shards
  pagepipe copy dump - --to tar --compress zstd |
    ssh host 'pagepipe copy - dump'
`,
  },
  send: {
    group: 'move',
    summary: 'send a dump to another machine through ssh',
    usage: ['DUMP HOST:OUT [--lazy] [options]'],
    about: `Sends a dump through ssh to the directory OUT on HOST, where pagepipe must be
installed, too. OUT appears complete or not at all. With --lazy it first sends
what make-lazy keeps, and says when HOST can restore it. The other pages follow
through the same connection on demand. It ends when a restore has fetched all.
For that DUMP must be a directory or a plain tar archive.

After an interruption run it again: HOST has either nothing or a lazy dump,
which the next run replaces.

The same with pipes
  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write out'
and with --lazy, the pages through a second connection
  pagepipe read dump | pagepipe run 'classify | filter --drop lazy | rebuild' |
    ssh host pagepipe write out
  host$  pagepipe connect --listen 127.0.0.1:27000 -- \\
           ssh source pagepipe serve dump --stdio`,
    options: [
      'lazy',
      'policy',
      'eagerList',
      'pageServer',
      'keepServing',
      'compress',
      'force',
      'incomplete',
      'rsh',
      'pagepipePath',
      'json',
      ...SOURCE_OPTIONS,
    ],
  },
  migrate: {
    group: 'move',
    summary: 'move a running process to another machine',
    usage: ['PID HOST[:DIR] [options] [-- CRIU DUMP OPTIONS ...]'],
    about: `Moves a process and its descendants to HOST through ssh. criu dump streams
their images to the directory DIR there, without a file here. When all of the
dump is there and checked, and not before, the processes end here, and HOST
restores them. If anything fails until then (the far side, the connection, a
full disk, Ctrl-C), they go on here as if nothing had happened. After it, the
dump is complete on HOST, and the error says how to restore it. So there are
never two running copies, and always a complete one.

With --lazy they run on HOST as soon as what they need at once is there, and
the other pages follow on demand and in the background. Until the last one is
there, the complete dump is held here.

HOST needs pagepipe and criu, which are checked first. The options behind --
are for criu dump; those that criu restore must have as well, such as
--shell-job and --tcp-established, are passed on. DIR is pagepipe-PID by
default, and is removed when the processes run. See docs/migrate.md.`,
    options: [
      'lazy',
      'dumpDir',
      'criu',
      'farCriu',
      'olderCriu',
      'restoreOptions',
      'keepDump',
      'force',
      'rsh',
      'pagepipePath',
      'json',
    ],
    examples: `  pagepipe migrate 1234 dest
  pagepipe migrate 1234 dest --lazy
  pagepipe migrate 1234 root@dest:dumps/12 -- --tcp-established
`,
  },
  receive: {
    group: 'move',
    summary: 'receive what criu dump --page-server sends',
    usage: ['OUT [--listen HOST:PORT] [options]', '- [--listen HOST:PORT] [options] > STREAM'],
    about: `Receives the pages of one dump, as criu page-server does, and exits. OUT
appears complete or not at all. With - the pages go into a page stream as they
arrive. criu dump writes all other images locally; a restore needs them in the
same directory as the pages.

  dest$    pagepipe receive dump --listen 10.0.0.2:27000
  source$  criu dump -t PID -D rest --page-server --address 10.0.0.2 \\
             --port 27000 && rsync -a rest/ dest:dump/

Only criu dump knows whether the dump succeeded: after a failure, too, it
reports to the page server that the dump is complete.`,
    options: [...LISTEN_OPTIONS, 'prevImagesDir', 'pageSize', 'force', 'json'],
    examples: `  pagepipe receive - | pagepipe run 'filter --drop lazy | rebuild' |
    pagepipe write small
`,
  },
  connect: {
    group: 'move',
    summary: 'open a local port for a page server behind a command',
    usage: ['[--listen HOST:PORT] [--once] -- COMMAND ...'],
    about: `Listens on a local port for a page server that a command reaches. For each
client it runs COMMAND and connects the client to its stdin and stdout. The
address is printed to stderr when clients can connect.`,
    options: ['listen', 'once'],
    examples: `  pagepipe connect -- ssh source pagepipe serve dump --stdio &
  criu lazy-pages --page-server --address 127.0.0.1 --port 27000 \\
    -D small -W run -d
`,
  },
  capture: {
    group: 'move',
    summary: 'take what criu dump --stream sends',
    usage: [
      '-D DIR OUT [options]',
      '-D DIR [-] [options] > STREAM',
      '-D DIR -t PID [OUT | -] [options] [-- CRIU OPTIONS ...]',
    ],
    about: `Is the other end of criu dump --stream: takes the images from CRIU as they
come, and writes them into any container, or as a page stream to stdout. No
image is written to DIR, where the two meet at a socket. OUT appears complete
or not at all: a dump that fails, or is cut off, leaves nothing.

With -t it also runs criu dump, and its exit code is that of the command.
Otherwise start criu when capture says so, with its --action-script. CRIU then
waits, with the tasks still frozen, until OUT is complete, and if that fails,
the tasks go on unharmed. Without the script a task that is left running may
change pages that are still on their way. See docs/stream.md.`,
    options: [
      'imagesDir',
      'tree',
      'criu',
      'shardFds',
      'extFileFds',
      'progressFd',
      ...SINK_OPTIONS,
      'pageSize',
      'buffer',
      'spillDir',
      'json',
    ],
    examples: `  pagepipe capture -D DIR dump.tar.zst -t PID -- --shell-job
  pagepipe capture -D DIR -t PID -- --leave-running |
    ssh host 'pagepipe write dump'
  pagepipe capture -D DIR OUT &
  criu dump --stream -D DIR --action-script DIR/pagepipe-post-dump -t PID
`,
  },
  'capture-wait': {
    summary: 'wait for the end of a capture, as the action script does',
    usage: ['[-D DIR]'],
    about: `Waits until the capture in DIR has ended. Exits with success if its dump is
complete. CRIU runs it after a dump, through DIR/pagepipe-post-dump, which
pagepipe capture makes.`,
    options: ['imagesDir'],
  },
  provide: {
    group: 'move',
    summary: 'give criu restore --stream the images of a dump',
    usage: ['DUMP -D DIR [options]'],
    about: `Is the other end of criu restore --stream: gives CRIU the images of a dump in
any container as it asks for them. DIR only has the socket at which the two
meet. What does not come from a directory or a plain archive is read to its end
first, within --buffer and --spill-dir. Ends when CRIU closes its connection.

--set changes a field as edit does, on its way to CRIU: DUMP stays as it is.
PATH begins with the name of the image and a colon.`,
    options: ['imagesDir', 'set', 'tcpListenRemap', 'extFileFds', 'progressFd', 'incomplete', ...SOURCE_OPTIONS],
    examples: `  pagepipe provide checkpoint.tar.zst -D DIR &
  criu restore --stream -D DIR -d
  pagepipe provide DUMP -D DIR --tcp-listen-remap 80:8080
  pagepipe provide DUMP -D DIR --set 'files.img:entries[3].reg.name=/new.log'
`,
  },
  adopt: {
    summary: 'run at the far end of migrate, which starts it',
    usage: ['DIR [options] [-- CRIU RESTORE OPTIONS ...]'],
    about: `The far side of pagepipe migrate, which starts it through ssh. Writes the dump
from stdin to the directory DIR, and restores it when the processes have ended
at the other side.`,
    options: ['lazy', 'criu', 'keepDump', 'force'],
  },
  accept: {
    summary: 'run at the far end of send, which starts it',
    usage: ['OUT [--page-server HOST:PORT] [--force]'],
    about: `The far side of pagepipe send, which starts it through ssh. Writes the dump
from stdin to the directory OUT, which appears complete or not at all. With
--page-server it then serves the pages that are not in OUT, and forwards
requests of restores through stdout.`,
    options: ['pageServer', 'force'],
  },

  read: {
    group: 'stages',
    summary: 'turn a dump into a page stream',
    usage: ['DUMP [options] > STREAM'],
    about: `Turns a dump into a page stream on stdout: all metadata first, then the pages.
pagepipe write turns it back into the same dump. DUMP is a directory, a tar
archive (plain, gzip or zstd, with the images under checkpoint/ or at the top),
a page stream, or the shards of criu-image-streamer. - is stdin.

First checks whether all images are there, and whether the pages files have the
sizes that the pagemaps give. A damaged directory or plain archive is refused
before anything is written. Any other dump is checked while it is read. If it
is damaged, the stream stays incomplete, and its reader refuses it.`,
    options: ['incomplete', ...SOURCE_OPTIONS],
    oldNames: ['force'],
    examples: `  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write dump'
  pagepipe read checkpoint.tar.zst | pagepipe write dump
`,
  },
  classify: {
    group: 'stages',
    summary: 'mark the pages of a stream as lazy or eager',
    usage: ['[--policy POLICY] [--eager-list FILE] < STREAM > STREAM'],
    about: `Cuts page runs at the borders of memory areas, and marks each run as lazy or
eager and with its kind, which filter --kind selects by.`,
    options: ['policy', 'unsafePolicy', 'eagerList'],
    oldNames: ['force'],
  },
  filter: {
    group: 'stages',
    summary: 'take pages out: by class, process, kind or address',
    usage: ['(--drop CLASS | --keep CLASS) [options] < STREAM > STREAM'],
    about: `Takes the payload of page runs out. CLASS is lazy, eager or all. --pid, --kind
and --range restrict it, and may be repeated. --drop takes out the selected
pages, --keep all others. Pages in the parent dump are not affected. If pages
are taken out that are not lazy, nothing can fetch them: a file
pagepipe-partial.json marks the dump, and other commands refuse it.`,
    options: ['drop', 'keep', 'pid', 'kind', 'range'],
    examples: `  pagepipe filter --drop lazy
  pagepipe filter --keep all --pid 15 --kind heap --kind stack
`,
  },
  rebuild: {
    group: 'stages',
    summary: 'turn page runs back into pagemap entries',
    usage: ['[--holes flag|drop] < STREAM > STREAM'],
    about: `Turns page runs back into pagemap entries, in the format that they were read
in.`,
    options: ['holes'],
  },
  write: {
    group: 'stages',
    summary: 'turn a page stream into a dump',
    usage: ['OUT [options] < STREAM'],
    about: `Turns a page stream into a dump directory, an archive or shards. OUT appears
complete or not at all.`,
    options: [...SINK_OPTIONS, 'shardFds', 'buffer', 'spillDir', 'json'],
    examples: `  pagepipe read dump | pagepipe write - --to tar --compress zstd |
    ssh host 'tar --zstd -x'
`,
  },
  run: {
    group: 'stages',
    summary: 'run several stages in one process',
    usage: ["'STAGE | STAGE ...' < STREAM > STREAM"],
    about: `Runs several stages in one process. A stage is classify, filter or rebuild with
its options.`,
    options: [],
    examples: `  pagepipe read dump |
    pagepipe run 'classify | filter --drop lazy | rebuild' |
    pagepipe write small
`,
  },
  completion: {
    summary: 'print the completions for a shell',
    usage: [SHELLS.join('|')],
    about: `Prints what makes a shell complete commands and options. For one session
  bash  source <(pagepipe completion bash)
  zsh   source <(pagepipe completion zsh), after compinit
  fish  pagepipe completion fish | source`,
    options: [],
    words: SHELLS,
  },
} as const satisfies Record<string, CommandSpec>;

export type CommandName = keyof typeof COMMANDS;

/** The entry of a command; undefined for any other word. */
export const specOf = (name: string): CommandSpec | undefined =>
  Object.hasOwn(COMMANDS, name) ? (COMMANDS as Record<string, CommandSpec>)[name] : undefined;

/** The options of a command, with those of all commands. */
export const optionsOf = ({ options }: CommandSpec): readonly OptionName[] => [...options, 'quiet'];

/** Commands that a person may want, in the order of the help. */
export const namesOf = (group: keyof typeof GROUPS): CommandName[] =>
  (Object.keys(COMMANDS) as CommandName[]).filter((name) => specOf(name)?.group === group);
