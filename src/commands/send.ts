import prettyBytes from 'pretty-bytes';
import { pump, type Stage } from '../dump/pump.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { type Shipment, send } from '../send/near.js';
import { ConnectionError, type Landed, undelivered } from '../send/protocol.js';
import { type Destination, parseDestination, RemoteProgram } from '../send/remote-shell.js';
import { type Address, addressText, LOOPBACK } from '../serve/address.js';
import type { DumpMemory } from '../serve/memory.js';
import { openMemory } from '../serve/memory.js';
import type { Serve } from '../serve/server.js';
import { Session } from '../serve/session.js';
import { quoteWord } from '../shell.js';
import { classify } from '../stages/classify.js';
import { withoutOutside } from '../stages/drop-files.js';
import { DROP_LAZY, filter } from '../stages/filter.js';
import { notPartial } from '../stages/not-partial.js';
import { rebuild } from '../stages/rebuild.js';
import { ClientReport } from './client-report.js';
import {
  type Arguments,
  type Command,
  choice,
  type Io,
  inputs,
  pageSizeFlag,
  partialFlag,
  refuseOptions,
} from './command.js';
import { eagerListStages } from './eager-list.js';
import { Progress } from './progress.js';
import { fromPageServer, type RestoreCommands } from './restore-commands.js';
import { addressFlag, warnOfAddress } from './serve.js';
import { COMPRESSIONS } from './sink.js';
import { openCommandSource, privately, type Source } from './source.js';

/** Options that mean nothing without `--lazy`. */
const LAZY_ALONE = ['policy', 'eagerList', 'pageServer', 'keepServing'] as const;

export const command: Command = {
  cleansUp: true,
  async run(args, io) {
    const [path, place] = inputs(args, 'DUMP', 'HOST:OUT') as [string, string];
    const to = parseDestination(place);
    const plan = args.flags['lazy'] === true ? lazyPlan(args, io) : wholePlan(args);
    const memory = plan.listen ? await openMemory(path, pageSizeFlag(args, PAGE_SIZES)) : undefined;
    try {
      const source = await openCommandSource(path, args, plan.areas, io);
      plan.stages.unshift(privately(source), notPartial(partialFlag(args, io)));
      try {
        await carry(source, plan, memory, to, args, io);
      } finally {
        source.close();
      }
    } finally {
      memory?.close();
    }
  },
};

/** What is sent first, and where the rest is served. */
interface Plan {
  stages: Stage[];
  /** Whether the stages need areas. */
  areas: boolean;
  listen?: Address;
}

function wholePlan(args: Arguments): Plan {
  refuseOptions(args, LAZY_ALONE, ' needs --lazy');
  return { stages: [withoutOutside()], areas: false };
}

function lazyPlan(args: Arguments, io: Io): Plan {
  const policy = choice(args, 'policy', ['auto', 'flags', 'vma'] as const, 'auto');
  const listen = addressFlag(args, 'pageServer') ?? { host: LOOPBACK, port: 0 };
  warnOfAddress(listen, undefined, io);
  const keep = eagerListStages(args, io);
  const stages = [
    withoutOutside(),
    classify({ policy, warn: io.warn }),
    ...keep,
    filter(DROP_LAZY),
    rebuild(),
    ...undelivered(),
  ];
  return { stages, areas: policy !== 'flags', listen };
}

/** Starts the far side, and sends it the dump. */
async function carry(
  source: Source,
  { stages, listen }: Plan,
  memory: DumpMemory | undefined,
  { host, out }: Destination,
  args: Arguments,
  io: Io,
): Promise<void> {
  const compression = choice(args, 'compress', COMPRESSIONS, 'none');
  const { rsh = 'ssh', pagepipePath = 'pagepipe' } = args.flags as { rsh?: string; pagepipePath?: string };
  const words = [pagepipePath, 'accept', out];
  if (listen) words.push('--page-server', addressText(listen));
  if (args.flags['force'] === true) words.push('--force');
  const report = new Report(io, args.flags['json'] === true, host);
  const progress = new Progress(io, listen ? () => 0 : source.totalBytes);
  const shipment: Shipment = {
    ship: (sink) => pump(source.records, stages, sink, io.signal),
    compression: compression === 'none' ? undefined : compression,
    keep: args.flags['keepServing'] === true,
    progress: progress.add,
    onLanded: (landed) => {
      progress.done();
      report.landed(landed);
    },
    onEnd: (end) => report.clients.ended(end),
    ...(memory ? { serve: serving(memory, report.clients) } : {}),
  };
  const plainBytes = listen || compression !== 'none' ? 0 : source.totalBytes();
  const far = await RemoteProgram.start(rsh, host, words, plainBytes);
  try {
    await send(far.connection, host, shipment, io.signal);
    await far.end();
    report.done();
  } catch (error) {
    // The far side has the better message.
    if (error instanceof ConnectionError) await far.end();
    throw error;
  } finally {
    progress.done();
    far.kill();
  }
}

/** A page server from the memory of a dump. */
const serving =
  (memory: DumpMemory, clients: ClientReport): Serve =>
  (stream, client) => {
    const session = new Session(memory, stream);
    clients.began(client, session.stats);
    return session.run();
  };

/** Reports progress, for people or for programs. */
class Report {
  readonly clients: ClientReport;
  private lazily = false;

  constructor(
    private readonly io: Io,
    private readonly json: boolean,
    private readonly host: string,
  ) {
    this.clients = new ClientReport(io, json);
  }

  landed(landed: Landed): void {
    const { out, bytes, pageServer } = landed;
    this.lazily = pageServer !== undefined;
    const restore = restoreCommands(landed);
    if (this.json) {
      this.io.out(`${JSON.stringify({ event: 'landed', ...landed, restore })}\n`);
      return;
    }
    const size = prettyBytes(bytes, { binary: true });
    const commands = [restore.lazyPages, restore.restore]
      .filter((line) => line !== undefined)
      .map((line) => `  ${line}\n`);
    const how = pageServer ? 'these two commands' : 'this command';
    this.io.print(
      `pagepipe: ${this.host}: ${out} is there, ${size}\n` +
        `restore it there with ${how}, and the options that the dump was made with (--shell-job, --tcp-established, …):\n` +
        commands.join(''),
    );
  }

  done(): void {
    if (!this.lazily) return;
    if (this.json) this.io.out(`${JSON.stringify({ event: 'delivered' })}\n`);
    else this.io.tell(`${this.host}: all pages have been fetched`);
  }
}

/** Commands for root at the far side. */
function restoreCommands({ out, pageServer }: Landed): Partial<RestoreCommands> & Pick<RestoreCommands, 'restore'> {
  const directory = quoteWord(out);
  return pageServer ? fromPageServer(directory, pageServer) : { restore: `criu restore -D ${directory} -d` };
}
