import { TOPICS } from '../command-line/commands/look.js';
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { findPageSize } from '../dump/page-size.js';
import { UsageError } from '../errors.js';
import { printDescriptors, printDescriptorsJson } from '../explore/fds.js';
import { printAreas, printAreasJson } from '../explore/mems.js';
import { type Print, TextOutput } from '../explore/output.js';
import { printProcesses, printProcessesJson } from '../explore/ps.js';
import { printPages, printPagesJson, type RssOptions } from '../explore/rss.js';
import { FdWriter } from '../io/fd.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { printable } from '../printable.js';
import { type Command, inputs, pageSizeFlag } from './command.js';
import { Progress } from './progress.js';
import { openCommandFiles } from './source.js';

type Explorer = (images: Images, print: Print, options: RssOptions) => void;

const EXPLORERS: Record<keyof typeof TOPICS, { text: Explorer; json: Explorer }> = {
  ps: { text: printProcesses, json: printProcessesJson },
  fds: { text: printDescriptors, json: printDescriptorsJson },
  mems: { text: printAreas, json: printAreasJson },
  rss: { text: printPages, json: printPagesJson },
};

export const command: Command = {
  async run(args, io) {
    const given = inputs(args, 'DUMP', Object.keys(TOPICS).join(', ')) as [string, string];
    // Both orders are accepted.
    const [path, topic] = isTopic(given[0]) && !isTopic(given[1]) ? [given[1], given[0]] : given;
    if (!isTopic(topic)) {
      throw new UsageError(`expected ${Object.keys(TOPICS).join(', ')}, found ${JSON.stringify(topic)}`);
    }
    const explore = EXPLORERS[topic];
    const json = args.flags['json'] === true;
    const page = pageSizeFlag(args, PAGE_SIZES);
    const progress = new Progress(io, () => 0);
    let files: DumpFiles | undefined;
    try {
      files = await openCommandFiles(path, args, io, { progress: progress.add });
      const writer = new FdWriter(io.stdoutFd);
      const output = new TextOutput(progress.around(writer.write));
      const print = io.stdoutIsTerminal ? forTerminal(output.print, json) : output.print;
      const { pageSize = findPageSize(files) } = page;
      (json ? explore.json : explore.text)(new Images(files), print, { pageSize });
      if (json) output.print('\n');
      progress.done();
      output.flush();
      writer.flush();
    } finally {
      progress.done();
      files?.close();
    }
  },
};

/** Escapes names for a terminal. Each call prints a line of text, so a line break before its end is part of a name. */
const forTerminal =
  (print: Print, json: boolean): Print =>
  (text) =>
    print(json ? printable(text) : printable(text.replace(/\n(?!$)/g, '\\u000a')));

const isTopic = (word: string): word is keyof typeof TOPICS => Object.hasOwn(TOPICS, word);
