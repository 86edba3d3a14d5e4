import { Dump } from '../dump/dump.js';
import { edited } from '../dump/edited.js';
import { PARTIAL } from '../dump/names.js';
import { DumpError } from '../errors.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { refusePartial } from '../stages/not-partial.js';
import { provide } from '../stream-socket/provide.js';
import { imagesDirectory } from './capture.js';
import { type Command, inputs, pageSizeFlag, partialFlag } from './command.js';
import { externalFiles, ProgressLines } from './image-streamer.js';
import { Progress } from './progress.js';
import { assignmentsByImage, remapPorts, remappedPorts } from './provided-values.js';
import { budgetOf, openCommandFiles, shardFds } from './source.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const path = shardFds(args) && args.input.length === 0 ? '-' : (inputs(args, 'DUMP')[0] as string);
    const external = externalFiles(args);
    const lines = new ProgressLines(args);
    const directory = imagesDirectory(args);
    const assignments = assignmentsByImage(args);
    const ports = remappedPorts(args);
    const budget = budgetOf(args);
    let files = await openCommandFiles(path, args, io, { pages: 'hold', budget });
    const progress = new Progress(io, () => 0);
    let bytes = 0;
    try {
      remapPorts(files, ports, assignments, io.warn);
      files = edited(files, assignments, budget);
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
      lines.taken(dump.bytes);
      await provide(files, directory, {
        signal: io.signal,
        warn: io.warn,
        external,
        listening: (socket) => {
          lines.ready();
          io.tell(`listening at ${socket}; criu restore --stream can start`);
        },
        progress: (count) => {
          bytes += count;
          progress.add(count);
        },
      });
      if (args.flags['json'] === true) printJson({ dump: path, directory, bytes }, [], io);
    } finally {
      progress.done();
      files.close();
    }
  },
};
