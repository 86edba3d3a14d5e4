/** Commands that check a dump. */
import { SOURCE_OPTIONS } from '../options.js';
import type { CommandSpec } from './spec.js';

export const CHECK = {
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

Exit codes: 0 no findings or only warnings, 1 the dump is damaged, 75 nothing
is known, but trying again may help.`,
    options: ['memory', 'content', 'slice', 'json', 'progress', ...SOURCE_OPTIONS],
    examples: `  criu dump --leave-stopped -t 1234 -D dump &&
    pagepipe verify dump && kill -9 1234
  pagepipe verify checkpoint.tar.zst
  pagepipe verify shard0,shard1,shard2 --from shards
`,
  },
  'merge-report': {
    group: 'check',
    summary: 'join the reports of the slices of a dump',
    usage: ['FILE ...'],
    about: `Joins the reports of verify, search or map with --slice, in any order, to the
report of a run that was not cut: the same lines of JSON, and the same exit
code. Reports that are missing or come twice, and those of another dump or with
other options, are refused. See docs/schedulers.md.

Exit codes: as of verify, search and map.`,
    options: ['json'],
    examples: `  for k in 1 2 3 4; do
    pagepipe verify dump.tar --slice $k/4 --json > report.$k &
  done; wait
  pagepipe merge-report report.?
`,
  },
} as const satisfies Record<string, CommandSpec>;
