import type { Command } from './command.js';
import { decodeFile } from './decode.js';
import { imageAndMember } from './image-files.js';

export const command: Command = {
  async run(args, io) {
    const [path, member] = imageAndMember(args);
    await decodeFile([path, member], undefined, { pretty: true, noPayload: args.flags['nopl'] === true }, io);
  },
};
