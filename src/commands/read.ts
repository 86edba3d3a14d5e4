import { StreamSink } from '../containers/page-stream/stream.js';
import { pump } from '../dump/pump.js';
import { withoutOutside } from '../stages/drop-files.js';
import { PageCounter } from '../stages/page-counter.js';
import type { Finding } from '../verify/findings.js';
import { PassingDump } from '../verify/passing.js';
import { type Command, flagOrForce, inputs, refuseTerminals } from './command.js';
import { Progress } from './progress.js';
import { checkPassing, findBeforehand, reportFindings } from './quick-check.js';
import { openCommandSource, privately } from './source.js';
import { printJson } from './written.js';

export const command: Command = {
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    refuseTerminals(io, { stdout: true });
    const incomplete = flagOrForce(args, 'incomplete', io);
    const report = (findings: readonly Finding[]) => reportFindings(findings, incomplete, io);
    const found = await findBeforehand(path, args, io);
    if (found) report(found);
    // The check reports what is missing.
    const readable = { ...args, flags: { ...args.flags, incomplete: true } };
    const source = await openCommandSource(path, readable, true, io);
    const passing = found ? undefined : new PassingDump(path, source.budget);
    const progress = new Progress(io, source.totalBytes);
    const json = args.flags['json'] === true;
    const counter = new PageCounter();
    try {
      const stages = [
        privately(source),
        withoutOutside(),
        ...(passing ? [checkPassing(passing, report)] : []),
        ...(json ? [counter.stage] : []),
      ];
      await pump(source.records, stages, new StreamSink(io.stdoutFd, progress.add));
      if (json) printJson({ dump: path, out: '-', kind: 'stream', pages: counter.pages }, ['-'], io);
    } finally {
      progress.done();
      passing?.close();
      source.close();
    }
  },
};
