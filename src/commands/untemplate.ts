import { Dump } from '../dump/dump.js';
import { dumpPlaces } from '../dump/files.js';
import { pump } from '../dump/pump.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { notPartial } from '../stages/not-partial.js';
import { MappedMemory } from '../template/mapped-memory.js';
import { wholeRecords } from '../template/whole.js';
import { type Command, inputs, pageSizeFlag, partialFlag } from './command.js';
import { dumpOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openSink, sinkOptions, targetOf } from './sink.js';
import { budgetOf, inputPlaces, openCommandFiles } from './source.js';
import { reportWritten, writtenReport } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: dumpOutputs(1),
  async run(args, io) {
    const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
    const target = targetOf(args, out);
    const budget = budgetOf(args);
    const files = await openCommandFiles(path, args, io, { pages: 'hold', budget });
    let totalBytes = 0;
    const progress = new Progress(io, () => totalBytes);
    let memory: MappedMemory | undefined;
    try {
      const incomplete = args.flags['incomplete'] === true;
      const dump = await Dump.open(files, { ...pageSizeFlag(args, PAGE_SIZES), incomplete, warn: io.warn });
      memory = MappedMemory.open(files, dump.march, args.flags['memory'] as string | undefined);
      memory?.check();
      totalBytes = dump.bytes;
      if (!memory) io.note(`${path}: none of its areas map files of a template`);
      const places = memory ? [memory.folder, ...memory.used.map((file) => file.path)] : [];
      const inputs = [...inputPlaces(path, args, io), ...dumpPlaces(files), ...places];
      const options = sinkOptions(args, progress.add);
      const sink = openSink(target, { kind: 'directory', inputs, budget }, options, io);
      await pump(wholeRecords(dump, memory), [notPartial(partialFlag(args, io))], sink, io.signal);
      progress.done();
      const written = writtenReport(target, sink, options.dryRun);
      reportWritten({ dump: path, ...written }, [written], args, io);
      if (!options.dryRun) warnOfCopy(sink, target, io);
    } finally {
      progress.done();
      memory?.close();
      files.close();
    }
  },
};
