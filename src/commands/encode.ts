import { JsonImageReader } from '../json/from-json.js';
import { type Command, refuseTerminals, warningsTo } from './command.js';
import { closeInput, IN_OUT_FLAGS, inOut, openInput, readChunks, withOutput } from './image-files.js';

export const command: Command = {
  name: 'encode',
  help: `Usage
  pagepipe encode [-i JSON] [-o IMAGE]

Turns the JSON of pagepipe decode or crit decode, pretty or not, back into an
image. Reads stdin without -i, writes to stdout without -o.

Options
  -i, --in FILE   the JSON
  -o, --out FILE  the image; appears complete or not at all, and keeps the mode
                  of a file that it replaces
  --unaligned     take areas that begin or end inside a page. Otherwise they are
                  refused: a tool such as jq before 1.7 has rounded them

Example
  pagepipe decode -i files.img |
    jq '(.entries[] | select(.id == 3)).reg.name = "/tmp/log"' |
    pagepipe encode -o files.img
`,
  flags: { ...IN_OUT_FLAGS, unaligned: { type: 'boolean' } },
  cleansUp: true,
  async run(args, io) {
    const { in: path, out } = inOut(args);
    if (out === undefined || out === '-') refuseTerminals(io, { stdout: true });
    const input = openInput(path, io);
    const warn = warningsTo(io);
    const checksAreas = args.flags['unaligned'] !== true;
    try {
      await withOutput(out, input, io, async (emit) => {
        const reader = new JsonImageReader(emit, { file: input.name, warn, checksAreas });
        await readChunks(input, io, (chunk) => reader.push(chunk));
        reader.end();
      });
    } finally {
      closeInput(input, io);
    }
  },
};
