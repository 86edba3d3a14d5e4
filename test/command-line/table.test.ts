/** The table of commands and options: what is made from it is up to date, and it agrees with the code. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { SOURCE_KINDS } from '../../src/arrival/open.js';
import { COMMANDS, type CommandName, specOf } from '../../src/command-line/commands.js';
import { optionsDocument } from '../../src/command-line/markdown.js';
import { OPTIONS, type OptionName, optionOf } from '../../src/command-line/options.js';
import { POLICIES } from '../../src/stages/classify.js';
import { HOLES } from '../../src/stages/rebuild.js';
import { ROOT } from '../helpers/temp.js';

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
