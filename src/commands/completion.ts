import { SHELLS } from '../command-line/commands.js';
import { completionFor } from '../command-line/completion.js';
import { UsageError } from '../errors.js';
import { type Command, inputs } from './command.js';

export const command: Command = {
  async run(args, io) {
    const [word] = inputs(args, SHELLS.join(', ')) as [string];
    const shell = SHELLS.find((name) => name === word);
    if (!shell) throw new UsageError(`expected ${SHELLS.join(', ')}, found ${JSON.stringify(word)}`);
    io.out(completionFor(shell));
  },
};
