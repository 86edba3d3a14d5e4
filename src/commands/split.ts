import { DirectorySink } from '../containers/directory/write.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import type { RecordSink } from '../dump/pump.js';
import { DumpError, isErrno, UsageError } from '../errors.js';
import { areApart } from '../io/apart.js';
import { split } from '../library/split.js';
import { type Arguments, type Command, choice, type Io, inputs, partialFlag, refuseTerminals } from './command.js';
import { eagerListOf } from './eager-list.js';
import { dumpOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { formatHalves, restoreOfHalves, warnOfParent } from './report.js';
import type { DumpPlace } from './restore-commands.js';
import { openSink, type SinkOptions, sinkOptions, type Target, targetsOf } from './sink.js';
import { budgetOf, openCommandSource, type Source } from './source.js';
import { type Finished, reportWritten, writtenReport } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: dumpOutputs(1, 2),
  async run(args, io) {
    const halves = halvesOf(args, io);
    const policy = choice(args, 'policy', ['auto', 'flags', 'vma'] as const, 'auto');
    const keep = eagerListOf(args, io);
    const budget = budgetOf(args);
    const source = await openCommandSource(halves.dump, args, policy !== 'flags', io, budget);
    const progress = new Progress(io, source.totalBytes);
    let hotIsComplete = false;
    try {
      const options = sinkOptions(args, progress.add);
      const { hot, cold } = await openHalves(halves, source, options, io);
      const hotSink: RecordSink = {
        write: (record) => hot.write(record),
        finish: async () => {
          await hot.finish();
          hotIsComplete = !options.dryRun;
        },
        discard: () => hot.discard(),
      };
      const warnOfPartial = partialFlag(args, io);
      await split(source, hotSink, cold, { policy, keep, budget, warn: io.warn, warnOfPartial, signal: io.signal });
      progress.done();
      report(halves, source, { policy, hot, cold }, args, io);
      if (hot instanceof DirectorySink) warnOfParent(hot.written, halves.hot.place, io);
    } catch (error) {
      if (hotIsComplete)
        io.warn(`${halves.hot.place} is complete, but ${halves.cold?.place ?? 'the half on stdout'} is not`);
      throw isErrno(error, 'EPIPE') ? readerGone(error) : error;
    } finally {
      progress.done();
      source.close();
    }
  },
};

interface Halves {
  dump: string;
  hot: Target;
  /** Undefined for a page stream on stdout. */
  cold: Target | undefined;
}

/** Throws {@link UsageError} for halves that overlap. */
function halvesOf(args: Arguments, io: Io): Halves {
  const toStdout = args.flags['cold'] !== undefined;
  if (toStdout && args.flags['cold'] !== '-')
    throw new UsageError('--cold takes only -; any other COLD is the third argument');
  const [dump, hot, cold] = inputs(args, ...['DUMP', 'HOT', 'COLD'].slice(0, toStdout ? 2 : 3)) as [
    string,
    string,
    string | undefined,
  ];
  if (toStdout) refuseTerminals(io, { stdout: true });
  if (hot === '-' && (cold ?? '-') === '-') throw new UsageError('only one half can go to stdout');
  if (cold !== undefined && !hot.split(',').every((one) => cold.split(',').every((other) => areApart(one, other)))) {
    throw new UsageError('HOT and COLD must be two places, neither of them inside the other');
  }
  const targets = targetsOf(args, cold === undefined ? [hot] : [hot, cold]);
  return { dump, hot: targets[0] as Target, cold: targets[1] };
}

function report(
  { dump, hot, cold }: Halves,
  source: Source,
  made: { policy: string; hot: Finished; cold: Finished | StreamSink },
  args: Arguments,
  io: Io,
): void {
  const dryRun = args.flags['dryRun'] === true;
  const hotReport = writtenReport(hot, made.hot, dryRun);
  const coldReport = writtenReport(cold, made.cold instanceof StreamSink ? undefined : made.cold, dryRun);
  const { paths: _, ...place } = source.reported().place;
  const reportedHot = { kind: hot.kind, path: hot.place, bytes: hotReport.bytes };
  const reportedCold = { place: { ...place, ...placeOf(cold) }, bytes: coldReport.bytes };
  if (dryRun || args.flags['json'] === true) {
    const { restore } = restoreOfHalves(reportedHot, reportedCold);
    reportWritten(
      { dump, policy: made.policy, hot: hotReport, cold: coldReport, restore },
      [hotReport, coldReport],
      args,
      io,
    );
  } else io.print(formatHalves(reportedHot, reportedCold));
}

/** Where the cold half is. */
function placeOf(cold: Target | undefined): DumpPlace {
  if (!cold) return { kind: 'stream', paths: [] };
  const { kind, place } = cold;
  if (place === '-') return { kind, paths: [] };
  return { kind, paths: kind === 'shards' ? place.split(',') : [place] };
}

/** Opens both before anything is read, so that a bad place is reported before anything is written. */
async function openHalves(halves: Halves, source: Source, options: SinkOptions, io: Io) {
  const open = (target: Target) => openSink(target, source, options, io);
  const hot = open(halves.hot);
  try {
    return {
      hot,
      cold:
        halves.cold || options.dryRun ? open(halves.cold ?? halves.hot) : new StreamSink(io.stdoutFd, options.progress),
    };
  } catch (error) {
    await hot.discard();
    throw error;
  }
}

/** In other commands a reader may exit early. Here the half would be lost. */
const readerGone = (cause: Error): DumpError =>
  new DumpError('SYSTEM', 'the reader exited before the end', { file: 'stdout', cause });
