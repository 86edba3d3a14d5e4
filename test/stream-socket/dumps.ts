/** A dump, and how CRIU sends it. */
import { mkdtempSync, readdirSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll } from 'vitest';
import { ANON, PE, type TaskSpec, writeDump } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';
import { Peer } from './peer.js';

/** What CRIU sends last. */
export const LAST = 'inventory.img';
/** 2 MiB, twice what a pipe holds. */
export const PAGES = 512;

/**
 * Places for one test: a dump in a directory, an images directory for the socket, and a place for the result. The dump is a
 * link to one that is written once for a file.
 */
export function placesOfFile() {
  let written: string;
  beforeAll(() => {
    written = mkdtempSync(join(tmpdir(), 'pagepipe-test-'));
    writeDump(written, { tasks: tasksOf(PAGES) });
  });
  afterAll(() => rmSync(written, { recursive: true }));
  return () => {
    const root = tempDir();
    const dump = join(root, 'dump');
    symlinkSync(written, dump);
    return { root, dump, images: tempDir(), out: join(root, 'out') };
  };
}

/** Two tasks with one area each. */
export function tasksOf(pages: number): TaskSpec[] {
  const end = 0x1000_0000n + BigInt(pages) * 4096n;
  return [15, 16].map((pid) => ({
    pid,
    vmas: [{ start: 0x1000_0000n, end, ...ANON }],
    entries: [{ vaddr: 0x1000_0000n, pages, flags: PE.PRESENT | PE.LAZY }],
  }));
}

export async function connected(images: string): Promise<Peer> {
  const peer = new Peer();
  await peer.does('connect', join(images, 'streamer-capture.sock'));
  return peer;
}

/** The order of CRIU: some files are open for the whole dump, pages come before what describes them, the inventory is last. */
export async function sendDump(peer: Peer, dump: string, without: readonly string[] = []): Promise<void> {
  const names = readdirSync(dump).filter((name) => name !== LAST && !without.includes(name));
  const isLong = (name: string) => /^(files|seccomp|memfd|core-|ids-|pagemap-)/.test(name);
  const long = names.filter(isLong);
  const others = names
    .filter((name) => !isLong(name))
    .sort((a, b) => Number(/^pages/.test(b)) - Number(/^pages/.test(a)));
  for (const name of long) await peer.does('open', name);
  for (const name of others) await sendFile(peer, dump, name);
  for (const name of long) {
    await peer.does('write', name, join(dump, name));
    await peer.does('close', name);
  }
  if (!without.includes(LAST)) await sendFile(peer, dump, LAST);
}

export async function sendFile(peer: Peer, dump: string, name: string): Promise<void> {
  await peer.does('open', name);
  await peer.does('write', name, join(dump, name));
  await peer.does('close', name);
}
