import { ImageDecoder } from '../image/decoder.js';
import type { ImageType } from '../image/magic.js';
import { JsonImageWriter, type JsonOptions } from '../json/to-json.js';
import type { Command, Io } from './command.js';
import { fileOutputs } from './if-absent.js';
import { closeInput, imageAndMember, openImageIn, readChunks, withOutput } from './image-files.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: fileOutputs('out'),
  async run(args, io) {
    const { in: path, out } = args.flags as { in?: string; out?: string };
    const words = path === undefined ? args.input : [path, ...args.input];
    const image = words.length === 0 ? ([] as const) : imageAndMember({ ...args, input: words });
    const type = await decodeFile(image, out, { pretty: args.flags['pretty'] === true }, io);
    if (args.flags['json'] !== true) return;
    const [from = '-', member] = image;
    const report = { in: from, ...(member === undefined ? {} : { image: member }), out: out ?? '-', type };
    printJson(report, [report.out], io);
  },
};

/** Decodes an image file into a JSON file; stdin and stdout if they are not named. Returns the type of the image. */
export async function decodeFile(
  [path, member]: readonly [path?: string, member?: string | undefined],
  out: string | undefined,
  options: JsonOptions,
  io: Io,
): Promise<ImageType | undefined> {
  const input = await openImageIn(path, member, io);
  try {
    return await withOutput(out, input, io, async (emit, isStdout) => {
      const decoder = new ImageDecoder(new JsonImageWriter(emit, options), { file: input.name, type: input.type });
      await readChunks(input, io, (chunk) => decoder.push(chunk));
      decoder.end();
      if (isStdout) emit(NEWLINE);
      return decoder.imageType;
    });
  } finally {
    closeInput(input, io);
  }
}

const NEWLINE = Uint8Array.of(0x0a);
