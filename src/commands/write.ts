import { readPageStream } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { type Arguments, type Command, inputs, refuseOptions, refuseTerminals } from './command.js';
import { dumpOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openCommandShards, openSink, type SinkSource, sinkOptions, type Target, targetOf } from './sink.js';
import { budgetOf, shardFds } from './source.js';
import { reportWritten, writtenReport } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: dumpOutputs(0),
  async run(args, io) {
    const fds = shardFds(args);
    const [out] = inputs(args, ...(fds ? [] : ['OUT'])) as [string];
    const target = fds ? toDescriptors(args) : targetOf(args, out);
    refuseTerminals(io, { stdin: true });
    let totalBytes = 0;
    const noteTotal = (record: DumpRecord): DumpRecord => {
      if (record.type === 'header') totalBytes = record.payloadBytes ?? 0;
      return record;
    };
    const progress = new Progress(io, () => totalBytes);
    const options = sinkOptions(args, progress.add);
    const source: SinkSource = { kind: 'stream', inputs: [io.stdinFd], budget: budgetOf(args) };
    const sink = fds && !options.dryRun ? openCommandShards(fds, options, io) : openSink(target, source, options, io);
    try {
      await pump(readPageStream(io.stdinFd, io.signal), [noteTotal], sink, io.signal);
    } finally {
      progress.done();
    }
    const written = writtenReport(target, sink, options.dryRun);
    reportWritten(written, [written], args, io);
    if (!options.dryRun) warnOfCopy(sink, target, io);
  },
};

/** What is written to the descriptors of `--shard-fds`. */
function toDescriptors(args: Arguments): Target {
  refuseOptions(args, ['compress', 'prefix'], ' is for archives, and --shard-fds writes shards');
  return { place: 'shards', kind: 'shards', compression: undefined, prefix: '' };
}
