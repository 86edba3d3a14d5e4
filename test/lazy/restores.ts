/** A dump with a task whose memory is the same in all tests, the daemon that has it, and what the task must find. */
import { join } from 'node:path';
import type { Io } from '../../src/commands/command.js';
import { ANON, type DumpSpec, PE, type TaskSpec, writeDump } from '../helpers/dump-writer.js';
import { Running } from '../helpers/running.js';
import { tempDir } from '../helpers/temp.js';
import type { Simulator } from './simulator.js';

export const PAGE = 4096n;
export const BASE = 0x10_0000_0000n;
export const ELSEWHERE = 0x20_0000_0000n;
/** Of the area at BASE: pages, a hole, pages, a hole at the end. */
export const [PAGES, HOLE, MORE_PAGES, REST] = [600, 20, 30, 14];
export const AREA_PAGES = PAGES + HOLE + MORE_PAGES + REST;
export const AREA = [BASE, AREA_PAGES] as const;
export const at = (page: number): bigint => BASE + BigInt(page) * PAGE;
export const addressOf = (page: number): string => `0x${at(page).toString(16)}`;

const vma = (start: bigint, pages: number) => ({ start, end: start + BigInt(pages) * PAGE, ...ANON });
const LAZY = PE.PRESENT | PE.LAZY;

export const task = (pid: number, flags: number = LAZY): TaskSpec => ({
  pid,
  vmas: [vma(...AREA)],
  entries: [
    { vaddr: BASE, pages: PAGES, flags },
    { vaddr: at(PAGES + HOLE), pages: MORE_PAGES, flags },
  ],
});

/** A dump of some tasks; the folder is the work directory as well. */
export function dumped(pids: readonly number[], spec: Partial<DumpSpec> = {}) {
  const directory = tempDir();
  const dump = join(directory, 'dump');
  const flags = spec.generation === '2.x' ? PE.PRESENT : LAZY;
  writeDump(dump, { tasks: pids.map((pid) => task(pid, flags)), ...spec });
  return { directory, dump };
}

/** The daemon, as it listens. What it says is for programs. */
export async function serving(directory: string, words: readonly string[]): Promise<Running> {
  const daemon = new Running(['lazy-pages', ...words, '-W', directory, '--json']);
  await daemon.prints(/"listening"/, 'out');
  return daemon;
}

/** The same, for people. */
export async function telling(directory: string, words: readonly string[], io: Partial<Io> = {}): Promise<Running> {
  const daemon = new Running(['lazy-pages', ...words, '-W', directory], io);
  await daemon.prints(/listening at /);
  return daemon;
}

/** What the daemon says of its restores. */
export const restoresOf = ({ out }: Running): Record<string, unknown>[] =>
  out
    .split('\n')
    .filter((line) => line !== '')
    .map((line) => JSON.parse(line) as Record<string, unknown>)
    .filter(({ event }) => event === 'restored');

/** What it says is wrong. */
export const errorsOf = ({ err }: Running): string[] =>
  err.split('\n').flatMap((line) => /^pagepipe: error: (.*)$/.exec(line)?.[1] ?? []);

/** All of the area at BASE, as the dump of a task has it. */
export async function findsAll(simulator: Simulator, number: number, pid = number): Promise<void> {
  await simulator.finds(number, BASE, PAGES, { pid, address: BASE });
  await simulator.finds(number, at(PAGES), HOLE, 'zeros');
  await simulator.finds(number, at(PAGES + HOLE), MORE_PAGES, { pid, address: at(PAGES + HOLE) });
  await simulator.finds(number, at(AREA_PAGES - REST), REST, 'zeros');
}
