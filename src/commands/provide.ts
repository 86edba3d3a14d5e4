import { Dump } from '../dump/dump.js';
import { PARTIAL } from '../dump/names.js';
import { DumpError } from '../errors.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { refusePartial } from '../stages/not-partial.js';
import { provide } from '../stream-socket/provide.js';
import { imagesDirectory } from './capture.js';
import { type Command, inputs, pageSizeFlag, partialFlag } from './command.js';
import { Progress } from './progress.js';
import { openCommandFiles } from './source.js';

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const directory = imagesDirectory(args);
    const files = await openCommandFiles(path, args, io, { pages: 'hold' });
    const progress = new Progress(io, () => 0);
    try {
      const incomplete = args.flags['incomplete'] === true;
      // What is damaged is refused before CRIU begins.
      const dump = await Dump.open(files, { ...pageSizeFlag(args, PAGE_SIZES), incomplete, warn: io.warn });
      if (files.stat(PARTIAL)) refusePartial(partialFlag(args, io));
      if (files.entries().some(({ name }) => name === 'parent')) {
        throw new DumpError('UNSUPPORTED', 'a streamed restore cannot reach the parent dump', {
          file: dump.path,
          hint: 'make it complete first: pagepipe untemplate DUMP OUT',
        });
      }
      await provide(files, directory, {
        signal: io.signal,
        warn: io.warn,
        listening: (socket) => io.tell(`listening at ${socket}; criu restore --stream can start`),
        progress: progress.add,
      });
    } finally {
      progress.done();
      files.close();
    }
  },
};
