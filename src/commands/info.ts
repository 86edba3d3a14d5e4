import { ImageDecoder, type ImageHandler } from '../image/decoder.js';
import type { ImageType } from '../image/magic.js';
import type { Command } from './command.js';
import { closeInput, imageAndMember, openImageIn, readChunks } from './image-files.js';

export const command: Command = {
  name: 'info',
  help: `Usage
  pagepipe info IMAGE
  pagepipe info DUMP IMAGE

Prints the type of an image and the number of its entries, without the head of
a pagemap. DUMP may be in any container, such as an archive.
`,
  flags: {},
  async run(args, io) {
    const input = await openImageIn(...imageAndMember(args), io);
    const counter = new Counter();
    try {
      const decoder = new ImageDecoder(counter, { file: input.name, type: input.type });
      await readChunks(input, io, (chunk) => decoder.push(chunk));
      decoder.end();
    } finally {
      closeInput(input, io);
    }
    io.out(`${JSON.stringify({ magic: counter.type, count: counter.count }, null, 4)}\n`);
  },
};

class Counter implements ImageHandler {
  type: ImageType | undefined;
  count = 0;

  image(type: ImageType): void {
    this.type = type;
    if (type === 'PAGEMAP') this.count--;
  }

  entry(): void {
    this.count++;
  }

  end(): void {
    this.count = Math.max(this.count, 0);
  }
}
