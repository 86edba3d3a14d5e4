import { oneLine } from '../printable.js';
import { accept } from '../send/far.js';
import { CUT_OFF, LEFT } from '../serve/server.js';
import { type Command, inputs } from './command.js';
import { warnOfCopy, warnOfParent } from './report.js';
import { addressFlag, stdioStream } from './serve.js';

export const command: Command = {
  name: 'accept',
  help: `Usage
  pagepipe accept OUT [--listen HOST:PORT] [--force]

The far side of pagepipe send, which starts it through ssh. Writes the dump
from stdin to the directory OUT, which appears complete or not at all. With
--listen it is then a page server, and forwards requests of restores through
stdout.

Options
  --listen HOST:PORT  serve the pages that are not in OUT (port 0: a free port)
  --force             replace OUT if it is a dump
`,
  flags: { listen: { type: 'string' }, force: { type: 'boolean' } },
  cleansUp: true,
  async run(args, io) {
    const [out] = inputs(args, 'OUT') as [string];
    const address = addressFlag(args, 'listen');
    const options = {
      out,
      force: args.flags['force'] === true,
      ...(address ? { address } : {}),
    };
    await accept(
      stdioStream(io),
      {
        ...options,
        onWritten: (written) => {
          // The near side says how to restore a lazy dump whose pages are served.
          if (!address || written.isPartial) warnOfCopy({ written }, out, io);
          else warnOfParent(written, out, io);
        },
        onEnd: ({ client, error }) => {
          // The near side reports all other clients.
          if (error !== undefined && error !== LEFT && error !== CUT_OFF)
            io.err(`pagepipe: ${client}: ${oneLine(error)}\n`);
        },
      },
      io.signal,
    );
  },
};
