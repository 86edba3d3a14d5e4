import { JsonImageReader } from '../json/from-json.js';
import { type Command, refuseTerminals } from './command.js';
import { closeInput, inOut, openInput, readChunks, withOutput } from './image-files.js';

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const { in: path, out } = inOut(args);
    if (out === undefined || out === '-') refuseTerminals(io, { stdout: true });
    const input = openInput(path, io);
    const checksAreas = args.flags['unaligned'] !== true;
    try {
      await withOutput(out, input, io, async (emit) => {
        const reader = new JsonImageReader(emit, { file: input.name, warn: io.warn, checksAreas });
        await readChunks(input, io, (chunk) => reader.push(chunk));
        reader.end();
      });
    } finally {
      closeInput(input, io);
    }
  },
};
