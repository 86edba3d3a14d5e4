import { pump } from '../pump.js';
import type { DumpRecord } from '../records.js';
import { DirectorySink } from '../sink/directory.js';
import { readPageStream } from '../stream/stream.js';
import { type Command, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { NEVER_WITHOUT, warnOfParent } from './report.js';

export const command: Command = {
  name: 'write',
  help: `Usage
  pagepipe write OUT [--force] < STREAM

Turns a page stream into a dump directory. OUT appears complete or not at all.

Options
  --force  replace OUT if it is not empty
`,
  flags: { force: { type: 'boolean' } },
  cleansUp: true,
  async run(args, io) {
    const [out] = inputs(args, 'OUT') as [string];
    refuseTerminals(io, { stdin: true });
    let totalBytes = 0;
    const noteTotal = (record: DumpRecord): DumpRecord => {
      if (record.type === 'header') totalBytes = record.payloadBytes ?? 0;
      return record;
    };
    const progress = new Progress(io, () => totalBytes);
    const sink = new DirectorySink(out, { force: args.flags['force'] === true, progress: progress.add });
    try {
      await pump(readPageStream(io.stdinFd, io.signal), [noteTotal], sink, io.signal);
    } finally {
      progress.done();
    }
    if (sink.written.holePages > 0) io.err(`pagepipe: warning: ${out}: ${NEVER_WITHOUT}\n`);
    warnOfParent(sink.written, out, io);
  },
};
