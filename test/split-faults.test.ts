/** split and merge when a system call fails: an error, and either half is there as a whole or not at all. */
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { main } from '../src/cli.js';
import { packed } from './helpers/archives.js';
import { ANON, PE, writeDump } from './helpers/dump-writer.js';
import { type Call, faults } from './helpers/faults.js';
import { describeTree, openFiles, tempDir } from './helpers/temp.js';

const CALLS: Call[] = ['openSync', 'readSync', 'writeSync', 'writevSync', 'fsyncSync', 'fsync', 'renameSync'];

/** Runs a command line with stdin from a file; its descriptors are opened behind the back of the faults. */
async function run(words: readonly string[], stdin = '/dev/null'): Promise<{ code: number; stderr: string }> {
  let stderr = '';
  const stdinFd = faults.real.openSync(stdin, 'r');
  const stdoutFd = faults.real.openSync('/dev/null', 'w');
  const err = (text: string) => {
    stderr += text;
  };
  const terminals = { stdinIsTerminal: false, stdoutIsTerminal: false, stderrIsTerminal: false };
  const { signal } = new AbortController();
  try {
    const code = await main(words, { stdinFd, stdoutFd, ...terminals, out: () => {}, err, signal }, { listen() {} });
    return { code, stderr };
  } finally {
    faults.real.closeSync(stdinFd);
    faults.real.closeSync(stdoutFd);
  }
}

interface Place {
  root: string;
  /** Where the outputs go. */
  box: string;
}

async function prepare(): Promise<Place> {
  const root = tempDir();
  const box = join(root, 'box');
  mkdirSync(box);
  writeDump(join(root, 'dump'), {
    tasks: [
      {
        pid: 7,
        vmas: [{ start: 0x10000n, end: 0x100000n, ...ANON }],
        entries: [
          { vaddr: 0x10000n, pages: 40, flags: PE.PRESENT | PE.LAZY },
          { vaddr: 0x40000n, pages: 40, flags: PE.PRESENT },
        ],
      },
    ],
  });
  const at = (name: string) => join(root, name);
  writeFileSync(at('dump.tar'), packed(at('dump')));
  expect((await run(['split', at('dump.tar'), at('hot.tar'), at('cold.tar')])).code).toBe(0);
  return { root, box };
}

const COMMANDS: Record<string, (place: Place) => { words: string[]; stdin?: string }> = {
  'split of a directory': ({ root, box }) => ({
    words: ['split', join(root, 'dump'), join(box, 'hot'), join(box, 'cold')],
  }),
  'split of what is read once, with a spill file': ({ root, box }) => ({
    words: ['split', '-', join(box, 'hot'), join(box, 'cold'), '--to=directory', '--buffer=0', `--spill-dir=${box}`],
    stdin: join(root, 'dump.tar'),
  }),
  merge: ({ root, box }) => ({
    words: ['merge', join(root, 'hot.tar'), join(root, 'cold.tar'), join(box, 'out.tar')],
  }),
};

describe.each(Object.keys(COMMANDS))('%s', (name) => {
  it.each(CALLS)('the nth %s, for every n', async (call) => {
    const place = await prepare();
    const { words, stdin } = (COMMANDS[name] as (typeof COMMANDS)[string])(place);
    faults.count(call);
    const said = name === 'merge' ? /^$/ : /^size {2}/;
    expect(await run(words, stdin)).toEqual({ code: 0, stderr: expect.stringMatching(said) });
    const total = faults.disarm();
    const whole = describeTree(place.box);
    const empty = () => {
      for (const left of readdirSync(place.box)) faults.real.rmSync(join(place.box, left), { recursive: true });
    };
    empty();
    const wrong: string[] = [];
    for (let nth = 1; nth <= total; nth++) {
      faults.fail(call, nth);
      const { code, stderr } = await run(words, stdin);
      const where = `${faults.lastFailure} (${nth} of ${total})`;
      faults.disarm();
      if (code !== 1 || !/error: [^\n]*(EIO|input\/output error)/.test(stderr))
        wrong.push(`${where}: ${code} ${stderr}`);
      const partial = describeTree(place.box).filter((line) => !line.startsWith('. ') && !whole.includes(line));
      if (partial.length > 0) wrong.push(`${where}: left ${partial}`);
      // These also sync the folder above, when a half is in its place already.
      const isLate = call === 'openSync' || call === 'fsyncSync';
      const [isThere] = readdirSync(place.box).filter((file) => file.startsWith('hot'));
      const isSaid = /hot[^\n]* is complete/.test(stderr);
      if (isSaid ? !isThere : isThere && !isLate) wrong.push(`${where}: ${stderr}`);
      if (openFiles(place.root).length > 0) wrong.push(`${where}: open ${openFiles(place.root)}`);
      empty();
    }
    expect(wrong).toEqual([]);
  });
});
