// Streamed dumps of a real process, side by side with dumps into files: how long the process stands still, how long an archive
// takes, and the peak memory. Needs root, gcc, zstd, room for two dumps in /dev/shm, and what e2e/criu-root needs.
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const SIZE_MIB = 1024;
const here = import.meta.dirname;
const pause = () => new Promise((resolve) => setTimeout(resolve, 2));

/** @param {{ pagepipe: string, withPeaks: string, measure: Function, compare: Function, peaksOf: Function, row: Function, median: Function, rounds: number }} bench */
export async function stream({ withPeaks, pagepipe, measure, compare, peaksOf, row, median, rounds }) {
  const folder = mkdtempSync('/dev/shm/pagepipe-stream-');
  const dump = join(folder, 'dump');
  execFileSync('gcc', ['-std=gnu99', '-O2', '-static', '-o', join(folder, 'keep'), join(here, 'programs/keep.c')]);
  const { unshare, first, pid } = await start(folder);
  try {
    const enter = `nsenter --target ${first} --mount --pid env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/ CRIU_FAULT=130 criu`;
    const criu = join(folder, 'criu');
    writeFileSync(criu, `#!/bin/sh\nexec ${enter} "$@"\n`, { mode: 0o755 });
    const options = `--shell-job --leave-running -v1 -o ${folder}/dump.log`;
    const fresh = `rm -rf ${dump} && mkdir ${dump}`;
    const intoFiles = `${criu} dump -t ${pid} -D ${dump} ${options}`;
    const capture = (program, out) =>
      `${program} capture -D ${dump} ${out} --spill-dir ${folder} -t ${pid} --criu ${criu} -- ${options}`;
    const frozen = (command) => {
      execFileSync('bash', ['-c', `${fresh} && ${command}`], { stdio: ['ignore', 'ignore', 'inherit'] });
      return frozenSeconds(join(dump, 'stats-dump'));
    };
    const pairs = Array.from({ length: rounds }, () => [
      frozen(`${capture(pagepipe, '-')} > /dev/null`),
      frozen(intoFiles),
    ]);
    const middle = [0, 1].map((side) => median(pairs.map((pair) => pair[side])));
    row(
      'capture to a page stream, 1 GiB: time that the process stands still, against criu dump',
      `${median(pairs.map(([ours, theirs]) => ours / theirs)).toFixed(2)}: ${middle.map((s) => s.toFixed(2)).join(' and ')} s`,
      'at most 1.5',
    );
    const archive = join(folder, 'dump.tar.zst');
    compare(
      '  capture to .tar.zst against criu dump, then tar --zstd (rate)',
      () => measure(`${fresh} && ${capture(pagepipe, archive)}`, archive),
      () => measure(`${fresh} && ${intoFiles} && tar --zstd -cf ${archive} -C ${dump} .`, archive),
      'at least 1.5',
      { seconds: true },
    );
    for (const out of ['-', archive]) {
      const [[, mib]] = peaksOf(`${fresh} && ${capture(withPeaks, out)} > /dev/null`, out === '-' ? undefined : out);
      const what = out === '-' ? 'a page stream' : '.tar.zst';
      row(`  peak memory of capture to ${what}`, `${mib.toFixed(0)} MiB`, 'under 160 MiB');
    }
  } finally {
    const closed = once(unshare, 'close');
    process.kill(first);
    await closed;
    rmSync(folder, { recursive: true });
  }
}

/** Namespaces with a process in them. */
async function start(folder) {
  const report = join(folder, 'report');
  writeFileSync(join(folder, 'hold'), `trap exit TERM\ntouch ${folder}/holding\nsleep infinity &\nwait\n`);
  const words = ['sid', '--bind', `${folder}:${folder}`, '--', 'bash', join(folder, 'hold')];
  const unshare = spawn(join(here, '../e2e/criu-root'), words, { stdio: 'ignore' });
  while (!existsSync(join(folder, 'holding'))) await pause();
  const first = Number(readFileSync(`/proc/${unshare.pid}/task/${unshare.pid}/children`, 'utf8').trim().split(' ')[0]);
  const keep = `exec setsid ${folder}/keep ${report} ${SIZE_MIB} < /dev/null > /dev/null 2>&1 &`;
  execFileSync('nsenter', ['--target', String(first), '--mount', '--pid', 'env', '-i', 'bash', '-c', keep]);
  while (!existsSync(report) || !readFileSync(report, 'utf8').includes('ready ')) await pause();
  return { unshare, first, pid: /\d+/.exec(readFileSync(report, 'utf8'))[0] };
}

/** From the statistics of a dump: the second field of its only message. */
function frozenSeconds(path) {
  const json = execFileSync('node', [join(here, '../bin/pagepipe.js'), 'decode', '-i', path], { encoding: 'utf8' });
  return JSON.parse(json).entries[0].dump.frozen_time / 1e6;
}
