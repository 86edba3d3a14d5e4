import { waitForCapture } from '../stream-socket/post-dump.js';
import { type Command, inputs } from './command.js';

export const command: Command = {
  async run(args) {
    inputs(args);
    await waitForCapture((args.flags['imagesDir'] as string | undefined) ?? '.');
  },
};
