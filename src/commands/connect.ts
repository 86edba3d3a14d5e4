import { spawn } from 'node:child_process';
import { once } from 'node:events';
import type { Duplex } from 'node:stream';
import { DumpError, systemReason, UsageError } from '../errors.js';
import { bridge } from '../io/bridge.js';
import { addressText, DEFAULT_PORT, LOOPBACK } from '../serve/address.js';
import { listen } from '../serve/server.js';
import type { Command } from './command.js';
import { addressFlag } from './serve.js';

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const [program, ...words] = args.input;
    if (program === undefined) throw new UsageError('expected a command after --, found nothing');
    const address = addressFlag(args, 'listen') ?? { host: LOOPBACK, port: DEFAULT_PORT };
    const once = args.flags['once'] === true;
    const json = args.flags['json'] === true;
    const event = (value: object) => io.out(`${JSON.stringify(value)}\n`);
    const serve = async (stream: Duplex) => {
      await pipeTo(stream, program, words);
      return true;
    };
    let failure: string | undefined;
    await listen({ address, maxClients: 64, idleSeconds: 0, isLast: () => once, signal: io.signal }, serve, {
      onListening: (bound) => {
        if (json) event({ event: 'listening', ...bound });
        else io.tell(`listening at ${addressText(bound)}`);
      },
      onEnd: ({ client, closed, error }) => {
        if (json) event({ event: 'client', client, closed, error });
        if (error === undefined) return;
        // With --once it is the error of the command.
        if (once) failure = `${client}: ${error}`;
        else if (!json) io.tell(`${client}: ${error}`);
      },
    });
    if (failure !== undefined) throw new DumpError('PROTOCOL', failure);
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
