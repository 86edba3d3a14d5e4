import { pump } from '../pump.js';
import { DirectorySink } from '../sink/directory.js';
import { SizeSink } from '../sink/size.js';
import { Dump } from '../source/directory.js';
import { classify, POLICIES } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { HOLES, rebuild } from '../stages/rebuild.js';
import { tally } from '../stages/tally.js';
import { PAGE_SIZES } from '../stream/format.js';
import { type Command, choice, inputs, pageSizeFlag } from './command.js';
import { eagerListStages } from './eager-list.js';
import { Progress } from './progress.js';
import { formatReport, makeReport, warnOfParent } from './report.js';

export const command: Command = {
  name: 'make-lazy',
  help: `Usage
  pagepipe make-lazy DUMP OUT [options]

Copies a dump without the memory pages that can be restored lazily, so that a restore from OUT starts at once while the
pages come from DUMP on demand. OUT appears complete or not at all; DUMP is never written.

The same as
  pagepipe read DUMP | pagepipe classify | pagepipe filter --drop lazy | pagepipe rebuild | pagepipe write OUT

Options
  --policy auto      lazy is what is flagged PE_LAZY where the dump carries flags, else by vma (default)
  --policy flags     lazy is what is flagged PE_LAZY
  --policy vma       lazy is what the rule of CRIU 3 and later allows: private anonymous memory, not locked, hugetlb,
                     vdso, vvar or vsyscall
  --policy seed      the rule of 2016, for CRIU 2 only; refused where CRIU 3 and later would lose memory
  --holes flag       where pages were taken out, an entry flagged PE_LAZY alone stays in the pagemap (default)
  --holes drop       no entry stays; such a dump needs criu lazy-pages on DUMP, not --page-server
  --eager-list FILE  keep the lazy pages that the file names, such as a working set by pagepipe serve --record: lines
                     PID 0xADDRESS
  --page-size BYTES  page size of the dumped machine (found out from the dump)
  --dry-run          write nothing, only report
  --force            replace OUT if it is not empty; let --policy seed do what it would refuse
  --json             the report as one JSON document on stdout
`,
  flags: {
    policy: { type: 'string' },
    holes: { type: 'string' },
    eagerList: { type: 'string' },
    pageSize: { type: 'number' },
    dryRun: { type: 'boolean' },
    force: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  cleansUp: true,
  async run(args, io) {
    const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
    const policy = choice(args, 'policy', POLICIES, 'auto');
    const holes = choice(args, 'holes', HOLES, 'flag');
    const force = args.flags['force'] === true;
    const dryRun = args.flags['dryRun'] === true;
    const warn = (message: string) => io.err(`pagepipe: warning: ${message}\n`);

    const keep = eagerListStages(args, io);
    const dump = new Dump(path, { ...pageSizeFlag(args, PAGE_SIZES), warn });
    const progress = new Progress(io, () => dump.otherBytes + dump.payloadBytes);
    const count = tally();
    try {
      const sink = dryRun ? new SizeSink() : new DirectorySink(out, { force, source: path, progress: progress.add });
      const stages = [classify({ policy, force, warn }), ...keep, filter(DROP_LAZY), count.stage, rebuild({ holes })];
      await pump(dump.records(), stages, sink, io.signal);
      progress.done();
      const bytesAfter = sink instanceof SizeSink ? sink.bytes : sink.written.bytes;
      const report = makeReport(dump, out, count.spaces, { policy, holes, dryRun, bytesAfter });
      if (args.flags['json'] === true) io.out(`${JSON.stringify(report, undefined, 2)}\n`);
      else io.err(formatReport(report));
      if (sink instanceof DirectorySink) warnOfParent(sink.written, out, io);
    } finally {
      progress.done();
      dump.close();
    }
  },
};
