import { DirectorySink } from '../containers/directory/write.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { behindStages, pump, type RecordSink } from '../dump/pump.js';
import { TeeSink } from '../dump/tee.js';
import { DumpError, isErrno, UsageError } from '../errors.js';
import { coldPart, notCold } from '../halves/cold-stage.js';
import { addOriginals } from '../halves/originals.js';
import { classify, POLICIES, type Policy } from '../stages/classify.js';
import { withoutOutside } from '../stages/drop-files.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { rebuild } from '../stages/rebuild.js';
import { type Arguments, type Command, choice, type Io, inputs, refuseTerminals } from './command.js';
import { areApart } from './halves.js';
import { Progress } from './progress.js';
import { warnOfParent } from './report.js';
import { openSink, SINK_KINDS, type SinkKind, sinkKindOf } from './sink.js';
import { budgetOf, openCommandSource, SOURCE_FLAGS, SOURCE_HELP, type Source } from './source.js';

export const command: Command = {
  name: 'split',
  help: `Usage
  pagepipe split DUMP HOT COLD
  pagepipe split DUMP HOT --cold - > STREAM

Splits a dump into two halves, each page in one of them. HOT is what make-lazy
gives: it starts at once. COLD has the lazy pages, and the images that
pagepipe serve COLD and criu lazy-pages -D COLD need. pagepipe merge HOT COLD
OUT gives back the dump, byte for byte.

HOT is complete before COLD is. From a directory or a plain archive, it is
complete before COLD begins; any other dump is read only once.

Options
  --cold -           write COLD as a page stream to stdout, for pagepipe write
  --policy POLICY    auto, flags or vma, as for make-lazy
  --to directory|tar|shards
                     what to write (tar if DUMP is an archive or the place is
                     -, otherwise directory); either HOT or COLD may be -,
                     which is stdout; separate several shards by commas
${SOURCE_HELP}
  --force            replace HOT and COLD if they are not empty
`,
  flags: {
    cold: { type: 'string' },
    policy: { type: 'string' },
    ...SOURCE_FLAGS,
    to: { type: 'string' },
    force: { type: 'boolean' },
  },
  cleansUp: true,
  async run(args, io) {
    const places = placesOf(args, io);
    const policy = choice(args, 'policy', POLICIES, 'auto');
    if (policy === 'seed') throw new UsageError('expected a policy of CRIU 3 and later, found seed');
    const budget = budgetOf(args);
    const source = await openCommandSource(places.dump, args, policy !== 'flags', io, budget);
    const progress = new Progress(io, source.totalBytes);
    const warn = (message: string) => io.err(`pagepipe: warning: ${message}\n`);
    let hotIsComplete = false;
    try {
      const { hot, cold } = await openHalves(places, source, args, progress.add, io);
      const hotSink = behindStages(hotStages(policy, hot.kind, warn), {
        write: (record) => hot.sink.write(record),
        finish: async () => {
          await hot.sink.finish();
          hotIsComplete = true;
        },
        discard: () => hot.sink.discard(),
      });
      const coldSink = behindStages([addOriginals(budget), ...coldStages(policy)], cold);
      await (source.isRandom ? inTurn : atOnce)(source, hotSink, coldSink, io);
      if (hot.sink instanceof DirectorySink) warnOfParent(hot.sink.written, places.hot, io);
    } catch (error) {
      if (hotIsComplete) warn(`${places.hot} is complete, and ${places.cold ?? 'the half on stdout'} is not`);
      throw isErrno(error, 'EPIPE') ? readerGone(error) : error;
    } finally {
      progress.done();
      source.close();
    }
  },
};

interface Places {
  dump: string;
  hot: string;
  /** None for a page stream on stdout. */
  cold: string | undefined;
}

/** Throws {@link UsageError} for halves that would be in each other's way. */
function placesOf(args: Arguments, io: Io): Places {
  const toStdout = args.flags['cold'] !== undefined;
  if (toStdout && args.flags['cold'] !== '-') throw new UsageError('--cold: expected -, COLD is the third argument');
  const [dump, hot, cold] = inputs(args, ...['DUMP', 'HOT', 'COLD'].slice(0, toStdout ? 2 : 3)) as [
    string,
    string,
    string | undefined,
  ];
  if (toStdout) refuseTerminals(io, { stdout: true });
  if (hot === '-' && (cold ?? '-') === '-') throw new UsageError('expected one half on stdout, found both');
  if (cold !== undefined && !areApart(hot, cold)) {
    throw new UsageError('expected two places for HOT and COLD, found one place, or one inside the other');
  }
  return { dump, hot, cold };
}

/** Both, before anything is read: what is wrong with a place is found while nothing is there. */
async function openHalves(places: Places, source: Source, args: Arguments, progress: (bytes: number) => void, io: Io) {
  const to = args.flags['to'] === undefined ? undefined : choice(args, 'to', SINK_KINDS, 'directory');
  const options = { force: args.flags['force'] === true, progress };
  const open = (place: string) => {
    const kind = sinkKindOf(source, place, to);
    return { kind, sink: openSink(kind, place, source, options, io) };
  };
  const hot = open(places.hot);
  try {
    return { hot, cold: places.cold === undefined ? new StreamSink(io.stdoutFd, progress) : open(places.cold).sink };
  } catch (error) {
    await hot.sink.discard();
    throw error;
  }
}

const hotStages = (policy: Policy, kind: SinkKind, warn: (message: string) => void) => [
  ...(kind === 'tar' ? [] : [withoutOutside()]),
  classify({ policy, warn }),
  filter(DROP_LAZY),
  rebuild(),
];

const coldStages = (policy: Policy) => [
  classify({ policy }),
  filter({ action: 'keep', selection: { class: 'lazy' } }),
  rebuild({ holes: 'drop' }),
  ...coldPart(),
];

/** What `write` would make of the source is what is split, and what merge gives back. */
const sourceStages = () => [notCold(), rebuild()];

/** HOT, and then COLD: the metadata is read twice, and each page once. */
async function inTurn(source: Source, hot: RecordSink, cold: RecordSink, io: Io): Promise<void> {
  try {
    await pump(source.records, sourceStages(), hot, io.signal);
  } catch (error) {
    await cold.discard();
    throw error;
  }
  await pump(source.records, sourceStages(), cold, io.signal);
}

/** Both, of a source that can be read only once. */
const atOnce = (source: Source, hot: RecordSink, cold: RecordSink, io: Io): Promise<void> =>
  pump(source.records, sourceStages(), new TeeSink(hot, cold), io.signal);

/** Elsewhere a reader that has seen enough is no failure; here a half would be missing. */
const readerGone = (cause: Error): DumpError =>
  new DumpError('SYSTEM', 'expected a reader up to the end, found it gone', { file: 'stdout', cause });
