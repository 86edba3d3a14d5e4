import { UsageError } from '../errors.js';
import { merge } from '../library/merge.js';
import { type Arguments, type Command, inputs } from './command.js';
import { dumpOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openSink, sinkOptions, targetOf } from './sink.js';
import { inputPlaces, openCommandFiles, openCommandSource } from './source.js';
import { reportWritten, writtenReport } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: dumpOutputs(2),
  async run(args, io) {
    const [hotPath, coldPath, out] = inputs(args, 'HOT', 'COLD', 'OUT') as [string, string, string];
    if (hotPath === '-' && coldPath === '-') throw new UsageError('only one half can come from stdin');
    const target = targetOf(args, out);
    const coldInputs = inputPlaces(coldPath, coldArguments(args), io);
    const hot = await openCommandSource(hotPath, args, false, io);
    const progress = new Progress(io, () => 0);
    try {
      const options = sinkOptions(args, progress.add);
      const source = { ...hot, inputs: [...hot.inputs, ...coldInputs] };
      const sink = openSink(target, source, options, io);
      const openCold = () => openCommandFiles(coldPath, coldArguments(args), io, { pages: 'hold', budget: hot.budget });
      await merge(hot, openCold, sink, io.signal);
      progress.done();
      const written = writtenReport(target, sink, options.dryRun);
      reportWritten({ hot: hotPath, cold: coldPath, ...written }, [written], args, io);
      if (!options.dryRun) warnOfCopy(sink, target, io);
    } finally {
      progress.done();
      hot.close();
    }
  },
};

/** The flags of sources apply to HOT. COLD has only `--cold-from`. */
function coldArguments(args: Arguments): Arguments {
  const { shardFds, coldFrom, ...flags } = args.flags;
  return { ...args, flags: { ...flags, from: coldFrom } };
}
