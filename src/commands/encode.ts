import { JsonImageReader } from '../json/from-json.js';
import { type Command, refuseTerminals } from './command.js';
import { fileOutputs } from './if-absent.js';
import { closeInput, inOut, openInput, readChunks, withOutput } from './image-files.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: fileOutputs('out'),
  async run(args, io) {
    const { in: path, out } = inOut(args);
    if (out === undefined || out === '-') refuseTerminals(io, { stdout: true });
    const input = openInput(path, io);
    const checksAreas = args.flags['unaligned'] !== true;
    try {
      const { imageType: type } = await withOutput(out, input, io, async (emit) => {
        const reader = new JsonImageReader(emit, { file: input.name, warn: io.warn, checksAreas });
        await readChunks(input, io, (chunk) => reader.push(chunk));
        reader.end();
        return reader;
      });
      if (args.flags['json'] === true) printJson({ in: path ?? '-', out: out ?? '-', type }, [out ?? '-'], io);
    } finally {
      closeInput(input, io);
    }
  },
};
