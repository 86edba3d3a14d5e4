import { StreamSink } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import { withoutOutside } from '../stages/drop-files.js';
import type { Finding } from '../verify/findings.js';
import { PassingDump } from '../verify/passing.js';
import { type Command, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { checkPassing, findBeforehand, reportFindings } from './quick-check.js';
import { openCommandSource, SOURCE_FLAGS, SOURCE_HELP } from './source.js';

export const command: Command = {
  name: 'read',
  help: `Usage
  pagepipe read DUMP > STREAM

Turns a dump into a page stream on stdout: all metadata first, then the pages. read | write gives the same dump.
DUMP is a directory, a tar archive (plain, gzip or zstd; the images under checkpoint/ or at the top), a page stream, or
the shards of criu-image-streamer; - is stdin.

Whether images are missing, and whether pages files have the size that their pagemaps say, is checked first: of a
directory and a plain archive before anything is written, of all else before the end of the stream, without which nobody
takes it for a dump.

Options
${SOURCE_HELP}
  --force            read what can be read of a dump that is not whole

Examples
  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write dump'
  pagepipe read checkpoint.tar.zst | pagepipe write dump
`,
  flags: { ...SOURCE_FLAGS, force: { type: 'boolean' } },
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    refuseTerminals(io, { stdout: true });
    const report = (findings: readonly Finding[]) => reportFindings(findings, args.flags['force'] === true, io);
    const found = await findBeforehand(path, args, io);
    if (found) report(found);
    const source = await openCommandSource(path, args, true, io);
    const passing = found ? undefined : new PassingDump(path, source.budget);
    const progress = new Progress(io, source.totalBytes);
    try {
      const stages = [withoutOutside(), ...(passing ? [checkPassing(passing, report)] : [])];
      await pump(source.records, stages, new StreamSink(io.stdoutFd, progress.add));
    } finally {
      progress.done();
      passing?.close();
      source.close();
    }
  },
};
