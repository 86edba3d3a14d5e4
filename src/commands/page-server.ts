/** The page server of `lazy-pages`: at an address, or behind a command. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect as connectSocket, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import { connect as connectTls } from 'node:tls';
import { DumpError, systemError, systemReason, UsageError } from '../errors.js';
import { SocketPair } from '../io/socket-pair.js';
import { type Connect, ServerSource } from '../lazy/server-source.js';
import type { OpenPages } from '../library/lazy-pages.js';
import { type Address, addressText } from '../serve/address.js';
import type { TlsFiles } from '../serve/tls.js';
import type { Arguments, Io } from './command.js';
import { openChecked } from './lazy-source.js';
import { addressFlag, tlsFlags } from './serve.js';

export interface PageServer {
  /** For errors. */
  name: string;
  connect: Connect;
}

/** Where the options say that the pages are; undefined if that is not a page server. Throws {@link UsageError}. */
export function pageServerOf(args: Arguments): PageServer | undefined {
  const address = addressFlag(args, 'pageServer');
  const tls = tlsFlags(args);
  const isNamed = args.flags['imagesDir'] !== undefined;
  const [program, ...words] = isNamed ? args.input : args.input.slice(1);
  if (address && program !== undefined) throw new UsageError('--page-server and a command exclude each other');
  if (address) return { name: addressText(address), connect: () => connectTo(address, tls) };
  if (tls) throw new UsageError('--tls needs --page-server');
  return program === undefined ? undefined : { name: program, connect: () => startProgram(program, words) };
}

/** The pages that a dump leaves to a page server. Throws {@link DumpError}. */
export const openServerPages = (
  path: string,
  { name, connect }: PageServer,
  args: Arguments,
  io: Io,
): Promise<OpenPages> =>
  openChecked(path, args, io, (memory, files) => ServerSource.open(memory, files, name, connect), true);

async function connectTo(address: Address, tls: TlsFiles | undefined): Promise<Duplex> {
  const socket: Socket = tls ? connectTls({ ...address, ...tls }) : connectSocket(address);
  socket.setNoDelay(true);
  try {
    await once(socket, tls ? 'secureConnect' : 'connect');
    return socket;
  } catch (error) {
    socket.destroy();
    const name = addressText(address);
    const own = systemError(error, name);
    throw own instanceof DumpError
      ? own
      : new DumpError('PROTOCOL', (error as Error).message, { file: name, cause: error });
  }
}

/** Runs a command whose stdin and stdout lead to a page server. */
async function startProgram(program: string, words: readonly string[]): Promise<Duplex> {
  const child = spawn(program, words, { stdio: ['pipe', 'pipe', 'inherit'] });
  try {
    await once(child, 'spawn');
  } catch (error) {
    throw new DumpError('SYSTEM', `${program} cannot be run: ${systemReason(error)}`, { cause: error });
  }
  return new SocketPair(child.stdout as Socket, child.stdin as Socket);
}
