import type { Duplex } from 'node:stream';
import { dashed, type OptionName } from '../command-line/options.js';
import { DumpError, UsageError } from '../errors.js';
import { SocketPair } from '../io/socket-pair.js';
import { PAGE_SIZES } from '../memory/runs.js';
import type { Message } from '../protocol/page-server.js';
import { type Address, addressText, DEFAULT_PORT, isLoopback, parseAddress } from '../serve/address.js';
import { openMemory } from '../serve/memory.js';
import type { Metrics } from '../serve/metrics.js';
import { Recorder } from '../serve/recorder.js';
import { type ClientEnd, CUT_OFF, FIRST_SECONDS, listen, runClient, type Serve } from '../serve/server.js';
import { Session } from '../serve/session.js';
import { readTlsFiles, type TlsFiles } from '../serve/tls.js';
import { refusePartial } from '../stages/not-partial.js';
import { ClientReport } from './client-report.js';
import { type Arguments, type Command, type Io, inputs, pageSizeFlag, partialFlag } from './command.js';

/** Just below the longest time of Node's timers: 2^31 ms, about 25 days. */
const MAX_IDLE_SECONDS = 2_000_000;

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const options = listenOptions(args);
    const metricsAddress = addressFlag(args, 'metrics');
    const once = args.flags['once'] === true;
    const maxClients = countFlag(args, 'maxClients', { fallback: 64, min: 1 });
    const memory = await openMemory(path, pageSizeFlag(args, PAGE_SIZES));
    const { record: list } = args.flags as { record?: string };
    const recorder = list === undefined ? undefined : new Recorder(list, memory);
    let metrics: Metrics | undefined;
    try {
      if (memory.isPartial) refusePartial(partialFlag(args, io));
      if (metricsAddress) metrics = await startMetrics(metricsAddress, io);
      const reporter = new ClientReport(io, args.flags['json'] === true, options.stdio);
      const serve = async (stream: Duplex, client: string, begun: () => void) => {
        const record = recorder?.client();
        let hasBegun = false;
        const session = new Session(memory, stream, {
          began() {
            begun();
            hasBegun = true;
            metrics?.clientBegan();
          },
          answered(request: Message, pages: number, milliseconds: number) {
            record?.(request);
            metrics?.answered(request, pages, pages * memory.pageSize, milliseconds);
          },
        });
        reporter.began(client, session.stats);
        let closed = false;
        try {
          closed = await session.run();
          return closed;
        } finally {
          if (hasBegun) metrics?.clientEnded(closed);
        }
      };
      let failure: string | undefined;
      if (options.stdio) {
        const end = await serveStdio(io, serve, options.idleSeconds);
        reporter.ended(end, true);
        failure = end.error;
      } else {
        warnOfAddress(options.address, options.tls, io);
        const isLast = ({ closed }: ClientEnd) => once && closed;
        await listen(
          { ...options, maxClients, firstSeconds: FIRST_SECONDS, isDirect: true, isLast, signal: io.signal },
          serve,
          {
            onListening: (address) => reporter.listening(address),
            onEnd: (end) => reporter.ended(end),
          },
        );
      }
      // Includes the faults of a restore that was cut off.
      recorder?.commit();
      if (failure !== undefined) throw new DumpError('PROTOCOL', failure, { file: 'stdin' });
    } finally {
      recorder?.discard();
      metrics?.close();
      memory.close();
    }
  },
};

export interface ListenOptions {
  address: Address;
  stdio: boolean;
  idleSeconds: number;
  tls?: TlsFiles;
}

