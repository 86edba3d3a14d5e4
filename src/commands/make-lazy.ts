import { pump } from '../dump/pump.js';
import { UsageError } from '../errors.js';
import { classify, POLICIES } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { notPartial } from '../stages/not-partial.js';
import { HOLES, rebuild } from '../stages/rebuild.js';
import { tally } from '../stages/tally.js';
import { type Command, choice, flagOrForce, inputs, partialFlag } from './command.js';
import { eagerListStages } from './eager-list.js';
import { dumpOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { formatReport, makeReport, warnOfParent } from './report.js';
import { openSink, sinkOptions, targetOf } from './sink.js';
import { openCommandSource } from './source.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: dumpOutputs(1),
  async run(args, io) {
    const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
    const target = targetOf(args, out);
    const policy = choice(args, 'policy', POLICIES, 'auto');
    const holes = choice(args, 'holes', HOLES, 'flag');
    const unsafe = policy === 'seed' && flagOrForce(args, 'unsafePolicy', io);
    if (args.flags['eagerList'] !== undefined && holes === 'drop') {
      throw new UsageError('--eager-list needs --holes flag: a page server needs the flagged holes');
    }

    const keep = eagerListStages(args, io);
    const source = await openCommandSource(path, args, policy !== 'flags', io);
    const progress = new Progress(io, source.totalBytes);
    const options = sinkOptions(args, progress.add);
    const count = tally();
    try {
      const sink = openSink(target, source, options, io);
      const stages = [
        notPartial(partialFlag(args, io)),
        classify({ policy, force: unsafe, warn: io.warn }),
        ...keep,
        filter(DROP_LAZY),
        count.stage,
        rebuild({ holes }),
      ];
      await pump(source.records, stages, sink, io.signal);
      progress.done();
      const bytes = 'written' in sink ? sink.written.bytes : sink.bytes;
      const made = {
        path: out,
        kind: target.kind,
        policy,
        holes,
        keepsLazyPages: keep.length > 0,
        dryRun: options.dryRun,
        bytes,
      };
      const report = makeReport(source.reported(), made, count.spaces);
      if (args.flags['json'] === true) printJson(report, [out], io);
      else io.print(formatReport(report));
      if ('written' in sink) warnOfParent(sink.written, out, io);
    } finally {
      progress.done();
      source.close();
    }
  },
};
