/** The table of commands and options: what is made from it is up to date, and it agrees with the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SOURCE_KINDS } from '../../src/arrival/open.js';
import { COMMANDS, type CommandName, specOf } from '../../src/command-line/commands.js';
import { optionsDocument } from '../../src/command-line/markdown.js';
import { OPTIONS, type OptionName, optionOf } from '../../src/command-line/options.js';
import type { Command } from '../../src/commands/command.js';
import { POLICIES } from '../../src/stages/classify.js';
import { HOLES } from '../../src/stages/rebuild.js';
import { ROOT } from '../helpers/temp.js';

/** Commands that only other programs start, or that are about the program itself. */
const NOT_FOR_PEOPLE = ['capture-wait', 'adopt', 'accept', 'completion'];

/** Why a command does not have an option that schedulers look for. */
const WITHOUT: {
  option: OptionName;
  from: (options: readonly OptionName[]) => boolean;
  why: Record<string, string>;
}[] = [
  { option: 'json', from: () => true, why: {} },
  {
    option: 'progress',
    from: () => true,
    why: {
      'classify filter rebuild run': 'the ends of the pipe say it',
      ls: 'prints a line for each as soon as it is found',
      'show info decode encode edit': 'one image',
      'merge-report': 'reads reports, not memory',
      'serve connect lazy-pages restore': 'reports each client or restore',
    },
  },
  {
    option: 'ifAbsent',
    from: (options) => (['out', 'page', 'to', 'gapMap', 'force'] as const).some((name) => options.includes(name)),
    why: {
      send: 'what is there is at another machine, behind a shell',
      migrate: 'its input is a process, which is gone when it is done',
    },
  },
];

describe('what schedulers need', () => {
  const names = (Object.keys(COMMANDS) as CommandName[]).filter((name) => !NOT_FOR_PEOPLE.includes(name));

  it.each(WITHOUT)('every command that could have $option has it, or a reason', ({ option, from, why }) => {
    const excused = Object.keys(why).flatMap((list) => list.split(' '));
    const without = names.filter((name) => {
      const options = specOf(name)?.options ?? [];
      return from(options) && !options.includes(option);
    });
    expect(without.sort()).toEqual(excused.sort());
  });

  it('a command with --if-absent says what it writes', async () => {
    for (const name of names.filter((one) => specOf(one)?.options.includes('ifAbsent'))) {
      const { command } = (await import(join(ROOT, `dist/commands/${name}.js`))) as { command: Command };
      expect(command.outputs, name).toBeTypeOf('function');
    }
  });
});

describe('the table of options', () => {
  it('is in docs/options.md', () => {
    expect(readFileSync(join(ROOT, 'docs/options.md'), 'utf8')).toBe(optionsDocument());
  });

  it('has the words that the code takes', () => {
    expect(OPTIONS.from.value).toEqual(SOURCE_KINDS);
    expect(OPTIONS.policy.value).toEqual(POLICIES);
    expect(OPTIONS.holes.value).toEqual(HOLES);
  });

  it('has meanings for words that it lists', () => {
    for (const name of Object.keys(OPTIONS) as OptionName[]) {
      const { value, meanings = {} } = optionOf(name);
      for (const word of Object.keys(meanings)) expect(value).toContain(word);
    }
  });

  it('has each option in some command, and each letter and option once in a command', () => {
    const names = Object.keys(COMMANDS) as CommandName[];
    const used = new Set(names.flatMap((name) => specOf(name)?.options ?? []));
    expect([...used, 'quiet'].sort()).toEqual(Object.keys(OPTIONS).sort());
    for (const name of names) {
      const options = specOf(name)?.options ?? [];
      const letters = options.flatMap((option) => optionOf(option).short ?? []);
      expect(new Set(options).size).toBe(options.length);
      expect(new Set(letters).size).toBe(letters.length);
    }
  });
});
