// Captures of a real process, against dumps into files: how long the process stands still, how long an archive takes, and the
// peak memory. All of it is in memory. Needs root, gcc, zstd, room for two dumps in /dev/shm, and what e2e/criu-root needs.
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { bin, inTurn, isRoot, pagepipe, peaksOf, rounds, withPeaks } from '../measure.mjs';
import { compile, Namespaces, textIn } from '../namespaces.mjs';
import { atMost, figure, mebibytes, notMeasured, rate, ratio, seconds, under } from '../rows.mjs';

const SIZE_MIB = 1024;

if (isRoot) {
  const folder = mkdtempSync('/dev/shm/pagepipe-capture-');
  process.on('exit', () => rmSync(folder, { recursive: true, force: true }));
  await captures(folder);
} else {
  notMeasured('captures', 'no root');
}

async function captures(folder) {
  const [dump, report, archive] = ['dump', 'report', 'dump.tar.zst'].map((name) => join(folder, name));
  compile('programs/keep.c', join(folder, 'keep'), '-static');
  const namespaces = await Namespaces.start(folder, folder);
  namespaces.start(`${folder}/keep ${report} ${SIZE_MIB}`);
  await textIn(report, 'ready ');
  const pid = /\d+/.exec(readFileSync(report, 'utf8'))[0];
  const criu = join(folder, 'criu');
  writeFileSync(criu, `#!/bin/sh\nexec ${namespaces.enter.join(' ')} criu "$@"\n`, { mode: 0o755 });
  const options = `--shell-job --leave-running -v1 -o ${folder}/dump.log`;
  const fresh = `rm -rf ${dump} ${archive} && mkdir ${dump}`;
  const intoFiles = `${criu} dump -t ${pid} -D ${dump} ${options}`;
  const capture = (program, to) =>
    `${program} capture -D ${dump} ${to} --spill-dir ${folder} -t ${pid} --criu ${criu} -- ${options}`;
  const frozen = (command) => {
    execFileSync('bash', ['-c', `${fresh} && ${command}`], { stdio: ['ignore', 'ignore', 'inherit'] });
    return frozenSeconds(join(dump, 'stats-dump'));
  };
  const pairs = Array.from({ length: rounds }, () => [
    frozen(`${capture(pagepipe, '-')} > /dev/null`),
    frozen(intoFiles),
  ]);
  const stands = '`capture` to a page stream, 1 GiB: time that the process stands still, against `criu dump`';
  ratio(stands, pairs, seconds, atMost(1.5));
  const { ours, theirs } = inTurn({
    ours: `${fresh} && ${capture(pagepipe, archive)}`,
    theirs: `${fresh} && ${intoFiles} && tar --zstd -cf ${archive} -C ${dump} .`,
  });
  rate('`capture` to `.tar.zst`, 1 GiB, against `criu dump` and `tar --zstd`', ours, theirs, { byClock: 1.5 });
  for (const [what, to] of [
    ['a page stream', '-'],
    ['`.tar.zst`', archive],
  ]) {
    const [[, mib]] = peaksOf(`${fresh} && ${capture(withPeaks, to)} > /dev/null`);
    figure(`peak memory of \`capture\` to ${what}`, mib, mebibytes, under(160, mebibytes));
  }
  await namespaces.end();
}

/** From the statistics of a dump: the second field of its only message. */
function frozenSeconds(path) {
  const json = execFileSync('node', [bin, 'decode', '-i', path], { encoding: 'utf8' });
  return JSON.parse(json).entries[0].dump.frozen_time / 1e6;
}
