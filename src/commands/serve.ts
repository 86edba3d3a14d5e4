import type { Duplex } from 'node:stream';
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
import { type Arguments, type Command, type Flag, type Io, inputs, pageSizeFlag, partialFlag } from './command.js';

/** The longest time of Node's timers is just above it: 2^31 ms, about 25 days. */
const MAX_IDLE_SECONDS = 2_000_000;

/** Flags of every command that listens. */
export const LISTEN_FLAGS: Record<string, Flag> = {
  listen: { type: 'string' },
  stdio: { type: 'boolean' },
  idleTimeout: { type: 'number' },
  tls: { type: 'boolean' },
  tlsCacert: { type: 'string' },
  tlsCacrl: { type: 'string' },
  tlsCert: { type: 'string' },
  tlsKey: { type: 'string' },
  json: { type: 'boolean' },
};

export const command: Command = {
  name: 'serve',
  help: `Usage
  pagepipe serve DUMP [--listen HOST:PORT] [options]

Serves the pages of a dump to lazy restores by an unmodified CRIU, any number
of them, at once or one after the other. DUMP is a directory or a plain tar
archive, which is read in place.

  source$  pagepipe make-lazy dump small && rsync -a small/ dest:small/
  source$  pagepipe serve dump --listen 10.0.0.1:27000
  dest$    criu lazy-pages --page-server --address 10.0.0.1 --port 27000 \\
             -D small -W run &
  dest$    criu restore --lazy-pages -D small -W run -d

Options
  --listen HOST:PORT      address (127.0.0.1:${DEFAULT_PORT}); without --tls, everybody
                          who can connect can read the memory of the dump
  --once                  exit after the first client that closes its session
  --max-clients N         refuse further clients (64)
  --idle-timeout SECONDS  disconnect clients that neither send nor receive
                          (600; 0 for never)
  --stdio                 serve one client on stdin and stdout, for ssh, socat
                          and pagepipe connect
  --tls                   TLS with certificates on both sides, as criu --tls;
                          the default files are those of criu:
  --tls-cacert --tls-cacrl --tls-cert --tls-key FILE
  --record FILE           record which pages are faulted on, for
                          make-lazy --eager-list
  --metrics HOST:PORT     address of metrics for Prometheus
  --page-size BYTES       page size of the dumped machine (found in the dump)
  --incomplete            serve a dump of which pagepipe filter has taken out
                          pages that nothing can fetch
  --json                  print a line of JSON for each client on stdout

SIGINT and SIGTERM stop it. A client that asks for something that is not in
the dump is disconnected; the others are not affected.
`,
  flags: {
    ...LISTEN_FLAGS,
    once: { type: 'boolean' },
    maxClients: { type: 'number' },
    record: { type: 'string' },
    metrics: { type: 'string' },
    pageSize: { type: 'number' },
    incomplete: { type: 'boolean' },
  },
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
        reporter.ended(end);
        failure = end.error;
      } else {
        warnOfAddress(options.address, options.tls, io);
        const isLast = ({ closed }: ClientEnd) => once && closed;
        await listen({ ...options, maxClients, firstSeconds: FIRST_SECONDS, isLast, signal: io.signal }, serve, {
          onListening: (address) => reporter.listening(address),
          onEnd: (end) => reporter.ended(end),
        });
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

/** The values of {@link LISTEN_FLAGS}. Throws {@link UsageError}. */
export function listenOptions(args: Arguments): ListenOptions {
  const { stdio, tls, tlsCacert, tlsCacrl, tlsCert, tlsKey } = args.flags as Record<string, string | undefined> & {
    stdio?: boolean;
    tls?: boolean;
  };
  const address = addressFlag(args, 'listen');
  if (stdio && address) throw new UsageError('--listen and --stdio exclude each other');
  const paths = {
    ...(tlsCacert === undefined ? {} : { ca: tlsCacert }),
    ...(tlsCacrl === undefined ? {} : { crl: tlsCacrl }),
    ...(tlsCert === undefined ? {} : { cert: tlsCert }),
    ...(tlsKey === undefined ? {} : { key: tlsKey }),
  };
  if (!tls && Object.keys(paths).length > 0) throw new UsageError('files for TLS need --tls');
  if (tls && stdio)
    throw new UsageError('--tls and --stdio exclude each other: with --stdio the other end does the encryption');
  return {
    address: address ?? { host: '127.0.0.1', port: DEFAULT_PORT },
    stdio: stdio === true,
    idleSeconds: countFlag(args, 'idleTimeout', { fallback: 600, max: MAX_IDLE_SECONDS }),
    ...(tls ? { tls: readTlsFiles(paths) } : {}),
  };
}

export function addressFlag(args: Arguments, name: string): Address | undefined {
  const text = args.flags[name] as string | undefined;
  if (text === undefined) return undefined;
  const address = parseAddress(text);
  if (!address) throw new UsageError(`--${name}: expected HOST:PORT, found ${JSON.stringify(text)}`);
  return address;
}

function countFlag(
  args: Arguments,
  name: string,
  { fallback, min = 0, max = 2 ** 31 - 1 }: { fallback: number; min?: number; max?: number },
): number {
  const value = (args.flags[name] as number | undefined) ?? fallback;
  if (Number.isInteger(value) && value >= min && value <= max) return value;
  const option = name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
  throw new UsageError(`--${option}: expected a whole number from ${min} to ${max}, found ${value}`);
}

/** Warns of an address at which others could read the memory of the dump. */
export function warnOfAddress(address: Address, tls: TlsFiles | undefined, io: Io): void {
  if (tls || isLoopback(address)) return;
  io.err(
    `pagepipe: warning: everybody who can connect to ${addressText(address)} can read the memory of the dump; --tls requires certificates\n`,
  );
}

/** Stdin and stdout as one stream: pipes or sockets, such as those of ssh and socat. Throws {@link UsageError}. */
export function stdioStream(io: Io): Duplex {
  if (io.stdinIsTerminal || io.stdoutIsTerminal) {
    throw new UsageError('--stdio: stdin or stdout is a terminal; pagepipe connect is the other end');
  }
  try {
    return SocketPair.ofDescriptors(io.stdinFd, io.stdoutFd);
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

async function startMetrics(address: Address, io: Io): Promise<Metrics> {
  const { Metrics } = await import('../serve/metrics.js');
  const metrics = new Metrics();
  const bound = await metrics.listen(address);
  io.err(`pagepipe: metrics at http://${addressText(bound)}/metrics\n`);
  return metrics;
}
