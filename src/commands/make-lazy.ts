import { pump } from '../dump/pump.js';
import { SizeSink } from '../dump/size.js';
import { UsageError } from '../errors.js';
import { classify, POLICIES } from '../stages/classify.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { notPartial } from '../stages/not-partial.js';
import { HOLES, rebuild } from '../stages/rebuild.js';
import { tally } from '../stages/tally.js';
import { type Command, choice, flagOrForce, inputs, partialFlag, warningsTo } from './command.js';
import { eagerListStages } from './eager-list.js';
import { Progress } from './progress.js';
import { formatReport, makeReport, warnOfParent } from './report.js';
import { openSink, SINK_FLAGS, SINK_HELP, targetOf } from './sink.js';
import { openCommandSource, SOURCE_FLAGS, SOURCE_HELP } from './source.js';

export const command: Command = {
  name: 'make-lazy',
  help: `Usage
  pagepipe make-lazy DUMP OUT [options]

Copies a dump without the pages that can be restored lazily. A restore from OUT
starts at once, and these pages come from DUMP on demand. OUT appears complete
or not at all. DUMP is never written.

The same as
  pagepipe read DUMP | pagepipe classify | pagepipe filter --drop lazy |
    pagepipe rebuild | pagepipe write OUT

Options
  --policy auto      as flags where the pagemap has flags, otherwise as vma
                     (default)
  --policy flags     lazy is what is flagged PE_LAZY in the pagemap
  --policy vma       the rule of CRIU 3 and later: private anonymous memory
                     that is not locked, hugetlb, vdso, vvar or vsyscall
  --policy seed      the rule of 2016, only for CRIU 2; refused where CRIU 3
                     and later would lose memory
  --holes flag       where pages were taken out, an entry flagged only PE_LAZY
                     remains (default)
  --holes drop       no entry remains; such a dump needs criu lazy-pages on
                     DUMP, a page server does not work
  --eager-list FILE  keep the lazy pages that FILE names; its lines are
                     PID 0xADDRESS, as pagepipe serve --record writes them.
                     Such a dump needs a page server, criu lazy-pages on DUMP
                     does not work
${SINK_HELP}
${SOURCE_HELP}
  --dry-run          write nothing, only print the report
  --unsafe-policy    use --policy seed even where it is refused
  --incomplete       take a dump of which pagepipe filter has taken out pages
                     that nothing can fetch
  --json             print the report as one JSON document on stdout
`,
  flags: {
    policy: { type: 'string' },
    holes: { type: 'string' },
    eagerList: { type: 'string' },
    ...SINK_FLAGS,
    ...SOURCE_FLAGS,
    dryRun: { type: 'boolean' },
    unsafePolicy: { type: 'boolean' },
    incomplete: { type: 'boolean' },
    json: { type: 'boolean' },
  },
  cleansUp: true,
  async run(args, io) {
    const [path, out] = inputs(args, 'DUMP', 'OUT') as [string, string];
    const target = targetOf(args, out);
    const policy = choice(args, 'policy', POLICIES, 'auto');
    const holes = choice(args, 'holes', HOLES, 'flag');
    const force = args.flags['force'] === true;
    const unsafe = policy === 'seed' && flagOrForce(args, 'unsafePolicy', io);
    const dryRun = args.flags['dryRun'] === true;
    if (args.flags['eagerList'] !== undefined && holes === 'drop') {
      throw new UsageError('--eager-list needs --holes flag: a page server needs the flagged holes');
    }
    const warn = warningsTo(io);

    const keep = eagerListStages(args, io);
    const source = await openCommandSource(path, args, policy !== 'flags', io);
    const progress = new Progress(io, source.totalBytes);
    const count = tally();
    try {
      const sink = dryRun ? new SizeSink() : openSink(target, source, { force, progress: progress.add }, io);
      const stages = [
        notPartial(partialFlag(args, io)),
        classify({ policy, force: unsafe, warn }),
        ...keep,
        filter(DROP_LAZY),
        count.stage,
        rebuild({ holes }),
      ];
      await pump(source.records, stages, sink, io.signal);
      progress.done();
      const bytes = 'written' in sink ? sink.written.bytes : sink.bytes;
      const made = { path: out, kind: target.kind, policy, holes, keepsLazyPages: keep.length > 0, dryRun, bytes };
      const report = makeReport(source.reported(), made, count.spaces);
      if (args.flags['json'] === true) io.out(`${JSON.stringify(report, undefined, 2)}\n`);
      else io.err(formatReport(report));
      if ('written' in sink) warnOfParent(sink.written, out, io);
    } finally {
      progress.done();
      source.close();
    }
  },
};
