// Makes a lazy archive of an archive: node make-lazy.mjs DUMP.tar OUT.tar.gz
import { classify, DROP_LAZY, filter, openDump, pump, rebuild, tally } from 'pagepipe';
import { tarSink } from 'pagepipe/containers';

const [, , from, to] = process.argv;
const dump = await openDump(from);
try {
  const count = tally();
  const out = await tarSink(to, { compression: 'gzip', sources: [from] });
  await pump(dump.records, [classify(), count.stage, filter(DROP_LAZY), rebuild()], out);
  console.log(`${dump.known.bytes} bytes before, ${out.bytes} after, in ${count.spaces.length} address spaces`);
} finally {
  dump.close();
}
