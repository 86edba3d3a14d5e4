/**
 * Joins the reports of all slices of a dump to the report of a run that was not cut, byte for byte, with its exit code.
 * Reports that are missing, come twice, or are of another dump or another question are refused.
 */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { MAX_SLICES } from '../dump/slice.js';
import { DumpError, onFile, UsageError } from '../errors.js';
import { isSliceTotals, MapJoin } from '../map/join.js';
import type { SliceTotals } from '../map/trace.js';
import { printable } from '../printable.js';
import { type Finding, MAX_FINDINGS_PER_FILE } from '../verify/findings.js';
import type { OrderedFinding } from '../verify/part.js';
import type { Verdict } from '../verify/verify.js';
import { AnswerIsNo, type Command, type Io } from './command.js';
import { Unsearched } from './search.js';
import { SLICED, type SlicedCommand, type SliceLine } from './slice.js';
import { damaged, summaryObject } from './verify.js';

/** Longest line of a report. A match has at most 64 KiB on each side, in hex. */
const MAX_LINE_BYTES = 2 ** 20;
const CHUNK_BYTES = 2 ** 18;

interface Report extends SliceLine, Verdict, SliceTotals {
  file: string;
  /** Of a search. */
  matches: number;
  count: boolean;
  lazy: number;
  parent: number;
}

export const command: Command = {
  async run(args, io) {
    if (args.input.length === 0) throw new UsageError('expected FILE ..., found nothing');
    const reports = inOrder(args.input.map(reportOf));
    JOIN[(reports[0] as Report).command](reports, io);
  },
};

/** The last line of a report. Throws {@link DumpError} MALFORMED if it is none, as of a run that has not ended. */
function reportOf(file: string): Report {
  return onFile(file, () => {
    const fd = openSync(file, 'r');
    try {
      const { size } = fstatSync(fd);
      const end = Buffer.alloc(Math.min(size, MAX_LINE_BYTES));
      const text = end.subarray(0, readSync(fd, end, 0, end.length, size - end.length)).toString();
      const line = text.endsWith('\n') ? text.slice(text.lastIndexOf('\n', text.length - 2) + 1) : '';
      const report = objectOf(line, file) as unknown as Report;
      const { event, command: name, slice, of, dump, asked, path } = report;
      const isReport =
        event === 'slice' &&
        SLICED.includes(name) &&
        isCount(slice) &&
        isCount(of) &&
        slice >= 1 &&
        slice <= of &&
        of <= MAX_SLICES &&
        [dump, asked, path].every((word) => typeof word === 'string') &&
        HAS_TOTALS[name](report);
      if (!isReport) throw notAReport(file);
      return { ...report, file };
    } finally {
      closeSync(fd);
    }
  });
}

/** Whether the last line has what this command counts. */
const HAS_TOTALS: Record<SlicedCommand, (report: Report) => boolean> = {
  verify: ({ errors, warnings, files }) => [errors, warnings, files].every(isCount),
  search: ({ matches, lazy, parent }) => [matches, lazy, parent].every(isCount),
  map: (report) => isSliceTotals({ ...report }),
};

const JOIN: Record<SlicedCommand, (reports: readonly Report[], io: Io) => void> = {
  verify: joinVerify,
  search: joinSearch,
  map: joinMap,
};

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

const notAReport = (file: string): DumpError =>
  new DumpError('MALFORMED', 'expected the report of a slice, found something else, or a report that was cut off', {
    file,
  });

function objectOf(line: string, file: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Record<string, unknown>;
  } catch {}
  throw notAReport(file);
}

/** Throws {@link DumpError} NOT_SLICES unless they are all slices of one dump. */
function inOrder(reports: Report[]): Report[] {
  const first = reports[0] as Report;
  const bySlice: Report[] = [];
  for (const report of reports) {
    const { file, slice } = report;
    for (const [field, what] of SAME) {
      if (report[field] === first[field]) continue;
      throw new DumpError('NOT_SLICES', `it has ${what} than ${first.file}`, { file });
    }
    const other = bySlice[slice];
    if (other) throw new DumpError('NOT_SLICES', `it is slice ${slice}, and so is ${other.file}`, { file });
    bySlice[slice] = report;
  }
  for (let slice = 1; slice <= first.of; slice++) {
    if (!bySlice[slice]) throw new DumpError('NOT_SLICES', `the report of slice ${slice} of ${first.of} is missing`);
  }
  return bySlice.slice(1);
}

