import { pump } from '../pump.js';
import { DirectorySink } from '../sink/directory.js';
import { Dump } from '../source/directory.js';
import { mergedRecords } from '../source/merged.js';
import { PAGE_SIZES } from '../stream/format.js';
import { type Command, inputs, pageSizeFlag } from './command.js';
import { warnOfParent } from './report.js';

export const command: Command = {
  name: 'merge',
  help: `Usage
  pagepipe merge HOT COLD OUT [--force]

Puts the two halves of pagepipe split together: OUT is the dump that they came from, byte for byte.

Options
  --page-size BYTES  page size of the dumped machine (found out from the dump)
  --force            replace OUT if it is not empty
`,
  flags: { pageSize: { type: 'number' }, force: { type: 'boolean' } },
  cleansUp: true,
  async run(args, io) {
    const [hotPath, coldPath, out] = inputs(args, 'HOT', 'COLD', 'OUT') as [string, string, string];
    const options = {
      ...pageSizeFlag(args, PAGE_SIZES),
      warn: (text: string) => io.err(`pagepipe: warning: ${text}\n`),
    };
    const hot = new Dump(hotPath, options);
    try {
      const cold = new Dump(coldPath, { ...options, pageSize: hot.pageSize });
      try {
        const sink = new DirectorySink(out, { force: args.flags['force'] === true, source: hotPath });
        await pump(mergedRecords(hot, cold), [], sink, io.signal);
        warnOfParent(sink.written, out, io);
      } finally {
        cold.close();
      }
    } finally {
      hot.close();
    }
  },
};
