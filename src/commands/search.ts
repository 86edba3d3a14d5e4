import { CountedFiles } from '../dump/counted.js';
import type { DumpFiles } from '../dump/files.js';
import { UsageError } from '../errors.js';
import { TextOutput } from '../explore/output.js';
import { type MemorySpan, TaskMemories } from '../explore/task-memory.js';
import { FdWriter } from '../io/fd.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted, oneLine, printable } from '../printable.js';
import { matcherOf, type Pattern } from '../search/pattern.js';
import { type SearchHit, type SearchOptions, type SecretHit, searchSecrets, searchWith } from '../search/search.js';
import {
  AnswerIsNo,
  type Arguments,
  type Command,
  type Io,
  inputs,
  pageSizeFlag,
  refuseOptions,
  selected,
} from './command.js';
import { Progress } from './progress.js';
import { openForSlice, sliceFlag, sliceLine } from './slice.js';
import { openCommandFiles } from './source.js';

const DEFAULT_CONTEXT = 16;
const MAX_CONTEXT = 65536;

/** How a match is printed. */
interface Format {
  json: boolean;
  hex: boolean;
  /** Whether the bytes are printed. */
  show: boolean;
}

export const command: Command = {
  async run(args, io) {
    const { secrets, json, show, hex, count } = args.flags as Record<string, boolean | undefined>;
    const [path, pattern] = inputs(args, 'DUMP', ...(secrets ? [] : ['PATTERN'])) as [string, string];
    const find = secrets ? secretFinder(args) : patternFinder(pattern, args);
    const selection = selected(args);
    const page = pageSizeFlag(args, PAGE_SIZES);
    const slice = sliceFlag(args);
    const progress = new Progress(io, () => 0);
    const unsearched = new Unsearched();
    let files: DumpFiles | undefined;
    try {
      files = slice
        ? new CountedFiles(await openForSlice(path, args, io), progress.add)
        : await openCommandFiles(path, args, io, { progress: progress.add, pages: 'hold' });
      const memories = new TaskMemories(files, page);
      const unknown = selection.pids?.find((pid) => !memories.pids.includes(pid));
      if (unknown !== undefined) {
        throw new UsageError(`--pid: expected one of ${memories.pids.join(', ')}, found ${unknown}`);
      }
      const writer = new FdWriter(io.stdoutFd);
      const output = new TextOutput(progress.around(writer.write));
      const format: Format = { json: json === true, hex: hex === true, show: !secrets || show === true };
      const print = (line: string) => {
        output.print(`${json && io.stdoutIsTerminal ? printable(line) : line}\n`);
        if (io.stdoutIsTerminal) output.flush();
      };
      const hits = find(memories, { ...selection, missing: unsearched.add, ...(slice ? { slice } : {}) });
      const found = count ? printCounts(hits, print, format.json, !slice) : printHits(hits, print, format);
      if (slice) {
        const { lazy, parent } = unsearched;
        print(
          JSON.stringify({
            ...sliceLine('search', slice, files, args),
            matches: found,
            count: count === true,
            lazy,
            parent,
          }),
        );
      }
      output.flush();
      writer.flush();
      progress.done();
      unsearched.report(io);
      // Whether anything is found is known of all slices together.
      if (found === 0 && !slice) throw new AnswerIsNo();
    } finally {
      progress.done();
      files?.close();
    }
  },
};

type Finder = (memories: TaskMemories, options: SearchOptions) => Iterable<Hit>;
type Hit = SearchHit & Partial<SecretHit>;

function secretFinder(args: Arguments): Finder {
  refuseOptions(args, ['regex', 'hex', 'ignoreCase', 'wide', 'context'], ' does not go with --secrets');
  return searchSecrets;
}

/** Throws {@link UsageError} for a pattern that is wrong. */
function patternFinder(pattern: string, args: Arguments): Finder {
  const { regex, hex, ignoreCase = false, wide: isWide = false } = args.flags as Record<string, boolean | undefined>;
  refuseOptions(args, ['show'], ' goes only with --secrets');
  if (regex) refuseOptions(args, ['hex', 'wide'], ' does not go with --regex');
  else refuseOptions(args, ['ignoreCase'], ' goes only with --regex');
  if (hex) refuseOptions(args, ['wide'], ' does not go with --hex');
  let read: Pattern = { text: pattern, isWide };
  if (regex) read = { regex: pattern, ignoreCase };
  if (hex) read = { hex: pattern };
  const context = contextOf(args);
  try {
    const matcher = matcherOf(read);
    return (memories, options) => searchWith(memories, matcher, { ...options, context });
  } catch (error) {
    if (error instanceof RangeError) throw new UsageError(`PATTERN: ${error.message}`);
    throw error;
  }
}

