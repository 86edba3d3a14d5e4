import { closeSync, writeSync } from 'node:fs';
import { UsageError } from '../errors.js';
import { checkApart } from '../io/apart.js';
import { AtomicFile } from '../io/atomic-file.js';
import { LazyDaemon } from '../lazy/daemon.js';
import { requireDaemonCalls } from '../lazy/daemon-calls.js';
import type { Metrics } from '../serve/metrics.js';
import { FaultRecord } from '../serve/recorder.js';
import { goToBackground, readyFd } from './background.js';
import { type Arguments, type Command, inputs } from './command.js';
import { openPagesEarly, pageOrder, RestoreReport } from './lazy-source.js';
import { openServerPages, pageServerOf } from './page-server.js';
import { addressFlag, startMetrics } from './serve.js';
import { inputPlaces } from './source.js';

export const command: Command = {
  cleansUp: true,
  endsTwice: true,
  async run(args, io) {
    const server = pageServerOf(args);
    const path = dumpOf(args, server !== undefined);
    const calls = requireDaemonCalls();
    const directory = (args.flags['workDir'] as string | undefined) ?? '.';
    if (args.flags['daemon'] === true && readyFd() === undefined) {
      await goToBackground(args, io, directory, inputPlaces(path, args, io));
      return;
    }
    const { source, places } = server
      ? await openServerPages(path, server, args, io)
      : await openPagesEarly(path, args, io);
    const { record: list } = args.flags as { record?: string };
    const metricsAddress = addressFlag(args, 'metrics');
    let record: FaultRecord | undefined;
    let metrics: Metrics | undefined;
    try {
      if (metricsAddress) metrics = await startMetrics(metricsAddress, io);
      const order = pageOrder(args, source.pageSize);
      record = list === undefined ? undefined : new FaultRecord(list, places, source.pageSize);
      const report = new RestoreReport(io, args.flags['json'] === true, source.pageSize, () => daemon.active);
      const daemon: LazyDaemon = new LazyDaemon(source, calls, {
        directory,
        keepListening: args.flags['keepListening'] === true,
        order,
        record: record && ((pid, page) => record?.add(pid, page)),
        observer: metrics && {
          copied: (pages) => metrics?.delivered(pages, pages * source.pageSize),
          fault: (milliseconds) => metrics?.faultAnswered(milliseconds),
        },
        began: () => metrics?.clientBegan(),
        signal: io.signal,
        signalAgain: io.secondSignal,
        listening: (socket) => {
          report.listening(socket);
          sayReady(args, places);
        },
        running: (restore) => report.running(restore),
        ended: (restore, error) => {
          metrics?.clientEnded(error === undefined);
          report.ended(restore, error);
        },
        finishing: (left) => report.finishing(left),
      });
      try {
        await daemon.run();
      } finally {
        report.done();
      }
      record?.commit();
    } finally {
      record?.discard();
      metrics?.close();
      source.close();
    }
  },
};

/** The dump, as an argument or as criu lazy-pages takes it. Throws {@link UsageError}. */
function dumpOf({ flags, input }: Arguments, isRestored: boolean): string {
  const { imagesDir } = flags as { imagesDir?: string };
  if (imagesDir === undefined)
    return (inputs({ flags, input: input.slice(0, 1) }, isRestored ? 'OUT' : 'DUMP') as [string])[0];
  if (input.length > 0) throw new UsageError('expected DUMP or --images-dir, found both');
  return imagesDir;
}

/** What scripts wait for: the pid file, and a byte on a descriptor. */
function sayReady(args: Arguments, places: readonly string[]): void {
  const { pidfile, statusFd } = args.flags as { pidfile?: string; statusFd?: number };
  if (pidfile !== undefined) {
    checkApart(pidfile, places);
    const file = new AtomicFile(pidfile, { mode: 0o644 });
    file.write(Buffer.from(`${process.pid}`));
    file.commit();
  }
  for (const fd of [statusFd, readyFd()]) {
    if (fd === undefined) continue;
    writeSync(fd, Buffer.of(0));
    closeSync(fd);
  }
}
