/**
 * What each command is for. Help, docs/options.md, man pages and completions are made from this table, which has a file
 * for each group in commands/, and that of the options. It loads no code of a command, so `--help` is fast.
 */
import { CHANGE } from './commands/change.js';
import { CHECK } from './commands/check.js';
import { LAZY } from './commands/lazy.js';
import { LOOK } from './commands/look.js';
import { MOVE } from './commands/move.js';
import type { CommandSpec, GROUPS } from './commands/spec.js';
import { STAGES } from './commands/stages.js';
import type { OptionName } from './options.js';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;

export const COMMANDS = {
  ...LOOK,
  ...CHECK,
  ...CHANGE,
  ...LAZY,
  ...MOVE,
  ...STAGES,
  completion: {
    summary: 'print the completions for a shell',
    usage: [SHELLS.join('|')],
    about: `Prints what makes a shell complete commands and options. For one session
  bash  source <(pagepipe completion bash)
  zsh   source <(pagepipe completion zsh), after compinit
  fish  pagepipe completion fish | source`,
    options: [],
    words: SHELLS,
  },
} as const satisfies Record<string, CommandSpec>;

export type CommandName = keyof typeof COMMANDS;

/** The entry of a command; undefined for any other word. */
export const specOf = (name: string): CommandSpec | undefined =>
  Object.hasOwn(COMMANDS, name) ? (COMMANDS as Record<string, CommandSpec>)[name] : undefined;

/** The options of a command, with those of all commands. */
export const optionsOf = ({ options }: CommandSpec): readonly OptionName[] => [...options, 'quiet'];

/** Commands that a person may want, in the order of the help. */
export const namesOf = (group: keyof typeof GROUPS): CommandName[] =>
  (Object.keys(COMMANDS) as CommandName[]).filter((name) => specOf(name)?.group === group);
