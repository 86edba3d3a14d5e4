import { ImageDecoder, type ImageHandler } from '../image/decoder.js';
import type { ImageType } from '../image/magic.js';
import type { Command } from './command.js';
import { closeInput, imageAndMember, openImageIn, readChunks } from './image-files.js';

export const command: Command = {
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
