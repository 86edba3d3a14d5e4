/** Help as text for a terminal of 80 columns, from the table of commands and options. */

import { type CommandSpec, GROUPS } from './commands/spec.js';
import { COMMANDS, type CommandName, namesOf, optionsOf, specOf } from './commands.js';
import { type OptionName, optionOf, optionText } from './options.js';

const WIDTH = 79;
/** Where the texts of options begin. */
const TEXT_COLUMN = 21;

export const EXIT_CODES = `Exit codes: 0 done, 1 bad input or a system error, 2 wrong usage, 70 a bug,
75 a failure where trying again may help (network, no room, a source that
changed), 128 + the signal's number when interrupted
`;

/** The text of `pagepipe --help`. */
export function overview(): string {
  const groups = (Object.keys(GROUPS) as (keyof typeof GROUPS)[]).map((group) => {
    const lines = namesOf(group).map((name) => `  ${name.padEnd(12)} ${COMMANDS[name].summary}`);
    return `${GROUPS[group]}\n${lines.join('\n')}\n`;
  });
  return `pagepipe: look into dumps of CRIU, change them, restore them lazily, move them

Usage
  pagepipe COMMAND [arguments]

${groups.join('\n')}
More
  pagepipe COMMAND --help    about a command
  pagepipe --version         the version; also -v
  pagepipe completion SHELL  completions for bash, zsh or fish

${EXIT_CODES}`;
}

/** The text of `pagepipe COMMAND --help`. */
export function helpOf(name: CommandName): string {
  const spec = specOf(name) as CommandSpec;
  const usage = spec.usage.map((form) => `  pagepipe ${name} ${form}\n`).join('');
  const options = [...optionsOf(spec).map((option) => optionRow(option)), row('-h, --help', ['print this text'])].join(
    '',
  );
  return `Usage\n${usage}\n${spec.about}\n\nOptions\n${options}${spec.examples === undefined ? '' : `\nExamples\n${spec.examples}`}`;
}

function optionRow(name: OptionName): string {
  const { meanings = {} } = optionOf(name);
  const paragraphs = [describe(name), ...Object.entries(meanings).map(([word, meaning]) => `${word}: ${meaning}`)];
  return row(
    optionText(name),
    paragraphs.flatMap((paragraph) => wrap(paragraph, WIDTH - TEXT_COLUMN)),
  );
}

/** What an option does, and what holds without it. */
export function describe(name: OptionName): string {
  const { help, fallback } = optionOf(name);
  return fallback === undefined ? help : `${help} (default: ${fallback})`;
}

function row(title: string, text: readonly string[]): string {
  const margin = ' '.repeat(TEXT_COLUMN);
  const [first, ...rest] = text;
  const start =
    title.length + 4 > TEXT_COLUMN ? `  ${title}\n${margin}${first}` : `  ${title}`.padEnd(TEXT_COLUMN) + first;
  return `${[start, ...rest.map((line) => margin + line)].join('\n')}\n`;
}

/** Breaks a text into lines of at most so many characters. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const line = lines.at(-1);
    if (line !== undefined && line.length + 1 + word.length <= width) lines[lines.length - 1] = `${line} ${word}`;
    else lines.push(word);
  }
  return lines;
}
