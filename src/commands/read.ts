import { StreamSink } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import { withoutOutside } from '../stages/drop-files.js';
import type { Finding } from '../verify/findings.js';
import { PassingDump } from '../verify/passing.js';
import { type Command, flagOrForce, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { checkPassing, findBeforehand, reportFindings } from './quick-check.js';
import { openCommandSource, privately, SOURCE_FLAGS, SOURCE_HELP } from './source.js';

export const command: Command = {
  name: 'read',
  help: `Usage
  pagepipe read DUMP > STREAM

Turns a dump into a page stream on stdout: all metadata first, then the pages.
pagepipe write turns it back into the same dump. DUMP is a directory, a tar
archive (plain, gzip or zstd, with the images under checkpoint/ or at the top),
a page stream, or the shards of criu-image-streamer. - is stdin.

First checks whether all images are there, and whether the pages files have the
sizes that the pagemaps give. A damaged directory or plain archive is refused
before anything is written. Any other dump is checked while it is read. If it
is damaged, the stream stays incomplete, and its reader refuses it.

Options
${SOURCE_HELP}
  --incomplete       read what can be read of a damaged dump; --force, its old
                     name, is accepted until 1.0

Examples
  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write dump'
  pagepipe read checkpoint.tar.zst | pagepipe write dump
`,
  flags: { ...SOURCE_FLAGS, incomplete: { type: 'boolean' }, force: { type: 'boolean' } },
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    refuseTerminals(io, { stdout: true });
    const incomplete = flagOrForce(args, 'incomplete', io);
    const report = (findings: readonly Finding[]) => reportFindings(findings, incomplete, io);
    const found = await findBeforehand(path, args, io);
    if (found) report(found);
    const source = await openCommandSource(path, args, true, io);
    const passing = found ? undefined : new PassingDump(path, source.budget);
    const progress = new Progress(io, source.totalBytes);
    try {
      const stages = [privately(source), withoutOutside(), ...(passing ? [checkPassing(passing, report)] : [])];
      await pump(source.records, stages, new StreamSink(io.stdoutFd, progress.add));
    } finally {
      progress.done();
      passing?.close();
      source.close();
    }
  },
};
