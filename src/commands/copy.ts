import { extract } from '../arrival/extract.js';
import { isS3Name } from '../containers/s3/address.js';
import { pump } from '../dump/pump.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { type Command, inputs, pageSizeFlag } from './command.js';
import { dumpOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openSink, sinkOptions, targetOf } from './sink.js';
import { openCommandSource } from './source.js';
import { type Finished, reportWritten, writtenReport } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: dumpOutputs(1),
  async run(args, io) {
    const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
    const target = targetOf(args, out);
    const source = await openCommandSource(path, args, false, io);
    const progress = new Progress(io, source.totalBytes);
    const options = sinkOptions(args, progress.add);
    let copy: Finished;
    try {
      if (target.kind === 'directory' && !isS3Name(out) && source.events && !options.dryRun) {
        const { events, name, inputs: sources } = source;
        const more = { name, sources, signal: io.signal, warn: io.warn, ...pageSizeFlag(args, PAGE_SIZES) };
        copy = { written: await extract(events, out, { ...options, ...more }) };
      } else {
        const sink = openSink(target, source, options, io);
        await pump(source.records, [], sink, io.signal);
        copy = sink;
      }
    } finally {
      progress.done();
      source.close();
    }
    const written = writtenReport(target, copy, options.dryRun);
    reportWritten({ dump: path, ...written }, [written], args, io);
    if (!options.dryRun) warnOfCopy(copy, target, io);
  },
};
