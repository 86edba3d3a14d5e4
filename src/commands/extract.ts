import prettyBytes from 'pretty-bytes';
import { dumpPlaces } from '../dump/files.js';
import { UsageError } from '../errors.js';
import type { MemorySelection } from '../inspect/extract.js';
import { ownPages } from '../inspect/wanted-pages.js';
import { type ExtractReport, extractMemory, gapBytes } from '../library/extract.js';
import { PAGE_SIZES } from '../memory/runs.js';
import type { Kind } from '../memory/vma.js';
import { type Arguments, type Command, type Io, inputs, pageSizeFlag, refuseTerminals, selected } from './command.js';
import { fileOutputs } from './if-absent.js';
import { Progress } from './progress.js';
import { inputPlaces, openCommandFiles } from './source.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: fileOutputs('out', 'gapMap'),
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const { pids, kinds } = selected(args);
    const pid = onlyOne(pids);
    const selection = selectionOf(args, kinds);
    const { out = '-', hexdump = false, skipGaps = false, gapMap, force = false } = args.flags as Flags;
    if (gapMap === '-') throw new UsageError('--map: expected a file');
    if (gapMap !== undefined && hexdump) throw new UsageError('--map is for bytes: a hexdump has its addresses in it');
    if (out === '-' && !hexdump) refuseTerminals(io, { stdout: true });
    const progress = new Progress(io, () => 0);
    const files = await openCommandFiles(path, args, io, { pages: ownPages(pid), progress: progress.add });
    try {
      const report = await extractMemory(files, pid, selection, out === '-' ? io.stdoutFd : out, {
        ...pageSizeFlag(args, PAGE_SIZES),
        sources: [...inputPlaces(path, args, io), ...dumpPlaces(files)],
        hexdump,
        skipGaps,
        map: gapMap,
        force,
        signal: io.signal,
      });
      progress.done();
      tell(report, { path, out, skipGaps }, args, io);
    } finally {
      progress.done();
      files.close();
    }
  },
};

interface Flags {
  out?: string;
  hexdump?: boolean;
  skipGaps?: boolean;
  gapMap?: string;
  force?: boolean;
}

/** Throws {@link UsageError} unless there is one process. */
function onlyOne(pids: readonly number[] = []): number {
  const [pid, ...more] = pids;
  if (pid !== undefined && more.length === 0) return pid;
  throw new UsageError(`--pid: expected one process, found ${more.length ? 'several' : 'none'}`);
}

/** Throws {@link UsageError} unless memory is selected in one way. */
function selectionOf({ flags }: Arguments, kinds: Kind[] | undefined): MemorySelection {
  const { byteRange, area, wholeMemory } = flags as { byteRange?: string[]; area?: string[]; wholeMemory?: boolean };
  const given = [byteRange, kinds, area, wholeMemory].filter((each) => each !== undefined);
  if (given.length !== 1) {
    throw new UsageError(
      `expected one of --range, --kind, --area and --all, found ${given.length === 0 ? 'none' : 'several'}`,
    );
  }
  if (byteRange) return { ranges: byteRange.map(rangeOf) };
  if (kinds) return { kinds };
  return area ? { areas: area } : { all: true };
}

const ADDRESS = '0x[0-9a-f]{1,16}|\\d{1,20}';
const RANGE = new RegExp(`^(${ADDRESS})([-+])(${ADDRESS})$`, 'i');
/** The end of all addresses. */
const END = 1n << 64n;

function rangeOf(text: string): { start: bigint; end: bigint } {
  const [, first, sign, second] = RANGE.exec(text) ?? [];
  if (first && second) {
    const start = BigInt(first);
    const end = sign === '+' ? start + BigInt(second) : BigInt(second);
    if (start < end && end <= END) return { start, end };
  }
  throw new UsageError(
    `--range: expected START-END or START+BYTES, such as 0x7f0000000000+4096, found ${JSON.stringify(text)}`,
  );
}

function tell(
  report: ExtractReport,
  { path, out, skipGaps }: { path: string; out: string; skipGaps: boolean },
  args: Arguments,
  io: Io,
): void {
  const gaps = gapBytes(report);
  if (gaps > 0 && !skipGaps) {
    const where = Object.entries({
      lazy: 'lazy',
      file: 'in mapped files',
      missing: 'in a parent dump that is not there',
      absent: 'nowhere',
    })
      .flatMap(([state, words]) => {
        const amount = report.states[state as keyof ExtractReport['states']] ?? 0;
        return amount > 0 ? [`${prettyBytes(amount, { binary: true })} ${words}`] : [];
      })
      .join(', ');
    io.warn(`what is not in the dump became zeros: ${where}; --skip-gaps leaves it out, --map says where it is`);
  }
  if (args.flags['json'] === true) printJson({ dump: path, out, ...report }, [out], io);
}
