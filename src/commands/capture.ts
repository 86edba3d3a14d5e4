import { extract } from '../arrival/extract.js';
import { arrivingDump } from '../arrival/open.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { isS3Name } from '../containers/s3/address.js';
import type { FileEvents } from '../dump/events.js';
import { pump } from '../dump/pump.js';
import { DumpError, isErrno, systemError, UsageError } from '../errors.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { Capture } from '../stream-socket/capture.js';
import {
  type Arguments,
  type Command,
  type Io,
  ProgramFailed,
  pageSizeFlag,
  refuseOptions,
  refuseTerminals,
} from './command.js';
import { runCriu } from './criu.js';
import { dumpOutputs } from './if-absent.js';
import { externalFiles, ProgressLines } from './image-streamer.js';
import { Progress } from './progress.js';
import { warnOfCopy } from './report.js';
import { openCommandShards, openSink, sinkOptions, type Target, targetOf } from './sink.js';
import { budgetOf, shardFds } from './source.js';
import { type Finished, reportWritten, writtenReport } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: (args) => dumpOutputs(0)({ ...args, input: [wordsOf(args).out] }),
  async run(args, io) {
    const directory = imagesDirectory(args);
    const { out, options } = wordsOf(args);
    const target = targetOrStream(args, out, io);
    const lines = new ProgressLines(args);
    let bytesTaken = 0;
    const progress = new Progress(io, () => 0);
    const { tree } = args.flags as { tree?: number };
    const capture = await Capture.listen(directory, {
      signal: io.signal,
      warn: io.warn,
      frozen: () => lines.frozen(),
      external: externalFiles(args),
      runsScript: tree !== undefined,
      goesOn: options.some((option) => /^(-R|--leave-running)$/.test(option)),
      progress: (bytes) => {
        bytesTaken += bytes;
        progress.add(bytes);
      },
    });
    let criu: Promise<number> | undefined;
    const ready = () => {
      lines.ready();
      if (tree === undefined) {
        io.tell(`listening at ${capture.path}; criu dump --stream --action-script ${capture.script} can start`);
        return;
      }
      const own = ['--stream', '-D', directory, '-t', String(tree), '--action-script', capture.script];
      criu = runCriu(['dump', ...own, ...options], args, ['inherit', 2, 2]);
      criu.then(
        // It will not connect any more.
        (code) => capture.hasBegun || capture.fail(new ProgramFailed('criu dump', code)),
        (error) => capture.fail(error),
      );
    };
    try {
      const finished = await write(begun(capture, ready), target, directory, args, io);
      capture.succeed();
      const code = await criu;
      if (code) throw new ProgramFailed('criu dump', code);
      lines.taken(bytesTaken);
      const written = writtenReport(target, finished, false);
      reportWritten(written, [written], args, io);
      if (finished && target) warnOfCopy(finished, target, io);
    } catch (error) {
      capture.close();
      const code = await criu?.catch(() => 0);
      // It has said why.
      if (code && error instanceof DumpError && error.code === 'TRUNCATED') throw new ProgramFailed('criu dump', code);
      // The reader of the stream may have seen enough, but the dump is lost.
      throw isErrno(error, 'EPIPE') ? systemError(error, 'stdout') : error;
    } finally {
      progress.done();
      capture.close();
    }
  },
};

/** The directory of `-D`. Throws {@link UsageError} without one. */
export function imagesDirectory({ flags }: Arguments): string {
  const { imagesDir } = flags as { imagesDir?: string };
  if (imagesDir === undefined) throw new UsageError('expected -D DIR, found nothing');
  return imagesDir;
}

/** OUT, and the options for criu behind `--`. */
function wordsOf({ input, flags }: Arguments): { out: string; options: string[] } {
  const hasOut = input[0] === '-' || input[0]?.startsWith('-') === false;
  const options = input.slice(hasOut ? 1 : 0);
  if (flags['tree'] === undefined && options.length > 0) {
    throw new UsageError(`expected OUT, found one more: ${options[0]}; options for criu need -t`);
  }
  return { out: hasOut ? (input[0] as string) : '-', options };
}

/** What is written; undefined for a page stream on stdout, and for the descriptors of shards. */
function targetOrStream(args: Arguments, out: string, io: Io): Target | undefined {
  if (shardFds(args)) {
    if (out !== '-') throw new UsageError(`--shard-fds: expected no OUT, found ${out}`);
    refuseOptions(args, ['to', 'compress', 'prefix', 'force'], ': --shard-fds writes shards to descriptors');
    return undefined;
  }
  if (out !== '-' || args.flags['to'] !== undefined) return targetOf(args, out);
  refuseOptions(args, ['compress', 'prefix', 'force'], ': OUT is a page stream; --to writes another container');
  refuseTerminals(io, { stdout: true });
  return undefined;
}

/** The files of a capture. The place of the dump has been checked and opened when they are asked for. */
async function* begun(capture: Capture, ready: () => void): FileEvents {
  ready();
  yield* capture.events();
}

/** Writes the dump; returns what was written, which is not known of a page stream. */
async function write(
  events: FileEvents,
  target: Target | undefined,
  directory: string,
  args: Arguments,
  io: Io,
): Promise<Finished | undefined> {
  const options = sinkOptions(args, () => {});
  const more = { name: NAME, warn: io.warn, ...pageSizeFlag(args, PAGE_SIZES) };
  if (target?.kind === 'directory' && !isS3Name(target.place)) {
    const written = await extract(events, target.place, {
      ...options,
      ...more,
      sources: [directory],
      signal: io.signal,
    });
    return { written };
  }
  const budget = budgetOf(args);
  const fds = shardFds(args);
  const arrival = { kind: 'shards' as const, compression: undefined, name: NAME, events, close: () => {} };
  // A stage behind the page stream may need the areas.
  const { records } = arrivingDump(arrival, { ...more, areas: target === undefined && !fds, budget });
  if (!target) {
    const sink = fds ? openCommandShards(fds, options, io) : new StreamSink(io.stdoutFd);
    await pump(records, [], sink, io.signal);
    return undefined;
  }
  const sink = openSink(target, { kind: 'capture', inputs: [directory], budget }, options, io);
  await pump(records, [], sink, io.signal);
  return sink;
}

/** What arrives, in errors. */
const NAME = 'criu';
