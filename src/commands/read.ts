import { pump } from '../pump.js';
import { withoutOutside } from '../stages/outside.js';
import { StreamSink } from '../stream/stream.js';
import { type Command, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { openCommandSource, SOURCE_FLAGS, SOURCE_HELP } from './source.js';

export const command: Command = {
  name: 'read',
  help: `Usage
  pagepipe read DUMP > STREAM

Turns a dump into a page stream on stdout: all metadata first, then the pages. read | write gives the same dump.
DUMP is a directory, a tar archive (plain, gzip or zstd; the images under checkpoint/ or at the top), or the shards of
criu-image-streamer; - is stdin.

Options
${SOURCE_HELP}

Examples
  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write dump'
  pagepipe read checkpoint.tar.zst | pagepipe write dump
`,
  flags: SOURCE_FLAGS,
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    refuseTerminals(io, { stdout: true });
    const source = await openCommandSource(path, args, true, io);
    const progress = new Progress(io, source.totalBytes);
    try {
      await pump(source.records, [withoutOutside()], new StreamSink(io.stdoutFd, progress.add));
    } finally {
      progress.done();
      source.close();
    }
  },
};
