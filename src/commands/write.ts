import { readPageStream } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { type Command, inputs, refuseOptions, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openCommandShards, openSink, type SinkSource, targetOf } from './sink.js';
import { budgetOf, shardFds } from './source.js';

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const fds = shardFds(args);
    const [out] = inputs(args, ...(fds ? [] : ['OUT'])) as [string];
    if (fds) refuseOptions(args, ['compress', 'prefix'], ' is for archives, and --shard-fds writes shards');
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
