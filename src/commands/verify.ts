import type { DumpFiles } from '../dump/files.js';
import type { Slice } from '../dump/slice.js';
import { DumpError, type DumpErrorCode, isErrno } from '../errors.js';
import { TextOutput } from '../explore/output.js';
import { FdWriter } from '../io/fd.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted, printable } from '../printable.js';
import { type Finding, findingOf, formatFinding } from '../verify/findings.js';
import { type Verdict, verify } from '../verify/verify.js';
import { type Arguments, type Command, type Io, inputs, pageSizeFlag } from './command.js';
import { Progress } from './progress.js';
import { openForSlice, sliceFlag, sliceLine } from './slice.js';
import { openCommandFiles, sourceName } from './source.js';

export const command: Command = {
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const progress = new Progress(io, () => 0);
    const output = new Lines(io, progress);
    const format = args.flags['json'] === true ? JSON.stringify : formatFinding;
    const take = (finding: Finding) => output.print(`${format(finding)}\n`);
    const file = sourceName(path, args);
    const slice = sliceFlag(args);
    if (slice) {
      await verifySlice(path, slice, args, io, output);
      return;
    }
    const verdict = await verifySource(path, args, io, progress, take).finally(() => progress.done());
    if (args.flags['json'] === true) output.print(`${JSON.stringify(summaryObject(verdict))}\n`);
    output.flush();
    if (verdict instanceof DumpError) {
      const { hint, temporary } = verdict;
      throw new DumpError('DAMAGED', 'not checked, since it cannot be read to its end', {
        file,
        ...(hint ? { hint } : {}),
        temporary,
      });
    }
    if (verdict.errors > 0) throw damaged(verdict, file);
    if (args.flags['json'] !== true) io.tell(`${file}: ${summary(verdict)}`);
  },
};

/** Errors of opening a source that say nothing about a dump: there is none, or it cannot be opened. */
const NO_FINDING: readonly DumpErrorCode[] = ['SYSTEM', 'UNAVAILABLE', 'NOT_A_DUMP', 'NOT_A_STREAM'];

/** The verdict, or why there is none: an archive, shards or a stream that cannot be read to the end are one finding. */
async function verifySource(
  path: string,
  args: Arguments,
  io: Io,
  progress: Progress,
  take: (finding: Finding) => void,
): Promise<Verdict | DumpError> {
  const { memory, content } = args.flags as { memory?: string; content?: boolean };
  const options = { ...pageSizeFlag(args, PAGE_SIZES), memory, content };
  let files: DumpFiles;
  try {
    files = await openCommandFiles(path, args, io, { progress: progress.add });
  } catch (error) {
    if (!(error instanceof DumpError) || NO_FINDING.includes(error.code)) throw error;
    take(findingOf(error, '', sourceName(path, args)));
    return error;
  }
  try {
    return verify(files, take, options);
  } finally {
    files.close();
  }
}

/** Checks a slice. It succeeds whatever is found: merge-report says what is wrong with the dump. */
async function verifySlice(path: string, slice: Slice, args: Arguments, io: Io, output: Lines): Promise<void> {
  const { memory, content } = args.flags as { memory?: string; content?: boolean };
  const files = await openForSlice(path, args, io);
  try {
    const take = (finding: Finding) => output.print(`${JSON.stringify(finding)}\n`);
    const verdict = verify(files, take, { ...pageSizeFlag(args, PAGE_SIZES), memory, content, slice });
    if (verdict.changed) throw new DumpError('CHANGED', 'the dump was changed while it was checked', { file: path });
    output.print(`${JSON.stringify({ ...sliceLine('verify', slice, files, args), ...verdict })}\n`);
  } finally {
    files.close();
    output.flush();
  }
}

/** The last line of `--json`. */
export function summaryObject(verdict: Verdict | DumpError): object {
  const isComplete = !(verdict instanceof DumpError);
  const { errors, warnings, files, summedBlocks }: Verdict = isComplete
    ? verdict
    : { errors: 1, warnings: 0, files: 0 };
  const sums = summedBlocks === undefined ? {} : { summedBlocks };
  return { event: 'summary', errors, warnings, files, ...sums, complete: isComplete };
}

export const damaged = (verdict: Verdict, file: string): DumpError =>
  new DumpError('DAMAGED', summary(verdict), { file, temporary: verdict.changed === true });

function summary({ errors, warnings, files, summedBlocks }: Verdict): string {
  const sums = summedBlocks === undefined ? '' : `, ${counted(summedBlocks, 'block')} compared with their sums`;
  return `${errors === 0 ? 'no errors' : counted(errors, 'error')}, ${counted(warnings, 'warning')} in ${counted(files, 'file')}${sums}`;
}

/** Text to stdout. The check continues if the reader exits early, because the exit code still has to be right. */
class Lines {
  private readonly output: TextOutput;
  private readonly writer: FdWriter;
  private hasReader = true;

  constructor(io: Io, progress: Progress) {
    this.writer = new FdWriter(io.stdoutFd);
    this.output = new TextOutput(progress.around(this.writer.write));
  }

  print(text: string): void {
    this.whileRead(() => this.output.print(printable(text)));
  }

  flush(): void {
    this.whileRead(() => {
      this.output.flush();
      this.writer.flush();
    });
  }

  private whileRead(action: () => void): void {
    if (!this.hasReader) return;
    try {
      action();
    } catch (error) {
      if (!isErrno(error, 'EPIPE')) throw error;
      this.hasReader = false;
    }
  }
}
