/** Commands that restore a dump at once, and what they need. */
import { LISTEN_OPTIONS, SINK_OPTIONS, SOURCE_OPTIONS } from '../options.js';
import type { CommandSpec } from './spec.js';

export const LAZY = {
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
    options: [
      'policy',
      'unsafePolicy',
      'holes',
      'eagerList',
      ...SINK_OPTIONS,
      'incomplete',
      'json',
      'progress',
      ...SOURCE_OPTIONS,
    ],
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
    options: ['cold', 'policy', 'eagerList', ...SINK_OPTIONS, 'incomplete', 'json', 'progress', ...SOURCE_OPTIONS],
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
    options: [...SINK_OPTIONS, 'json', 'progress', ...SOURCE_OPTIONS, 'coldFrom'],
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
      'ifAbsent',
      'dryRun',
      'incomplete',
      'json',
      'progress',
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
    options: ['memory', ...SINK_OPTIONS, 'incomplete', 'json', 'progress', ...SOURCE_OPTIONS],
    examples: `  criu dump -t PID -D AGAIN && pagepipe untemplate AGAIN FULL
`,
  },
} as const satisfies Record<string, CommandSpec>;
