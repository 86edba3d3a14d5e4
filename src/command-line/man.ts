/** Man pages from the table of commands and options: one for pagepipe, and one for each command. */

import { type CommandSpec, GROUPS } from './commands/spec.js';
import { COMMANDS, type CommandName, namesOf, optionsOf, specOf } from './commands.js';
import { describe, EXIT_CODES } from './help.js';
import { dashed, type OptionName, optionOf, valueText } from './options.js';

/** The pages by file name. */
export function manPages(version: string): Map<string, string> {
  const names = Object.keys(COMMANDS) as CommandName[];
  return new Map([
    ['pagepipe.1', mainPage(version)],
    ...names.map((name): [string, string] => [`pagepipe-${name}.1`, commandPage(name, version)]),
  ]);
}

function mainPage(version: string): string {
  const groups = (Object.keys(GROUPS) as (keyof typeof GROUPS)[]).map((group) => {
    const rows = namesOf(group).map(
      (name) => `.TP\n.BR pagepipe\\-${roffText(name)} (1)\n${roffText(COMMANDS[name].summary)}\n`,
    );
    return `.SS ${roffText(GROUPS[group])}\n${rows.join('')}`;
  });
  return [
    head('pagepipe', 'look into dumps of CRIU, change them, restore them lazily, move them', version),
    '.SH SYNOPSIS\n.B pagepipe\n.I COMMAND\n[arguments]\n',
    `.SH COMMANDS\n${groups.join('')}`,
    `.SH EXIT STATUS\n${text(EXIT_CODES.replace(/^Exit codes: /, ''))}`,
    '.SH SEE ALSO\n.BR criu (8)\n',
  ].join('');
}

function commandPage(name: CommandName, version: string): string {
  const spec = specOf(name) as CommandSpec;
  return [
    head(`pagepipe-${name}`, spec.summary, version),
    `.SH SYNOPSIS\n.nf\n${spec.usage.map((form) => `\\fBpagepipe ${roffText(name)}\\fR ${roffText(form)}\n`).join('')}.fi\n`,
    `.SH DESCRIPTION\n${text(spec.about)}`,
    `.SH OPTIONS\n${optionsOf(spec).map(optionItem).join('')}.TP\n\\fB\\-h\\fR, \\fB\\-\\-help\\fR\nprint a help text\n`,
    spec.examples === undefined ? '' : `.SH EXAMPLES\n${text(spec.examples)}`,
    '.SH SEE ALSO\n.BR pagepipe (1)\n',
  ].join('');
}

const head = (name: string, summary: string, version: string): string =>
  `.TH ${roffText(name.toUpperCase())} 1 "" "pagepipe ${version}"\n.SH NAME\n${roffText(name)} \\- ${roffText(summary)}\n`;

function optionItem(name: OptionName): string {
  const option = optionOf(name);
  const value = valueText(option);
  const short = option.short === undefined ? '' : `\\fB\\-${option.short}\\fR, `;
  const title = `${short}\\fB${roffText(dashed(name))}\\fR${value === undefined ? '' : ` \\fI${roffText(value)}\\fR`}`;
  const meanings = Object.entries(option.meanings ?? {}).map(
    ([word, meaning]) => `.br\n\\fB${roffText(word)}\\fR: ${roffText(meaning)}\n`,
  );
  return `.TP\n${title}\n${line(describe(name))}${meanings.join('')}`;
}

/** Paragraphs are filled; lines that are indented stay as they are. */
function text(source: string): string {
  const out: string[] = [];
  let isCode = false;
  for (const source_ of source.trimEnd().split('\n')) {
    const isIndented = source_.startsWith('  ');
    if (isIndented !== isCode && source_ !== '') {
      out.push(isIndented ? '.PP\n.nf\n' : '.fi\n');
      isCode = isIndented;
    }
    out.push(source_ === '' ? (isCode ? '' : '.PP\n') : line(source_));
  }
  // Linters complain about two .PP in a row.
  const roff = `${out.join('')}${isCode ? '.fi\n' : ''}`.replace(/^\.PP\n/, '');
  return roff.replace(/(?:\.PP\n)+(?=\.PP\n|\.fi\n)/g, '');
}

const line = (source: string): string => `${roffText(source).replace(/^(?=[.'])/, '\\&')}\n`;

const roffText = (source: string): string =>
  source.replaceAll('\\', '\\e').replaceAll('-', '\\-').replaceAll('…', '...');
