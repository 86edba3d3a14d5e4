/** What the table says of a command. */
import type { OptionName } from '../options.js';

export const GROUPS = {
  look: 'Look into a dump',
  check: 'Check it',
  change: 'Change its images',
  lazy: 'Restore it at once',
  move: 'Move it',
  stages: 'Stages, for pipes',
} as const;

export interface CommandSpec {
  /** Undefined for a command that only other commands start, or that is about the program itself. */
  group?: keyof typeof GROUPS;
  /** In the list of commands. */
  summary: string;
  /** What follows the name, one for each form. */
  usage: readonly string[];
  /** Paragraphs of the help. */
  about: string;
  options: readonly OptionName[];
  /** Old names of options, accepted with a note until 1.0. */
  oldNames?: readonly OptionName[];
  /** Words that an argument may be, for completion. */
  words?: readonly string[];
  /** Lines for a shell. */
  examples?: string;
}
