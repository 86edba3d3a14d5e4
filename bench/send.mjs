// What sending a dump costs compared with a pipe: through a shell in place of ssh, so that nothing is encrypted.
import { chmodSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { generateDump } from './generate.mjs';

const GIB = 2 ** 30;

/** @param {{ work: string, pagepipe: string, withPeaks: string, measure: Function, compare: Function, peaksOf: Function, row: Function }} bench */
export async function send({ work, pagepipe, withPeaks, measure, compare, peaksOf, row }) {
  const [dump, out] = [join(work, 'dump'), join(work, 'out')];
  const script = (name, text) => {
    const path = join(work, name);
    writeFileSync(path, `#!/bin/sh\n${text}\n`);
    chmodSync(path, 0o755);
    return path;
  };
  const shell = script('shell', 'shift\nexec sh -c "$*"');
  await generateDump(dump, { lazyBytes: GIB, eagerBytes: 0, dense: true });
  const through = (program, far) =>
    `${program} send ${dump} here:${out} --rsh ${shell} --pagepipe-path ${script('far', `exec ${far} "$@"`)}`;
  compare(
    'send, 1 GiB dense, through a shell in place of ssh, against read | write (rate)',
    () => measure(through(pagepipe, pagepipe), out),
    () => measure(`${pagepipe} read ${dump} | ${pagepipe} write ${out}`, out),
    'at least 0.8',
    { seconds: true },
  );
  for (const [stage, mib] of peaksOf(through(withPeaks, withPeaks), out)) {
    row(`peak memory of ${stage}`, `${mib.toFixed(0)} MiB`, 'under 160 MiB');
  }
  rmSync(dump, { recursive: true });
}
