/** Two machines for a migration, which are folders: with a criu that is played, a process to migrate, and a script in place of ssh. */
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import { BIN } from '../helpers/cli.js';
import { makePipe } from '../helpers/pipe.js';
import { Running, start } from '../helpers/running.js';
import { fixture, tempDir } from '../helpers/temp.js';
import { SIMULATOR } from '../lazy/simulator.js';
import { PEER } from '../stream-socket/peer.js';

/** What the criu of a side does differently; see fake-criu. */
type Config = Partial<Record<'version' | 'dump' | 'images' | 'pause' | 'end' | 'restore' | 'lazily', string>> & {
  check?: number;
};

const FAKE = join(import.meta.dirname, 'fake-criu');
export const IMAGES = fixture('mosaic-criu-4.2.1');

function side(config: Config) {
  const folder = tempDir();
  const criu = join(folder, 'criu');
  const settings = {
    folder,
    version: '4.2.1',
    check: 0,
    peer: PEER,
    simulator: SIMULATOR,
    images: IMAGES,
    dump: '',
    pause: '',
    end: '',
    restore: '',
    lazily: '',
    ...config,
  };
  const configure = (more: Config) => {
    const lines = Object.entries({ ...settings, ...more }).map(([name, value]) => `${name}='${value}'\n`);
    writeFileSync(criu, `#!/bin/bash\n${lines.join('')}. ${FAKE}\n`, { mode: 0o755 });
  };
  configure({});
  for (const pipe of ['at', 'go']) makePipe(join(folder, pipe));
  return {
    folder,
    criu,
    /** What its criu does differently, once more. */
    configure,
    /** What the restored process has found in its memory. */
    found: () => JSON.parse(readFileSync(join(folder, 'found'), 'utf8')) as { pages: number[] },
    /** What its criu was called with. */
    calls: () =>
      existsSync(join(folder, 'calls')) ? readFileSync(join(folder, 'calls'), 'utf8').trim().split('\n') : [],
    /** Resolves when its criu pauses. */
    pauses: () => readFile(join(folder, 'at'), 'utf8'),
    goOn: () => writeFile(join(folder, 'go'), ''),
  };
}

/** For the far side of {@link hosts}: it takes itself for another machine. */
export const ELSEWHERE = `exec env NODE_OPTIONS=--require=${join(import.meta.dirname, 'elsewhere.cjs')} sh -c "$*"`;

/** @param run how the far side runs the command, which is "$*" */
export function hosts(near: Config = {}, far: Config = {}, run = 'exec sh -c "$*"') {
  const [here, there] = [side(near), side(far)];
  const home = join(there.folder, 'home');
  mkdirSync(home);
  const program = join(there.folder, 'pagepipe');
  writeFileSync(program, `#!/bin/sh\nexec ${process.execPath} ${BIN} "$@"\n`, { mode: 0o755 });
  const rsh = join(here.folder, 'rsh');
  writeFileSync(rsh, `#!/bin/sh\ncd ${home} && PATH=${there.folder}:$PATH && shift\n${run}\n`, { mode: 0o755 });
  // A tree of two, whose root leaves no zombie here.
  const source = spawn('sh', ['-c', 'sleep 600 & wait'], { stdio: 'ignore' });
  const pid = source.pid as number;
  onTestFinished(() => {
    for (const one of [...childrenOf(pid), pid, restored() ?? 0]) if (one > 0) end(one);
  });
  const restored = () => {
    const path = join(there.folder, 'restored');
    return existsSync(path) ? Number(readFileSync(path, 'utf8')) : undefined;
  };
  const words = (...more: string[]) => ['migrate', String(pid), 'far:out', '--rsh', rsh, '--criu', here.criu, ...more];
  return {
    pid,
    home,
    out: join(home, 'out'),
    here,
    there,
    restored,
    /** A migration by this process. */
    migrate(...more: string[]): Running {
      const line = words(...more);
      return new Running(line, { self: [process.execPath, BIN, ...line] });
    },
    /** The same by a process, which can be killed. */
    migrateAside: (...more: string[]) => start(words(...more)),
    /** The far end, which can be killed. */
    farPid: () => Number(readFileSync(join(home, 'pid'), 'utf8')),
  };
}

/** For {@link hosts}: the far side says by which process it can be killed. */
export const KILLABLE = 'echo $$ >pid; exec sh -c "exec $*"';

export const stateOf = (pid: number): string => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2)[0] as string;
  } catch {
    return 'gone';
  }
};

/** Whether a process runs, or would: not if it is stopped, dead, or a zombie. */
export const runs = (pid: number): boolean => ['S', 'R', 'D'].includes(stateOf(pid));

export const childrenOf = (pid: number): number[] => {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  } catch {
    return [];
  }
};

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended.
  }
}
