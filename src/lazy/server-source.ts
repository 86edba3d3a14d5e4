/**
 * Pages that a page server has. What is missing is known from the dump that is restored: its pagemaps flag it.
 *
 * There are two connections. One is for faults, so that they do not wait behind what is delivered in the background. A server
 * that takes only one client, as that of CRIU does, gets all requests over one.
 */
import type { Duplex } from 'node:stream';
import type { DumpFiles } from '../dump/files.js';
import type { DumpError } from '../errors.js';
import type { AddressSpace } from '../memory/space.js';
import type { MessageForm } from '../protocol/page-server.js';
import type { DumpMemory } from '../serve/memory.js';
import { lazyAreas, lazyRuns } from './dump-source.js';
import type { LazyRuns } from './lazy-runs.js';
import { PageClient } from './page-client.js';
import type { RemoteSource } from './page-source.js';

/** Connects to the page server once more. */
export type Connect = () => Promise<Duplex>;

/** What is asked for in the background and has not come: enough to fill a network of 1 Gbit/s and 20 ms, in bytes. */
const IN_FLIGHT_BYTES = 4 * 1024 * 1024;
/**
 * The same while the tasks wait for pages, and for so many ms after it. Both connections may go through one wire, where a page
 * that is waited for has to wait for what is on its way before it.
 */
const IN_FLIGHT_AT_FAULTS_BYTES = 512 * 1024;
const FAULTS_MS = 50;
/** CRIU from 4.2 on, then up to 4.1. The server of pagepipe understands both. */
const FORMS = [32, 24] as const;

export class ServerSource implements RemoteSource {
  readonly pageSize: number;
  onPages: RemoteSource['onPages'];
  onChange: RemoteSource['onChange'];
  failure: unknown;
  private readonly known: ReadonlyMap<number, LazyRuns>;
  private background: PageClient | undefined;
  private forFaults: PageClient | undefined;
  private faultedAt = Number.NEGATIVE_INFINITY;

  private constructor(
    private readonly memory: DumpMemory,
    files: DumpFiles,
    private readonly name: string,
  ) {
    this.pageSize = memory.pageSize;
    this.known = new Map(
      memory.pids.map((pid) => {
        const areas = lazyAreas(files, pid, memory.pageSize);
        return [pid, lazyRuns(memory.space(pid) as AddressSpace, areas, 'lazy')];
      }),
    );
  }

  /**
   * Connects, and asks for one page: so a server that does not have this dump is found before a task depends on it.
   * @param memory of `files`, the dump that is restored; closed with the source
   * @param name of the server, for errors
   * @throws {DumpError} PROTOCOL, SYSTEM
   */
  static async open(memory: DumpMemory, files: DumpFiles, name: string, connect: Connect): Promise<ServerSource> {
    const source = new ServerSource(memory, files, name);
    const first = [...source.known].find(([, { length }]) => length > 0);
    if (!first) return source;
    const [pid, { pageNumbers }] = first;
    let failure: unknown;
    for (const form of FORMS) {
      const client = new PageClient(await connect(), form, memory.pageSize, name);
      try {
        await source.probe(client, { pid, page: pageNumbers[0] as number, pages: 1 });
        source.background = client;
        await source.second(connect, form);
        return source;
      } catch (error) {
        client.close();
        failure = error;
      }
    }
    throw failure;
  }

  /**
   * The same without that page, for a server that is known to have this dump.
   * @param connections to a server of pagepipe: for what is asked for in the background, and for faults
   */
  static over(
    memory: DumpMemory,
    files: DumpFiles,
    name: string,
    connections: readonly [Duplex, Duplex],
  ): ServerSource {
    const source = new ServerSource(memory, files, name);
    const [background, forFaults] = connections.map(
      (stream) => new PageClient(stream, FORMS[0], memory.pageSize, name),
    );
    source.background = background;
    source.run(background as PageClient, () => {});
    source.useForFaults(forFaults as PageClient);
    return source;
  }

  /** Resolves when the first page has come. Its pages are passed on from then on. */
  private probe(client: PageClient, wanted: { pid: number; page: number; pages: number }): Promise<void> {
    client.ask(wanted);
    return new Promise((resolve, reject) => {
      this.run(
        client,
        (error) => reject(error),
        () => resolve(),
      );
    });
  }

  /** Another connection, if the server takes one. */
  private async second(connect: Connect, form: MessageForm): Promise<void> {
    try {
      this.useForFaults(new PageClient(await connect(), form, this.pageSize, this.name));
    } catch {
      // The only connection does it all.
    }
  }

  private useForFaults(client: PageClient): void {
    this.forFaults = client;
    // Without it the other connection takes over.
    this.run(client, () => {
      if (this.forFaults === client) this.forFaults = undefined;
      for (const wanted of client.unanswered) this.background?.ask(wanted);
    });
  }

  private run(client: PageClient, failed: (error: DumpError) => void, came?: () => void): void {
    let isFirst = came !== undefined;
    client
      .run((pid, page, bytes) => {
        if (isFirst) came?.();
        else this.onPages?.(pid, page, bytes);
        isFirst = false;
      })
      .catch((error) => {
        failed(error);
        if (client === this.background) {
          this.failure = error;
          this.onChange?.();
        }
      });
  }

  runs(pid: number): LazyRuns | undefined {
    return this.known.get(pid);
  }

  ask(pid: number, page: number, pages: number, isFault: boolean): boolean {
    if (this.failure) throw this.failure;
    const { background } = this;
    if (!background) return false;
    if (isFault) {
      this.faultedAt = performance.now();
      (this.forFaults ?? background).ask({ pid, page, pages });
      return true;
    }
    if (background.pendingPages * this.pageSize >= this.mostInFlight()) return false;
    background.ask({ pid, page, pages });
    return true;
  }

  private mostInFlight(): number {
    return performance.now() - this.faultedAt < FAULTS_MS ? IN_FLIGHT_AT_FAULTS_BYTES : IN_FLIGHT_BYTES;
  }

  close(): void {
    this.background?.close();
    this.forFaults?.close();
    this.memory.close();
  }
}
