import { counted } from '../printable.js';
import { type Address, addressText } from '../serve/address.js';
import type { ClientEnd } from '../serve/server.js';
import type { ClientStats } from '../serve/stats.js';
import type { Io } from './command.js';

/** A line for each client, for people or for programs. */
export class ClientReport {
  private readonly stats = new Map<string, ClientStats>();

  /** @param taken whether stdout carries something else, so that lines of JSON go to stderr */
  constructor(
    private readonly io: Io,
    private readonly json: boolean,
    private readonly taken = false,
  ) {}

  listening(address: Address): void {
    if (this.json) this.line({ event: 'listening', ...address });
    else this.io.tell(`serving at ${addressText(address)}`);
  }

  began(client: string, stats: ClientStats): void {
    this.stats.set(client, stats);
  }

  /** @param endsCommand whether the error of the client is that of the command, which then reports it */
  ended({ client, closed, error }: ClientEnd, endsCommand = false): void {
    const stats = this.stats.get(client)?.summary();
    this.stats.delete(client);
    if (this.json) {
      this.line({ event: 'client', client, closed, ...(error === undefined ? {} : { error }), ...stats });
      return;
    }
    const hasStats = stats !== undefined && stats.requests > 0;
    const isSaidLater = endsCommand && error !== undefined;
    if (isSaidLater && !hasStats) return;
    const how = closed ? 'done' : isSaidLater ? 'failed' : (error ?? 'left without closing its session');
    this.io.tell(`${client}: ${how}${hasStats ? `; ${summaryText(stats)}` : ''}`);
  }

  private line(value: object): void {
    if (this.taken) this.io.record(value);
    else this.io.out(`${JSON.stringify(value)}\n`);
  }
}

function summaryText(stats: ReturnType<ClientStats['summary']>): string {
  const micros = (seconds: number | null) => `${((seconds ?? 0) * 1e6).toFixed(0)} µs`;
  return (
    `${counted(stats.pages, 'page')}, ${stats.bytes} bytes in ${counted(stats.requests, 'request')} ` +
    `(${counted(stats.faults, 'fault')}, ` +
    `${stats.background} background), ${stats.seconds.toFixed(2)} s, answers p50 ${micros(stats.answerP50)}, ` +
    `p99 ${micros(stats.answerP99)}`
  );
}
