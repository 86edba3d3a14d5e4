import { ImageDecoder } from '../image/decoder.js';
import { JsonImageWriter, type JsonOptions } from '../json/to-json.js';
import { type Command, type Io, inputs } from './command.js';
import { closeInput, IN_OUT_FLAGS, openImageIn, readChunks, withOutput } from './image-files.js';

export const command: Command = {
  name: 'decode',
  help: `Usage
  pagepipe decode [-i IMAGE] [-o JSON] [--pretty]
  pagepipe decode -i DUMP IMAGE [-o JSON] [--pretty]

Turns an image into JSON, in the form of crit decode. Reads stdin without -i,
writes to stdout without -o. DUMP may be in any container, such as an archive.

Options
  -i, --in FILE   the image
  -o, --out FILE  the JSON; appears complete or not at all
  --pretty        one value a line; flags, devices and addresses in words

What crit would lose is under keys that begin with @: see docs/crit.md.

Examples
  pagepipe decode -i core-12.img | jq '.entries[0].tc.comm'
  pagepipe decode -i checkpoint.tar.gz checkpoint/core-12.img
  ssh host cat dump/mm-12.img | pagepipe decode --pretty
`,
  flags: { ...IN_OUT_FLAGS, pretty: { type: 'boolean' } },
  cleansUp: true,
  async run(args, io) {
    const { in: path, out } = args.flags as { in?: string; out?: string };
    const [member] = path === undefined ? inputs(args) : args.input.length > 0 ? inputs(args, 'IMAGE') : [];
    await decodeFile([path, member], out, { pretty: args.flags['pretty'] === true }, io);
  },
};

/** Decodes an image file into a JSON file; stdin and stdout if they are not named. */
export async function decodeFile(
  [path, member]: readonly [path: string | undefined, member?: string | undefined],
  out: string | undefined,
  options: JsonOptions,
  io: Io,
): Promise<void> {
  const input = await openImageIn(path, member, io);
  try {
    await withOutput(out, input, io, async (emit, isStdout) => {
      const decoder = new ImageDecoder(new JsonImageWriter(emit, options), { file: input.name, type: input.type });
      await readChunks(input, io, (chunk) => decoder.push(chunk));
      decoder.end();
      if (isStdout) emit(NEWLINE);
    });
  } finally {
    closeInput(input, io);
  }
}

const NEWLINE = Uint8Array.of(0x0a);
