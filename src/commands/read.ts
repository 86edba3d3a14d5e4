import { pump } from '../pump.js';
import { Dump } from '../source/directory.js';
import { PAGE_SIZES } from '../stream/format.js';
import { StreamSink } from '../stream/stream.js';
import { type Command, inputs, pageSizeFlag, refuseTerminals } from './command.js';
import { Progress } from './progress.js';

export const command: Command = {
  name: 'read',
  help: `Usage
  pagepipe read DUMP > STREAM

Turns a dump into a page stream on stdout: all metadata first, then the pages. read | write gives the same dump.

Options
  --page-size BYTES  page size of the dumped machine (found out from the dump)

Example
  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write dump'
`,
  flags: { pageSize: { type: 'number' } },
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const options = pageSizeFlag(args, PAGE_SIZES);
    refuseTerminals(io, { stdout: true });
    const dump = new Dump(path, { ...options, warn: (message) => io.err(`pagepipe: warning: ${message}\n`) });
    const progress = new Progress(io, () => dump.otherBytes + dump.payloadBytes);
    try {
      await pump(dump.records(), [], new StreamSink(io.stdoutFd, progress.add));
    } finally {
      progress.done();
      dump.close();
    }
  },
};
