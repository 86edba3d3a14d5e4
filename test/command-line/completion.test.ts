/** Completions: those of bash are tried in bash, those of zsh and fish where they are installed. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { COMMANDS, type CommandName, optionsOf, SHELLS, specOf } from '../../src/command-line/commands.js';
import { completionFor } from '../../src/command-line/completion.js';
import { dashed, OPTIONS } from '../../src/command-line/options.js';
import { cli } from '../helpers/cli.js';
import { tempDir } from '../helpers/temp.js';

/** What bash offers for the last of the words, for several command lines. */
function bashOfEach(lines: readonly (readonly string[])[], cwd = '/'): string[][] {
  const script = `${completionFor('bash')}
line=()
for word; do
  if [ "$word" != $'\\n' ]; then line+=("$word"); continue; fi
  COMP_WORDS=("\${line[@]}")
  COMP_CWORD=$((\${#line[@]} - 1))
  COMPREPLY=()
  _pagepipe
  printf '%s\\n' "\${COMPREPLY[@]}"
  printf '\\0'
  line=()
done`;
  const words = lines.flatMap((line) => [...line, '\n']);
  const { status, stdout, stderr } = spawnSync('bash', ['-euc', script, 'bash', ...words], { encoding: 'utf8', cwd });
  expect([status, stderr]).toEqual([0, '']);
  const offers = stdout.split('\0').slice(0, -1);
  return offers.map((text) => text.split('\n').filter((line) => line !== ''));
}

const bash = (words: readonly string[], cwd?: string): string[] => bashOfEach([words], cwd)[0] as string[];

const names = (Object.keys(COMMANDS) as CommandName[]).filter((name) => name !== 'accept' && name !== 'adopt');

describe('completions for bash', () => {
  it('of commands', () => {
    expect(bash(['pagepipe', ''])).toEqual(expect.arrayContaining(names));
    expect(bash(['pagepipe', ''])).not.toContain('accept');
    expect(bash(['pagepipe', 'make'])).toEqual(['make-lazy']);
    expect(bash(['pagepipe', 'help', 'ver'])).toEqual(['verify']);
  });

  it('of the options of each command', () => {
    const offered = bashOfEach(names.map((name) => ['pagepipe', name, '-']));
    for (const [i, name] of names.entries()) {
      const spec = specOf(name);
      const options = spec ? optionsOf(spec).map(dashed) : [];
      expect(offered[i]?.sort(), name).toEqual([...options, '--help'].sort());
    }
  });

  it('of values', () => {
    expect(bash(['pagepipe', 'copy', 'a', 'b', '--to', ''])).toEqual([...OPTIONS.to.value]);
    expect(bash(['pagepipe', 'copy', 'a', 'b', '--to', '=', 'd'])).toEqual(['directory']);
    expect(bash(['pagepipe', 'copy', 'a', 'b', '--to', '='])).toEqual([...OPTIONS.to.value]);
    expect(bash(['pagepipe', 'x', 'dump', 'm'])).toEqual(['mems']);
    expect(bash(['pagepipe', 'completion', ''])).toEqual([...SHELLS]);
  });

  it('of files and folders, whatever is in their names', () => {
    const dir = tempDir();
    writeFileSync(join(dir, 'a file'), '');
    mkdirSync(join(dir, 'a folder'));
    expect(bash(['pagepipe', 'decode', '-o', 'a'], dir).sort()).toEqual(['a file', 'a folder']);
    expect(bash(['pagepipe', 'copy', 'x', 'y', '--spill-dir', 'a'], dir)).toEqual(['a folder']);
    // Left to bash itself.
    expect(bash(['pagepipe', 'copy', 'a'], dir)).toEqual([]);
  });
});

it.each(SHELLS)('%s takes the script that the command prints', async (shell) => {
  const { code, stdout, stderr } = await cli(['completion', shell]);
  expect([code, stdout, stderr]).toEqual([0, completionFor(shell), '']);
  const script = join(tempDir(), 'script');
  writeFileSync(script, stdout);
  const { error, status, stderr: complaint } = spawnSync(shell, ['-n', script], { encoding: 'utf8' });
  if ((error as NodeJS.ErrnoException | undefined)?.code === 'ENOENT') return;
  expect([status, complaint]).toEqual([0, '']);
});

it('other shells are refused', async () => {
  const { code, stderr } = await cli(['completion', 'tcsh']);
  expect([code, stderr.split('\n')[0]]).toEqual([2, 'pagepipe: expected bash, zsh, fish, found "tcsh"']);
});
