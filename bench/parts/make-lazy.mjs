// Large dumps that are mostly lazy, which must not be read.
import { readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from '../generate.mjs';
import { at, GIB, isThere, MIB, out, pagepipe, remove, run, secondsOf } from '../measure.mjs';
import { atMost, figure, growth, notMeasured, seconds, under } from '../rows.mjs';

const dump = at('dump');
await largeDump();
await manyRuns();

async function largeDump() {
  await generateDump(dump, { lazyBytes: 32 * GIB - 8 * MIB, eagerBytes: 8 * MIB });
  // Holes would not be read.
  run(`head -c ${8 * MIB} /dev/urandom 1<> ${join(dump, 'pages-1.img')}`);
  const command = `${pagepipe} make-lazy ${dump} ${out}`;
  figure('`make-lazy`, 8 MiB of 32 GiB eager', secondsOf(command), seconds, under(1, seconds));
  const what = 'bytes that it reads from the pages file / bytes kept';
  if (isThere('strace', '-V')) figure(what, bytesRead(command) / bytesKept(), (value) => value.toFixed(3), atMost(1.1));
  else notMeasured(what, 'no strace');
  remove(dump, out);
}

function bytesKept() {
  return statSync(join(out, 'pages-1.img')).size;
}

/** From the pages file; leaves what was kept. */
function bytesRead(command) {
  const trace = at('trace');
  const calls = 'read,pread64,readv,preadv,copy_file_range,sendfile';
  run(`strace -f -qq -o ${trace} -P ${join(dump, 'pages-1.img')} -e trace=${calls} ${command}`);
  const results = readFileSync(trace, 'utf8').matchAll(/ = (\d+)$/gm);
  return [...results].reduce((sum, [, bytes]) => sum + Number(bytes), 0);
}

async function manyRuns() {
  const times = [];
  for (const millions of [1, 4]) {
    await generateDump(dump, { lazyBytes: millions * 1e6 * 4096, eagerBytes: 0, runPages: 1, gapPages: 1 });
    times.push(secondsOf(`${pagepipe} make-lazy ${dump} ${out}`));
    remove(dump);
  }
  figure('`make-lazy`, 1,000,000 runs of one page', times[0], seconds, under(3, seconds));
  const most = { times: atMost(4.5, (limit) => `${limit} times`) };
  growth('`make-lazy` of runs of one page', ['1,000,000', '4,000,000'], times, seconds, most);
}
