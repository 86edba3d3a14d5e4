/** The stages, for pipes. */
import { SINK_OPTIONS, SOURCE_OPTIONS } from '../options.js';
import type { CommandSpec } from './spec.js';

export const STAGES = {
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
    options: ['incomplete', 'json', 'progress', ...SOURCE_OPTIONS],
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
    options: ['policy', 'unsafePolicy', 'eagerList', 'json'],
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
    options: ['drop', 'keep', 'pid', 'kind', 'range', 'json'],
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
    options: ['holes', 'json'],
  },
  write: {
    group: 'stages',
    summary: 'turn a page stream into a dump',
    usage: ['OUT [options] < STREAM'],
    about: `Turns a page stream into a dump directory, an archive or shards. OUT appears
complete or not at all.`,
    options: [...SINK_OPTIONS, 'shardFds', 'buffer', 'spillDir', 'endpointUrl', 'json', 'progress'],
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
    options: ['json'],
    examples: `  pagepipe read dump |
    pagepipe run 'classify | filter --drop lazy | rebuild' |
    pagepipe write small
`,
  },
} as const satisfies Record<string, CommandSpec>;
