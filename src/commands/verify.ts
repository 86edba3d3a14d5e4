import { DumpError, isErrno } from '../errors.js';
import { TextOutput } from '../explore/output.js';
import { FdWriter } from '../stream/fd.js';
import { PAGE_SIZES } from '../stream/format.js';
import { formatFinding } from '../verify/findings.js';
import { type Verdict, verify } from '../verify/verify.js';
import { type Command, type Io, inputs, pageSizeFlag } from './command.js';

export const command: Command = {
  name: 'verify',
  help: `Usage
  pagepipe verify DUMP

Checks a dump before the process that was dumped is killed: whether all images are there and can be decoded, whether every
page has its place and its bytes, here or in a parent dump, and whether the ids that stand in the images lead anywhere.
Nothing is written, and no page is read. What is found goes to stdout, a line each, and a summary to stderr.

Options
  --json             a JSON object on each line instead: {code, severity, file, offset, entry, message}; offset and entry
                     only where there are such
  --page-size BYTES  page size of the dumped machine (found out from the dump)

Exit codes: 0 nothing was found, or warnings alone; 1 something is wrong with the dump

Example
  criu dump --leave-stopped -t 1234 -D dump && pagepipe verify dump && kill -9 1234
`,
  flags: { json: { type: 'boolean' }, pageSize: { type: 'number' } },
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const options = pageSizeFlag(args, PAGE_SIZES);
    const output = new Lines(io);
    const format = args.flags['json'] === true ? JSON.stringify : formatFinding;
    const verdict = verify(path, (finding) => output.print(`${format(finding)}\n`), options);
    output.flush();
    if (verdict.errors > 0) throw new DumpError('DAMAGED', summary(verdict), { file: path });
    io.err(`pagepipe: ${path}: ${summary(verdict)}\n`);
  },
};

function summary({ errors, warnings, files }: Verdict): string {
  return `${errors === 0 ? 'no errors' : count(errors, 'error')}, ${count(warnings, 'warning')} in ${count(files, 'file')}`;
}

const count = (number: number, what: string): string => `${number} ${what}${number === 1 ? '' : 's'}`;

/** Text to stdout. That its reader leaves early does not end the check: the exit code is still to tell what came of it. */
class Lines {
  private readonly output: TextOutput;
  private readonly writer: FdWriter;
  private hasReader = true;

  constructor(io: Io) {
    this.writer = new FdWriter(io.stdoutFd);
    this.output = new TextOutput(this.writer.write);
  }

  print(text: string): void {
    this.whileRead(() => this.output.print(text));
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
