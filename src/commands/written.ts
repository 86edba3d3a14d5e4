/** What a command wrote, or would write: the reports of copy, write, merge and split. */
import prettyBytes from 'pretty-bytes';
import type { Written } from '../containers/written.js';
import type { Compression } from '../io/compression.js';
import type { Arguments, Io } from './command.js';
import type { Copied } from './report.js';
import type { SinkKind, Target } from './sink.js';

export interface WrittenReport {
  /** As on the command line; `-` is stdout. */
  out: string;
  kind: SinkKind | 'stream';
  compression?: Compression;
  dryRun: boolean;
  /** Of all files of the dump; unknown for a stream. */
  bytes?: number;
  /** Pages whose bytes a restore must fetch. */
  lazyPages?: number;
  /** Whether pages were taken out that nothing can fetch. */
  partial?: boolean;
}

/** A sink that is finished. */
export type Finished = { written: Written } | (Copied & { bytes: number });

/** The report of one place. Without a target it is the page stream on stdout. */
export function writtenReport(
  target: Pick<Target, 'place' | 'kind' | 'compression'> | undefined,
  sink: Finished | undefined,
  dryRun: boolean,
): WrittenReport {
  const { place: out, kind, compression } = target ?? { place: '-', kind: 'stream' as const, compression: undefined };
  const amounts = sink && ('written' in sink ? sink.written : sink);
  return {
    out,
    kind,
    ...(compression ? { compression } : {}),
    dryRun,
    ...(amounts ? { bytes: amounts.bytes, lazyPages: amounts.holePages, partial: amounts.isPartial } : {}),
  };
}

/** With `--json` prints a report, with `--dry-run` says how much would be written, and otherwise nothing. */
export function reportWritten(report: object, written: readonly WrittenReport[], args: Arguments, io: Io): void {
  if (args.flags['json'] === true) {
    printJson(
      report,
      written.map(({ out }) => out),
      io,
    );
    return;
  }
  for (const { out, bytes, dryRun } of written) {
    if (dryRun && bytes !== undefined) io.tell(`${out}: ${prettyBytes(bytes, { binary: true })} would be written`);
  }
}

/** Prints a result as JSON: on stdout, or as a line on stderr if one of the places is stdout. */
export function printJson(result: object, places: readonly string[], io: Io): void {
  if (places.some((place) => place.split(',').includes('-'))) io.record(result);
  else io.out(`${JSON.stringify(result, undefined, 2)}\n`);
}
