import type { Command } from './command.js';
import { decodeFile } from './decode.js';
import { imageAndMember } from './image-files.js';

export const command: Command = {
  name: 'show',
  help: `Usage
  pagepipe show IMAGE [--nopl]
  pagepipe show DUMP IMAGE [--nopl]

Prints an image as decode --pretty does: a file, or an image in a dump that is in
any container, such as an archive.

Options
  --nopl  print only the sizes of payloads: the contents of pipes, queues,
          segments and deleted files
`,
  flags: { nopl: { type: 'boolean' } },
  async run(args, io) {
    const [path, member] = imageAndMember(args);
    await decodeFile([path, member], undefined, { pretty: true, noPayload: args.flags['nopl'] === true }, io);
  },
};
