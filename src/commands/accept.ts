import { PlainConnection } from '../io/plain-connection.js';
import { accept } from '../send/far.js';
import { CUT_OFF, LEFT } from '../serve/server.js';
import { type Command, inputs } from './command.js';
import { warnOfCopy, warnOfParent } from './report.js';
import { addressFlag, overStdio } from './serve.js';

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const [out] = inputs(args, 'OUT') as [string];
    const address = addressFlag(args, 'pageServer');
    const options = {
      out,
      force: args.flags['force'] === true,
      ...(address ? { address } : {}),
    };
    await accept(
      overStdio(io, PlainConnection.ofDescriptors),
      {
        ...options,
        onWritten: (written) => {
          // The near side says how to restore a lazy dump whose pages are served.
          if (!address || written.isPartial) warnOfCopy({ written }, { place: out, kind: 'directory' }, io);
          else warnOfParent(written, out, io);
        },
        onEnd: ({ client, error }) => {
          // The near side reports all other clients.
          if (error !== undefined && error !== LEFT && error !== CUT_OFF) io.tell(`${client}: ${error}`);
        },
      },
      io.signal,
    );
  },
};