const SAME = [
  ['command', 'another command'],
  ['of', 'another number of slices'],
  ['dump', 'another dump'],
  ['asked', 'other options'],
] as const satisfies readonly [keyof Report, string][];

/** The lines of a report but the last one. */
function* linesOf({ file }: Report): Generator<Record<string, unknown>> {
  const fd = onFile(file, () => openSync(file, 'r'));
  try {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let rest = Buffer.alloc(0);
    let line: string | undefined;
    for (;;) {
      const count = onFile(file, () => readSync(fd, chunk, 0, chunk.length, null));
      if (count === 0) return;
      rest = Buffer.concat([rest, chunk.subarray(0, count)]);
      for (let end = rest.indexOf(0x0a); end >= 0; end = rest.indexOf(0x0a)) {
        if (line !== undefined) yield objectOf(line, file);
        line = rest.toString('utf8', 0, end);
        rest = rest.subarray(end + 1);
      }
      if (rest.length > MAX_LINE_BYTES) throw notAReport(file);
    }
  } finally {
    closeSync(fd);
  }
}

const put = (value: object, io: Io): void => {
  const line = JSON.stringify(value);
  io.out(`${io.stdoutIsTerminal ? printable(line) : line}\n`);
};

function joinSearch(reports: readonly Report[], io: Io): void {
  const counts = new Map<string, { place: object; matches: number }>();
  const unsearched = new Unsearched();
  let total = 0;
  for (const report of reports) {
    let matches = 0;
    for (const line of linesOf(report)) {
      if (!report.count) {
        matches++;
        put(line, io);
        continue;
      }
      const { matches: found, ...place } = line;
      if (!isCount(found)) throw notAReport(report.file);
      matches += found;
      const key = JSON.stringify(place);
      const known = counts.get(key) ?? { place, matches: 0 };
      known.matches += found;
      counts.set(key, known);
    }
    if (matches !== report.matches) throw notAReport(report.file);
    total += matches;
    // Each slice has counted those of all.
    Object.assign(unsearched, { lazy: report.lazy, parent: report.parent });
  }
  for (const { place, matches } of counts.values()) put({ ...place, matches }, io);
  if ((reports[0] as Report).count) put({ event: 'summary', matches: total }, io);
  unsearched.report(io);
  if (total === 0) throw new AnswerIsNo();
}

function joinVerify(reports: readonly Report[], io: Io): void {
  const findings = reports.flatMap((report) => Array.from(linesOf(report), (line) => findingOf(line, report.file)));
  findings.sort((a, b) => a.order - b.order);
  /** Of each file, those that were only counted. */
  const files = new Map<string, { reported: number; rest: number; error: boolean }>();
  for (const { order: _, ...finding } of findings) {
    const known = files.get(finding.file) ?? { reported: 0, rest: 0, error: false };
    files.set(finding.file, known);
    const more = finding.code === 'MORE' ? Number(/\d+/.exec(finding.message)?.[0]) : 0;
    if (more === 0 && known.reported < MAX_FINDINGS_PER_FILE) {
      known.reported++;
      put(finding, io);
    } else {
      known.rest += more || 1;
      known.error ||= finding.severity === 'error';
    }
  }
  for (const [file, { rest, error }] of files) {
    if (rest > 0) put({ code: 'MORE', severity: error ? 'error' : 'warning', file, message: `and ${rest} more` }, io);
  }
  const sum = (field: 'errors' | 'warnings') => reports.reduce((all, report) => all + report[field], 0);
  const { files: count, summedBlocks, path } = reports[0] as Report;
  const verdict: Verdict = {
    errors: sum('errors'),
    warnings: sum('warnings'),
    files: count,
    ...(summedBlocks === undefined ? {} : { summedBlocks }),
  };
  put(summaryObject(verdict), io);
  if (verdict.errors > 0) throw damaged(verdict, path);
}

function joinMap(reports: readonly Report[], io: Io): void {
  const join = new MapJoin(reports[0] as Report);
  for (const report of reports) {
    join.totals(report);
    let lines = 0;
    for (const line of linesOf(report)) {
      lines++;
      if (!join.line(line)) throw notAReport(report.file);
    }
    if (lines !== report.lines) throw notAReport(report.file);
  }
  put(join.map(), io);
}

function findingOf(line: Record<string, unknown>, file: string): OrderedFinding {
  const { order, severity, message, file: place } = line;
  const isFinding =
    isCount(order) &&
    (severity === 'error' || severity === 'warning') &&
    typeof message === 'string' &&
    typeof place === 'string';
  if (!isFinding) throw notAReport(file);
  return line as unknown as Finding & { order: number };
}
