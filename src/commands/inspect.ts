import type { OptionName } from '../command-line/options.js';
import { type Print, TextOutput } from '../explore/output.js';
import { type Inspection, inspect, type Section } from '../inspect/inspect.js';
import { sectionsText, summaryText } from '../inspect/text.js';
import { inspectionPages } from '../inspect/wanted-pages.js';
import { FdWriter } from '../io/fd.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { printable } from '../printable.js';
import { type Arguments, type Command, inputs, pageSizeFlag } from './command.js';
import { Progress } from './progress.js';
import { openCommandFiles } from './source.js';

/** Sections by the option that asks for them, in the order in which they are printed. */
const OPTIONS = {
  container: 'container',
  psTree: 'psTree',
  cmd: 'cmd',
  env: 'env',
  showMemory: 'memory',
  showFiles: 'files',
  sockets: 'sockets',
  mounts: 'mounts',
} as const satisfies Partial<Record<OptionName, Section>>;

export const command: Command = {
  async run(args, io) {
    const [path] = inputs(args, 'DUMP') as [string];
    const { showAll: isAll = false, json = false } = args.flags as { showAll?: boolean; json?: boolean };
    const sections = sectionsOf(args, isAll);
    const page = pageSizeFlag(args, PAGE_SIZES);
    const progress = new Progress(io, () => 0);
    try {
      const pages = inspectionPages({ env: sections.includes('env'), ...page });
      const files = await openCommandFiles(path, args, io, { pages, outside: true, progress: progress.add });
      try {
        const inspection = inspect(files, { sections, ...page });
        progress.done();
        const writer = new FdWriter(io.stdoutFd);
        const output = new TextOutput(writer.write);
        if (json) printJson(inspection, output.print);
        else {
          if (sections.length === 0 || isAll) output.print(summaryText(inspection));
          if (isAll) output.print('\n');
          if (sections.length > 0) output.print(sectionsText(inspection, sections));
        }
        output.flush();
        writer.flush();
      } finally {
        files.close();
      }
    } finally {
      progress.done();
    }
  },
};

/** One line of JSON, in pieces: that of a large dump may be longer than a text can be. */
function printJson(inspection: Inspection, print: Print): void {
  const printValue = (value: unknown) => print(printable(JSON.stringify(value)));
  let before = '{';
  for (const [name, value] of Object.entries(inspection)) {
    print(`${before}"${name}":`);
    before = ',';
    if (!Array.isArray(value)) {
      printValue(value);
      continue;
    }
    print('[');
    value.forEach((element, i) => {
      if (i > 0) print(',');
      printValue(element);
    });
    print(']');
  }
  print('}\n');
}

function sectionsOf({ flags }: Arguments, isAll: boolean): Section[] {
  const given = Object.entries(OPTIONS).flatMap(([option, section]) =>
    isAll || flags[option as OptionName] === true ? [section] : [],
  );
  return isAll ? [...given, 'kernel'] : given;
}
