import { type Command, inputs } from './command.js';
import { decodeFile } from './decode.js';

export const command: Command = {
  name: 'show',
  help: `Usage
  pagepipe show IMAGE [--nopl]

Prints an image as decode --pretty does.

Options
  --nopl  print only the sizes of payloads: the contents of pipes, queues,
          segments and deleted files
`,
  flags: { nopl: { type: 'boolean' } },
  async run(args, io) {
    const [path] = inputs(args, 'IMAGE') as [string];
    await decodeFile(path, undefined, { pretty: true, noPayload: args.flags['nopl'] === true }, io);
  },
};
