/** docs/options.md: all options with the commands that take them, from the table. */

import { type CommandSpec, GROUPS } from './commands/spec.js';
import { COMMANDS, type CommandName, namesOf, optionsOf, specOf } from './commands.js';
import { OPTIONS, type OptionName, optionOf, optionText } from './options.js';

/** The text of docs/options.md. */
export function optionsDocument(): string {
  const groups = (Object.keys(GROUPS) as (keyof typeof GROUPS)[]).flatMap((group) =>
    namesOf(group).map((name) => `| ${GROUPS[group]} | \`${name}\` | ${COMMANDS[name].summary} |\n`),
  );
  const options = (Object.keys(OPTIONS) as OptionName[]).map((name) => `${optionRow(name)}\n`);
  return `# Commands and options

Made by \`npm run build\` from the table in \`src/command-line/\`. An option means the same and has the same default in
every command that takes it.

| to | command | |
|---|---|---|
${groups.join('')}
| option | | default | commands |
|---|---|---|---|
${options.join('')}`;
}

function optionRow(name: OptionName): string {
  const { help, meanings = {}, fallback = '' } = optionOf(name);
  const takers = (Object.keys(COMMANDS) as CommandName[]).filter((command) =>
    optionsOf(specOf(command) as CommandSpec).includes(name),
  );
  const commands = takers.length === Object.keys(COMMANDS).length ? 'all' : takers.map((command) => `\`${command}\``);
  const words = Object.entries(meanings).map(([word, meaning]) => `<br>\`${word}\`: ${meaning}`);
  const cells = [`\`${optionText(name)}\``, help + words.join(''), fallback, [commands].flat().join(', ')];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
}
