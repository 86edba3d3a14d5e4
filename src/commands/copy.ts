import { extract } from '../arrival/extract.js';
import type { Written } from '../containers/directory/dump-directory.js';
import { pump } from '../dump/pump.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { type Command, inputs, pageSizeFlag, warningsTo } from './command.js';
import { Progress } from './progress.js';
import { type Copied, warnOfCopy } from './report.js';
import { openSink, SINK_FLAGS, SINK_HELP, targetOf } from './sink.js';
import { openCommandSource, SOURCE_FLAGS, SOURCE_HELP } from './source.js';

export const command: Command = {
  name: 'copy',
  help: `Usage
  pagepipe copy DUMP OUT [options]

Copies a dump unchanged into another place or another container, as tar and
criu-image-streamer extract do, but refuses an incomplete dump. DUMP is a
directory, a tar archive (plain, gzip or zstd), the shards of
criu-image-streamer or a page stream. OUT appears complete or not at all. The
same as pagepipe read DUMP | pagepipe write OUT, but a copy from an archive to
an archive includes the files outside the dump.

Options
${SINK_HELP}
${SOURCE_HELP}

Examples
  pagepipe copy checkpoint.tar.zst dump
  pagepipe copy shard0,shard1 dump --from shards
  pagepipe copy dump - --to tar --compress zstd |
    ssh host 'pagepipe copy - dump'
`,
  flags: {
    ...SINK_FLAGS,
    ...SOURCE_FLAGS,
  },
  cleansUp: true,
  async run(args, io) {
    const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
    const target = targetOf(args, out);
    const force = args.flags['force'] === true;
    const source = await openCommandSource(path, args, false, io);
    const progress = new Progress(io, source.totalBytes);
    const options = { force, progress: progress.add };
    let copy: { written: Written } | Copied;
    try {
      if (target.kind === 'directory' && source.events) {
        const { events, name, inputs: sources } = source;
        const more = { name, sources, signal: io.signal, warn: warningsTo(io), ...pageSizeFlag(args, PAGE_SIZES) };
        copy = { written: await extract(events, out, { ...options, ...more }) };
      } else {
        const sink = openSink(target, source, options, io);
        await pump(source.records, [], sink, io.signal);
        copy = sink;
      }
    } finally {
      progress.done();
      source.close();
    }
    warnOfCopy(copy, out, io);
  },
};