function contextOf(args: Arguments): number {
  const { context = DEFAULT_CONTEXT } = args.flags as { context?: number };
  if (Number.isSafeInteger(context) && context >= 0 && context <= MAX_CONTEXT) return context;
  throw new UsageError(`--context: expected a number of at most ${MAX_CONTEXT}, found ${context}`);
}

/** Returns how many there are. */
function printHits(hits: Iterable<Hit>, print: (line: string) => void, format: Format): number {
  let found = 0;
  for (const hit of hits) {
    found++;
    print(format.json ? JSON.stringify(hitObject(hit, format)) : hitText(hit, format));
  }
  return found;
}

/** The number of matches in each process and segment that has some, and of all. */
function printCounts(hits: Iterable<Hit>, print: (line: string) => void, json: boolean, withTotal: boolean): number {
  const counts = new Map<string, { place: object; matches: number }>();
  let total = 0;
  for (const hit of hits) {
    const place = 'pid' in hit ? { pid: hit.pid } : { segment: hit.segment.id };
    const key = 'pid' in hit ? `${hit.pid}` : `shmem ${hit.segment.id}`;
    const known = counts.get(key) ?? { place, matches: 0 };
    known.matches++;
    counts.set(key, known);
    total++;
  }
  for (const [key, { place, matches }] of counts) {
    print(json ? JSON.stringify({ ...place, matches }) : `${key}: ${matches}`);
  }
  if (withTotal) print(json ? JSON.stringify({ event: 'summary', matches: total }) : `total: ${total}`);
  return total;
}

function hitText(hit: Hit, { hex, show }: Format): string {
  const parts = [placeText(hit)];
  if (hit.secret) parts.push(hit.secret);
  if (show) parts.push(hex ? hexText(hit) : escapedText(hit.bytes));
  return parts.join(': ');
}

/** `15 0x7f0000001000 file-private /usr/bin/env`, or `shmem 7 0x1000 (15 0x7f0000001000, 16 0x7f0000001000)`. */
function placeText(hit: SearchHit): string {
  if ('pid' in hit) {
    const { pid, address, area } = hit;
    return oneLine([pid, hexAddress(address), area?.kind ?? 'unknown', area?.file?.path ?? []].flat().join(' '));
  }
  const mappings = hit.mappings.map(({ pid, address }) => `${pid} ${hexAddress(address)}`).join(', ');
  return `shmem ${hit.segment.id} ${hexAddress(hit.offset)} (${mappings || 'not mapped here'})`;
}

function hitObject(hit: Hit, { show }: Format): object {
  const { bytes, start, end, secret } = hit;
  return {
    ...placeObject(hit),
    ...(secret ? { secret } : {}),
    ...(show
      ? {
          bytes: bytes.toString('hex', start, end),
          before: bytes.toString('hex', 0, start),
          after: bytes.toString('hex', end),
        }
      : {}),
  };
}

function placeObject(hit: SearchHit): object {
  if ('pid' in hit) {
    const { pid, address, area } = hit;
    return { pid, address: hexAddress(address), kind: area?.kind ?? 'unknown', file: area?.file?.path ?? null };
  }
  const mappings = hit.mappings.map(({ pid, address, kind }) => ({ pid, address: hexAddress(address), kind }));
  return { segment: hit.segment.id, name: hit.segment.name ?? null, offset: hexAddress(hit.offset), mappings };
}

const hexAddress = (address: bigint): string => `0x${address.toString(16)}`;

/** Bytes as text: printable ASCII as it is, everything else as `\n`, `\t` or `\xHH`, a backslash twice. */
const escapedText = (bytes: Buffer): string =>
  bytes
    .toString('latin1')
    .replace(/[^\x20-\x5b\x5d-\x7e]/g, (c) => ESCAPES[c] ?? `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

const ESCAPES: Readonly<Record<string, string>> = { '\n': '\\n', '\t': '\\t', '\\': '\\\\' };

/** Bytes in hex, the match in brackets. */
function hexText({ bytes, start, end }: SearchHit): string {
  const pairs = (from: number, to: number) => bytes.toString('hex', from, to).replace(/..(?!$)/g, '$& ');
  return `${pairs(0, start)} [${pairs(start, end)}] ${pairs(end, bytes.length)}`.trim();
}

/** Counts pages that were not searched. */
export class Unsearched {
  lazy = 0;
  parent = 0;

  readonly add = ({ state, pages }: MemorySpan): void => {
    if (state === 'lazy') this.lazy += pages;
    else this.parent += pages;
  };

  report(io: Io): void {
    if (this.parent > 0) io.warn(`not searched: ${counted(this.parent, 'page')} of a parent dump that is not there`);
    if (this.lazy > 0) io.note(`not searched: ${counted(this.lazy, 'page')} that a restore fetches later`);
  }
}
