// Counts the pages of each process that are all zeros: node zero-pages.mjs DUMP
import { Dump, openDumpFiles } from 'pagepipe';

const dump = await Dump.open(await openDumpFiles(process.argv[2], { pages: 'hold' }));
const zeros = Buffer.alloc(dump.pageSize);
for (const space of dump.spaces.filter(({ kind }) => kind === 'task')) {
  let [stored, zero] = [0, 0];
  // The whole address space: what is not stored costs nothing.
  for (const { bytes } of dump.addressSpace(space).read(0, 2 ** 64 / dump.pageSize)) {
    for (let at = 0; at < (bytes?.length ?? 0); at += dump.pageSize) {
      stored++;
      if (zeros.equals(bytes.subarray(at, at + dump.pageSize))) zero++;
    }
  }
  console.log(`pid ${space.pid}: ${zero} of ${stored} pages are zeros`);
}
dump.close();
