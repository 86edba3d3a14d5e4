import { readPageStream } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { UsageError } from '../errors.js';
import { type Command, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openCommandShards, openSink, SINK_FLAGS, SINK_HELP, type SinkSource, targetOf } from './sink.js';
import { budgetOf, shardFds } from './source.js';

export const command: Command = {
  name: 'write',
  help: `Usage
  pagepipe write OUT [options] < STREAM

Turns a page stream into a dump directory, an archive or shards. OUT appears
complete or not at all.

Options
${SINK_HELP}
  --shard-fds 10,11  write shards to these descriptors, without OUT
  --buffer MIB       memory for the pages of a process in an archive, which
                     wait until their size is known (64)
  --spill-dir DIR    folder of an unnamed file for what exceeds --buffer
                     (the system's temporary folder)

Example
  pagepipe read dump | pagepipe write - --to tar --compress zstd |
    ssh host 'tar --zstd -x'
`,
  flags: {
    ...SINK_FLAGS,
    shardFds: { type: 'string' },
    buffer: { type: 'number' },
    spillDir: { type: 'string' },
  },
  cleansUp: true,
  async run(args, io) {
    const fds = shardFds(args);
    const [out] = inputs(args, ...(fds ? [] : ['OUT'])) as [string];
    const forArchives = fds && ['compress', 'prefix'].find((name) => args.flags[name] !== undefined);
    if (forArchives) throw new UsageError(`--${forArchives} is for archives, and --shard-fds writes shards`);
    const target = fds ? undefined : targetOf(args, out);
    refuseTerminals(io, { stdin: true });
    let totalBytes = 0;
    const noteTotal = (record: DumpRecord): DumpRecord => {
      if (record.type === 'header') totalBytes = record.payloadBytes ?? 0;
      return record;
    };
    const progress = new Progress(io, () => totalBytes);
    const options = { force: args.flags['force'] === true, progress: progress.add };
    const source: SinkSource = { kind: 'stream', inputs: [io.stdinFd], budget: budgetOf(args) };
    const sink = target ? openSink(target, source, options, io) : openCommandShards(fds as number[], options, io);
    try {
      await pump(readPageStream(io.stdinFd, io.signal), [noteTotal], sink, io.signal);
    } finally {
      progress.done();
    }
    warnOfCopy(sink, out ?? 'shards', io);
  },
};
