import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { DumpError, systemReason, UsageError } from '../errors.js';
import { bridge } from '../io/bridge.js';
import { oneLine } from '../printable.js';
import { addressText } from '../serve/address.js';
import { listen } from '../serve/server.js';
import type { Command } from './command.js';
import { addressFlag } from './serve.js';

export const command: Command = {
  name: 'connect',
  help: `Usage
  pagepipe connect [--listen HOST:PORT] [--once] -- COMMAND ...

Listens on a local port for a page server that a command reaches. For each
client it runs COMMAND and connects the client to its stdin and stdout. The
port is printed to stderr when clients can connect.

Options
  --listen HOST:PORT  address (a free port of 127.0.0.1)
  --once              exit after the first client

Example
  pagepipe connect --listen 127.0.0.1:27000 -- \\
    ssh source pagepipe serve dump --stdio &
  criu lazy-pages --page-server --address 127.0.0.1 --port 27000 \\
    -D small -W run &
`,
  flags: { listen: { type: 'string' }, once: { type: 'boolean' } },
  cleansUp: true,
  async run(args, io) {
    const [program, ...words] = args.input;
    if (program === undefined) throw new UsageError('expected a command after --, found nothing');
    const address = addressFlag(args, 'listen') ?? { host: '127.0.0.1', port: 0 };
    const once = args.flags['once'] === true;
    const serve = async (stream: Duplex) => {
      await pipeTo(stream, program, words);
      return true;
    };
    let failure: string | undefined;
    await listen({ address, maxClients: 64, idleSeconds: 0, isLast: () => once, signal: io.signal }, serve, {
      onListening: (bound) => io.err(`pagepipe: listening at ${addressText(bound)}\n`),
      onEnd: ({ client, error }) => {
        failure = error;
        if (error !== undefined) io.err(`pagepipe: ${client}: ${oneLine(error)}\n`);
      },
    });
    if (once && failure !== undefined) throw new DumpError('PROTOCOL', failure);
  },
};

/** Runs a command with a client on its stdin and stdout. Throws if the command cannot be run or fails. */
async function pipeTo(stream: Duplex, program: string, words: readonly string[]): Promise<void> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  const ended = once(child, 'exit') as Promise<[code: number | null, signal: NodeJS.Signals | null]>;
  try {
    await once(child, 'spawn');
  } catch (error) {
    ended.catch(() => {});
    throw new Error(`${program} cannot be run: ${systemReason(error)}`);
  }
  try {
    await bridge(stream, child.stdin, child.stdout);
  } catch (error) {
    child.kill();
    throw error;
  }
  const [code, signal] = await ended;
  if (code !== 0) throw new Error(`${program} ended with ${signal ?? `exit code ${code}`}`);
}
