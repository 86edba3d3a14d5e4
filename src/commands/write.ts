import { readPageStream } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { type Command, choice, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { archiveFlags, openCommandShards, openSink, SINK_KINDS, type SinkSource } from './sink.js';
import { budgetOf, shardFds } from './source.js';

export const command: Command = {
  name: 'write',
  help: `Usage
  pagepipe write OUT [options] < STREAM

Turns a page stream into a dump directory, an archive or shards. OUT appears
complete or not at all.

Options
  --to directory|tar|shards
                     what to write (directory, or tar if OUT is -, which is
                     stdout); separate several shards by commas
  --shard-fds 10,11  write shards to these descriptors, without OUT
  --compress gzip|zstd
                     compress the archive
  --prefix FOLDER    folder of the images in the archive, such as checkpoint
                     (top level)
  --buffer MIB       memory for the pages of a process in an archive, which
                     wait until their size is known (64)
  --spill-dir DIR    folder of an unnamed file for what exceeds --buffer
                     (the system's temporary folder)
  --force            replace OUT if it is a dump

Example
  pagepipe read dump | pagepipe write - --compress zstd |
    ssh host 'tar --zstd -x'
`,
  flags: {
    to: { type: 'string' },
    shardFds: { type: 'string' },
    compress: { type: 'string' },
    prefix: { type: 'string' },
    buffer: { type: 'number' },
    spillDir: { type: 'string' },
    force: { type: 'boolean' },
  },
  cleansUp: true,
  async run(args, io) {
    const fds = shardFds(args);
    const [out] = inputs(args, ...(fds ? [] : ['OUT'])) as [string];
    const kind = fds ? 'shards' : choice(args, 'to', SINK_KINDS, out === '-' ? 'tar' : 'directory');
    const archive = archiveFlags(args, kind);
    refuseTerminals(io, { stdin: true });
    let totalBytes = 0;
    const noteTotal = (record: DumpRecord): DumpRecord => {
      if (record.type === 'header') totalBytes = record.payloadBytes ?? 0;
      return record;
    };
    const progress = new Progress(io, () => totalBytes);
    const options = { force: args.flags['force'] === true, progress: progress.add };
    const source: SinkSource = {
      kind: 'stream',
      compression: archive.compress,
      inputs: [io.stdinFd],
      budget: budgetOf(args),
    };
    const sink = fds
      ? openCommandShards(fds, options, io)
      : openSink(kind, out, source, { ...options, prefix: archive.prefix }, io);
    try {
      await pump(readPageStream(io.stdinFd, io.signal), [noteTotal], sink, io.signal);
    } finally {
      progress.done();
    }
    warnOfCopy(sink, out ?? 'shards', io);
  },
};
