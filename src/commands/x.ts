import { Images } from '../dump/images.js';
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
import { openCommandFiles, SOURCE_FLAGS } from './source.js';

type Explorer = (images: Images, print: Print, options: RssOptions) => void;

const TOPICS: Record<string, { text: Explorer; json: Explorer }> = {
  ps: { text: printProcesses, json: printProcessesJson },
  fds: { text: printDescriptors, json: printDescriptorsJson },
  mems: { text: printAreas, json: printAreasJson },
  rss: { text: printPages, json: printPagesJson },
};

export const command: Command = {
  name: 'x',
  help: `Usage
  pagepipe x DUMP ps      processes, as a tree
  pagepipe x DUMP fds     their open files
  pagepipe x DUMP mems    their memory areas
  pagepipe x DUMP rss     their dumped pages, by area

Explores a dump and prints the same text as crit x; on a terminal, control
characters of names are escaped. It reads only the images that it needs, and no
pages. DUMP is a directory, a tar archive (a plain one is read in place), a
page stream, or shards as for pagepipe read; - is stdin.

Options
  --json             print one JSON list instead, with an element for each
                     process; addresses are strings in hexadecimal:
    ps    {pid, ppid, pgid, sid, comm, state, threads: [tid]}
    fds   {pid, fds: [{fd, type, id, path | pipe | unix: {ino, peer, name}}],
          cwd, root, exe}
    mems  {pid, exe, areas: [{start, end, bytes, prot, shared, kind, regular,
          file and pgoff, or segment}]}
    rss   {pid, areas: [{start, end, kind, file,
          runs: [{start, pages, flags}], pages}], pages}
  --page-size BYTES  page size of the dumped machine, for rss (4096, as crit)
  --from, --shard-fds, --buffer, --spill-dir, --max-bytes
                     as for pagepipe read

Example
  pagepipe x dump rss --json |
    jq '.[] | {pid, heap: [.areas[] | select(.kind == "heap").pages] | add}'
`,
  flags: { json: { type: 'boolean' }, ...SOURCE_FLAGS },
  async run(args, io) {
    const [path, topic] = inputs(args, 'DUMP', Object.keys(TOPICS).join(', ')) as [string, string];
    const explore = Object.hasOwn(TOPICS, topic) ? TOPICS[topic] : undefined;
    if (!explore) {
      throw new UsageError(`expected ${Object.keys(TOPICS).join(', ')}, found ${JSON.stringify(topic)}`);
    }
    const json = args.flags['json'] === true;
    if (args.flags['pageSize'] !== undefined && topic !== 'rss') throw new UsageError('--page-size is only for rss');
    const options = { pageSize: 4096, ...pageSizeFlag(args, PAGE_SIZES) };
    const files = await openCommandFiles(path, args, io);
    const writer = new FdWriter(io.stdoutFd);
    const output = new TextOutput(writer.write);
    const print = io.stdoutIsTerminal ? forTerminal(output.print, json) : output.print;
    try {
      (json ? explore.json : explore.text)(new Images(files), print, options);
      if (json) output.print('\n');
      output.flush();
      writer.flush();
    } finally {
      files.close();
    }
  },
};

/** Names as they are in the dump are for programs. Of text, each call prints a line; one that is not whole ends elsewhere. */
const forTerminal =
  (print: Print, json: boolean): Print =>
  (text) =>
    print(json ? printable(text) : printable(text.replace(/\n(?!$)/g, '\\u000a')));