/** The options of a command that listens. Throws {@link UsageError}. */
export function listenOptions(args: Arguments): ListenOptions {
  const { stdio } = args.flags as { stdio?: boolean };
  const address = addressFlag(args, 'listen');
  if (stdio && address) throw new UsageError('--listen and --stdio exclude each other');
  if (args.flags['tls'] === true && stdio)
    throw new UsageError('--tls and --stdio exclude each other: with --stdio the other end does the encryption');
  const files = tlsFlags(args);
  return {
    address: address ?? { host: '127.0.0.1', port: DEFAULT_PORT },
    stdio: stdio === true,
    idleSeconds: countFlag(args, 'idleTimeout', { fallback: 600, max: MAX_IDLE_SECONDS }),
    ...(files ? { tls: files } : {}),
  };
}

/** The files of --tls; undefined without it. Throws {@link UsageError}, {@link DumpError}. */
export function tlsFlags(args: Arguments): TlsFiles | undefined {
  const { tls, tlsCacert, tlsCacrl, tlsCert, tlsKey } = args.flags as Record<string, string | undefined>;
  const paths = {
    ...(tlsCacert === undefined ? {} : { ca: tlsCacert }),
    ...(tlsCacrl === undefined ? {} : { crl: tlsCacrl }),
    ...(tlsCert === undefined ? {} : { cert: tlsCert }),
    ...(tlsKey === undefined ? {} : { key: tlsKey }),
  };
  if (!tls && Object.keys(paths).length > 0) throw new UsageError('files for TLS need --tls');
  return tls ? readTlsFiles(paths) : undefined;
}

export function addressFlag(args: Arguments, name: OptionName): Address | undefined {
  const text = args.flags[name] as string | undefined;
  if (text === undefined) return undefined;
  const address = parseAddress(text);
  if (!address) throw new UsageError(`${dashed(name)}: expected HOST:PORT, found ${JSON.stringify(text)}`);
  return address;
}

function countFlag(
  args: Arguments,
  name: OptionName,
  { fallback, min = 0, max = 2 ** 31 - 1 }: { fallback: number; min?: number; max?: number },
): number {
  const value = (args.flags[name] as number | undefined) ?? fallback;
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  throw new UsageError(`${dashed(name)}: expected a whole number from ${min} to ${max}, found ${value}`);
}

/** Warns of an address at which others could read the memory of the dump. */
export function warnOfAddress(address: Address, tls: TlsFiles | undefined, io: Io): void {
  if (tls || isLoopback(address)) return;
  io.warn(
    `everybody who can connect to ${addressText(address)} can read the memory of the dump; --tls requires certificates`,
  );
}

/** Stdin and stdout as one stream: pipes or sockets, such as those of ssh and socat. Throws {@link UsageError}. */
export const stdioStream = (io: Io): Duplex => overStdio(io, SocketPair.ofDescriptors);

/** The same by a given function. */
export function overStdio<T>(io: Io, open: (inputFd: number, outputFd: number) => T): T {
  if (io.stdinIsTerminal || io.stdoutIsTerminal) {
    throw new UsageError('--stdio: stdin or stdout is a terminal; pagepipe connect is the other end');
  }
  try {
    return open(io.stdinFd, io.stdoutFd);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_INVALID_FD_TYPE') throw error;
    throw new UsageError('--stdio: stdin or stdout is a file, not a pipe or socket');
  }
}

/** Serves the one client on stdin and stdout. */
export async function serveStdio(io: Io, serve: Serve, idleSeconds: number): Promise<ClientEnd> {
  const stream = stdioStream(io);
  const stop = () => stream.destroy();
  io.signal.addEventListener('abort', stop);
  if (io.signal.aborted) stop();
  const end = await runClient(stream, 'stdio', serve, idleSeconds);
  io.signal.removeEventListener('abort', stop);
  return io.signal.aborted && !end.closed ? { ...end, error: CUT_OFF } : end;
}

export async function startMetrics(address: Address, io: Io): Promise<Metrics> {
  const { Metrics } = await import('../serve/metrics.js');
  const metrics = new Metrics();
  const bound = await metrics.listen(address);
  io.tell(`metrics at http://${addressText(bound)}/metrics`);
  return metrics;
}
