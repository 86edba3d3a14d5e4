import { UsageError } from '../errors.js';
import { pump, type RecordSink } from '../pump.js';
import type { DumpRecord } from '../records.js';
import { DirectorySink } from '../sink/directory.js';
import { Dump } from '../source/directory.js';
import { classify, POLICIES } from '../stages/classify.js';
import { coldPart, ORIGINALS } from '../stages/cold.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { rebuild } from '../stages/rebuild.js';
import { PAGE_SIZES } from '../stream/format.js';
import { StreamSink } from '../stream/stream.js';
import { type Command, choice, inputs, pageSizeFlag, refuseTerminals } from './command.js';

export const command: Command = {
  name: 'split',
  help: `Usage
  pagepipe split DUMP HOT COLD
  pagepipe split DUMP HOT --cold - > STREAM

Splits a dump in two: HOT is what make-lazy gives, and starts at once; COLD holds the lazy pages, and the images that
pagepipe serve COLD and criu lazy-pages -D COLD need. Each page is in one of the two. HOT is complete before COLD begins.
pagepipe merge HOT COLD OUT gives back the dump, byte for byte.

Options
  --cold -           COLD as a page stream on stdout, for pagepipe write at the other end
  --policy POLICY    as for make-lazy: auto, flags, vma
  --page-size BYTES  page size of the dumped machine (found out from the dump)
  --force            replace HOT and COLD if they are not empty
`,
  flags: {
    cold: { type: 'string' },
    policy: { type: 'string' },
    pageSize: { type: 'number' },
    force: { type: 'boolean' },
  },
  cleansUp: true,
  async run(args, io) {
    const toStdout = args.flags['cold'] !== undefined;
    if (toStdout && args.flags['cold'] !== '-')
      throw new UsageError('--cold: expected -, a directory is the third argument');
    const names = toStdout ? ['DUMP', 'HOT'] : ['DUMP', 'HOT', 'COLD'];
    const [path, hot, cold] = inputs(args, ...names) as [string, string, string];
    if (toStdout) refuseTerminals(io, { stdout: true });
    const policy = choice(args, 'policy', POLICIES, 'auto');
    if (policy === 'seed') throw new UsageError('expected a policy of CRIU 3 and later, found seed');
    const force = args.flags['force'] === true;
    const warn = (message: string) => io.err(`pagepipe: warning: ${message}\n`);
    const dump = new Dump(path, { ...pageSizeFlag(args, PAGE_SIZES), warn });
    try {
      const hotStages = [classify({ policy, warn }), filter(DROP_LAZY), rebuild()];
      await pump(dump.records(), hotStages, new DirectorySink(hot, { force, source: path }), io.signal);
      const sink: RecordSink = toStdout
        ? new StreamSink(io.stdoutFd)
        : new DirectorySink(cold, { force, source: path });
      const keepLazy = filter({ action: 'keep', selection: { class: 'lazy' } });
      const coldStages = [classify({ policy }), keepLazy, rebuild({ holes: 'drop' }), coldPart()];
      await pump(coldRecords(dump), coldStages, sink, io.signal);
    } finally {
      dump.close();
    }
  },
};

/** The records of a dump, with its pagemaps as files as well. */
function* coldRecords(dump: Dump): Generator<DumpRecord> {
  for (const record of dump.records()) {
    yield record;
    if (record.type !== 'header') continue;
    yield { type: 'file', kind: 'directory', name: ORIGINALS, mode: record.directoryMode, size: 0, checked: false };
    for (const { pagemap } of dump.spaces) yield* dump.fileAs(pagemap, `${ORIGINALS}/${pagemap}`);
  }
}
