import { existsSync, realpathSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import type { Duplex } from 'node:stream';
import { DirectoryFiles } from '../containers/directory/files.js';
import { DirectorySink } from '../containers/directory/write.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import type { RecordSink } from '../dump/pump.js';
import type { DumpRecord } from '../dump/records.js';
import { DumpError, isErrno, onFile, UsageError } from '../errors.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { type Address, addressText, isLoopback } from '../serve/address.js';
import { parentDump, type ReceivedStats, receiveDump } from '../serve/receive.js';
import { type ClientEnd, FIRST_SECONDS, listen } from '../serve/server.js';
import {
  type Arguments,
  type Command,
  type Io,
  inputs,
  pageSizeFlag,
  refuseOptions,
  refuseTerminals,
} from './command.js';
import { directoryOutput } from './if-absent.js';
import { Progress } from './progress.js';
import { neverWithout, warnOfParent } from './report.js';
import { type ListenOptions, listenOptions, serveStdio } from './serve.js';

/** The page size of most machines. The protocol does not carry it. */
const USUAL_PAGE_BYTES = 4096;

export const command: Command = {
  cleansUp: true,
  outputs: directoryOutput(0),
  async run(args, io) {
    const [out] = inputs(args, 'OUT') as [string];
    const options = listenOptions(args);
    if (out === '-') checkStreamOptions(args, options, io);
    const pageSize = pageSizeFlag(args, PAGE_SIZES).pageSize ?? USUAL_PAGE_BYTES;
    const { prevImagesDir } = args.flags as { prevImagesDir?: string };
    const before = prevImagesDir === undefined ? undefined : openParent(out, prevImagesDir);
    const parent = before && parentDump(before, prevImagesDir as string, pageSize);
    const report = new Report(io, args.flags['json'] === true, out === '-' || options.stdio);
    const progress = new Progress(io, () => 0);
    const sink =
      out === '-'
        ? new PipeSink(io.stdoutFd, progress.add)
        : new DirectorySink(out, {
            force: args.flags['force'] === true,
            progress: progress.add,
            sources: before ? dumpPlaces(before) : [],
          });
    try {
      const receive = (stream: Duplex, client: string, begun: () => void): Promise<ReceivedStats> => {
        const place = { client: placeOf(client), out };
        return receiveDump(stream, sink, {
          pageSize,
          ...place,
          begun,
          signal: io.signal,
          ...(parent ? { parent } : {}),
        });
      };
      const { client, stats, seconds } = await oneClient(receive, options, report, io);
      progress.done();
      report.received(client, stats, seconds);
    } finally {
      progress.done();
      before?.close();
      // Does nothing if it is complete.
      await sink.discard();
    }
    if (!(sink instanceof DirectorySink)) return;
    if (sink.written.holePages > 0) io.warn(`${out}: ${neverWithout('directory')}`);
    warnOfParent(sink.written, out, io);
  },
};

/** Throws {@link UsageError} for options that do not go with a page stream on stdout. */
function checkStreamOptions(args: Arguments, { stdio }: ListenOptions, io: Io): void {
  if (stdio) throw new UsageError('--stdio: OUT must be a directory, because the answers go to stdout');
  refuseOptions(args, ['force', 'prevImagesDir'], ': OUT must be a directory');
  refuseTerminals(io, { stdout: true });
}

/** The dump that the one in OUT builds on. Throws {@link DumpError} if there is none. */
function openParent(out: string, link: string): DumpFiles {
  const place = resolve(out);
  const path = onFile(out, () => {
    const real = existsSync(place) ? realpathSync(place) : join(realpathSync(dirname(place)), basename(place));
    return resolve(real, link);
  });
  if (!statSync(path, { throwIfNoEntry: false })?.isDirectory()) {
    throw new DumpError('NO_PARENT', 'the directory of the previous dump does not exist', { file: path });
  }
  return new DirectoryFiles(path);
}

/** Receives from the first client of {@link listen} or {@link serveStdio} that begins a dump. */
async function oneClient(
  receive: (stream: Duplex, client: string, begun: () => void) => Promise<ReceivedStats>,
  options: ListenOptions,
  report: Report,
  io: Io,
): Promise<{ client: string; stats: ReceivedStats; seconds: number }> {
  let client: string | undefined;
  let stats: ReceivedStats | undefined;
  let failure: unknown;
  let end: ClientEnd | undefined;
  let seconds = 0;
  const serve = async (stream: Duplex, name: string, begun: () => void) => {
    const started = performance.now();
    try {
      stats = await receive(stream, name, () => {
        begun();
        client = name;
      });
      seconds = (performance.now() - started) / 1000;
      return true;
    } catch (error) {
      if (client === name || options.stdio) failure = error;
      throw error;
    }
  };
  if (options.stdio) {
    end = await serveStdio(io, serve, options.idleSeconds);
  } else {
    warnOfSenders(options, io);
    const isLast = (ended: ClientEnd) => ended.client === client;
    await listen({ ...options, maxClients: 1, firstSeconds: FIRST_SECONDS, isLast, signal: io.signal }, serve, {
      onListening: (address) => report.listening(address),
      onEnd: (ended) => {
        if (ended.client === client) end = ended;
        else report.turnedAway(ended);
      },
    });
  }
  if (client !== undefined && stats) return { client, stats, seconds };
  io.signal.throwIfAborted();
  throw reasonOf(failure, end);
}

/** Why there is no dump: the error that was thrown here, or the end of the connection. */
function reasonOf(failure: unknown, end: ClientEnd | undefined): unknown {
  const isOfConnection = typeof (failure as NodeJS.ErrnoException).code === 'string' && !(failure instanceof DumpError);
  if (!end || !(isOfConnection || (failure instanceof DumpError && end.error !== failure.message))) return failure;
  const why = end.error === 'left' ? 'the connection broke' : end.error;
  return new DumpError('PROTOCOL', `the dump did not arrive completely: ${why}`, {
    file: placeOf(end.client),
    cause: failure,
  });
}

/** The name of a client in errors. */
const placeOf = (client: string): string => (client === 'stdio' ? 'stdin' : client);

function warnOfSenders({ address, tls }: ListenOptions, io: Io): void {
  if (tls || isLoopback(address)) return;
  io.warn(`everybody who can connect to ${addressText(address)} can send a dump; --tls requires certificates`);
}

/** A stream on stdout. A reader that exits before its end is a failure, because the dump is lost then. */
class PipeSink extends StreamSink implements RecordSink {
  override write(record: DumpRecord): void {
    this.attempt(() => super.write(record));
  }

  override finish(): void {
    this.attempt(() => super.finish());
  }

  private attempt(action: () => void): void {
    try {
      action();
    } catch (cause) {
      if (!isErrno(cause, 'EPIPE')) throw cause;
      throw new DumpError('SYSTEM', 'the reader exited before the end of the dump (EPIPE)', {
        file: 'stdout',
        cause,
      });
    }
  }
}

/** Reports for people or for programs. */
class Report {
  /** @param taken whether stdout carries something else */
  constructor(
    private readonly io: Io,
    private readonly json: boolean,
    private readonly taken: boolean,
  ) {}

  listening(address: Address): void {
    if (this.json) this.line({ event: 'listening', ...address });
    else this.io.tell(`listening at ${addressText(address)}`);
  }

  turnedAway({ client, error = 'left' }: ClientEnd): void {
    if (this.json) this.line({ event: 'client', client, error });
    else this.io.tell(`${client}: ${error}`);
  }

  received(client: string, stats: ReceivedStats, seconds: number): void {
    if (this.json) {
      this.line({ event: 'received', client, ...stats, seconds });
      return;
    }
    const { spaces, pages, bytes } = stats;
    this.io.tell(
      `${client}: received ${pages} pages, ${bytes} bytes of ${spaces} address spaces in ${seconds.toFixed(2)} s`,
    );
  }

  private line(value: object): void {
    if (this.taken) this.io.record(value);
    else this.io.out(`${JSON.stringify(value)}\n`);
  }
}
