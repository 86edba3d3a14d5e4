/** Completions for bash, zsh and fish, from the table of commands and options. */

import type { CommandSpec } from './commands/spec.js';
import { COMMANDS, type CommandName, optionsOf, type SHELLS, specOf } from './commands.js';
import type { Option } from './options/option.js';
import { dashed, OPTIONS, type OptionName, optionOf } from './options.js';

export type Shell = (typeof SHELLS)[number];

/** Commands that a person types. */
const NAMES = (Object.keys(COMMANDS) as CommandName[]).filter((name) => name !== 'accept' && name !== 'adopt');
const ALL_OPTIONS = Object.keys(OPTIONS) as OptionName[];

/** The script that makes a shell complete. */
export function completionFor(shell: Shell): string {
  return { bash, zsh, fish }[shell]();
}

const wordsOf = ({ value }: Option): readonly string[] => (typeof value === 'object' ? value : []);
const takesValue = ({ type }: Option): boolean => type !== 'boolean';
const quote = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

function bash(): string {
  const values = ALL_OPTIONS.flatMap((name) => {
    const option = optionOf(name);
    if (!takesValue(option)) return [];
    const names = [dashed(name), ...(option.short === undefined ? [] : [`-${option.short}`])].join('|');
    const words = wordsOf(option);
    if (words.length > 0) return [`    ${names}) _pagepipe_words ${quote(words.join(' '))}; return ;;`];
    const action = option.completes === 'folder' ? '-d' : '-f';
    return [`    ${names}) mapfile -t COMPREPLY < <(compgen ${action} -- "$cur"); return ;;`];
  });
  const commands = NAMES.map((name) => {
    const spec = specOf(name) as CommandSpec;
    const options = [...optionsOf(spec).map(dashed), '--help'].join(' ');
    return `    ${name}) options=${quote(options)} words=${quote((spec.words ?? []).join(' '))} ;;`;
  });
  return `# Completions of pagepipe for bash: source <(pagepipe completion bash)
_pagepipe_words() {
  mapfile -t COMPREPLY < <(compgen -W "$1" -- "$cur")
}

_pagepipe() {
  local cur=\${COMP_WORDS[COMP_CWORD]} previous=\${COMP_WORDS[COMP_CWORD - 1]} options words
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    _pagepipe_words ${quote([...NAMES, 'help', 'version', '--help', '--version'].join(' '))}
    return
  fi
  # bash takes --name=value for three words.
  if [[ $cur == = ]]; then
    cur=
  elif [[ $previous == = ]]; then
    previous=\${COMP_WORDS[COMP_CWORD - 2]}
  fi
  case $previous in
${values.join('\n')}
  esac
  case \${COMP_WORDS[1]} in
${commands.join('\n')}
    help) words=${quote(NAMES.join(' '))} ;;
  esac
  if [[ $cur == -* ]]; then
    _pagepipe_words "$options"
  elif [[ $words ]]; then
    _pagepipe_words "$words"
  fi
}

complete -o default -F _pagepipe pagepipe
`;
}

function zsh(): string {
  const text = (words: string) => words.replace(/[[\]:\\]/g, '\\$&');
  const argument = (name: OptionName): string => {
    const option = optionOf(name);
    const action =
      wordsOf(option).length > 0
        ? `(${wordsOf(option).join(' ')})`
        : option.completes === 'folder'
          ? '_files -/'
          : '_files';
    const value = takesValue(option) ? `:value:${action}` : '';
    const equals = takesValue(option) ? '=' : '';
    const star = option.isMultiple ? '*' : '';
    const long = `${star}${dashed(name)}${equals}[${text(option.help)}]${value}`;
    const short = option.short === undefined ? [] : [`${star}-${option.short}[${text(option.help)}]${value}`];
    return [long, ...short].map(quote).join(' ');
  };
  const commands = NAMES.map((name) => {
    const spec = specOf(name) as CommandSpec;
    const words = spec.words === undefined ? '_files' : `{_values word ${spec.words.join(' ')}; _files}`;
    const lines = [...optionsOf(spec).map(argument), quote('--help[print its help]'), quote(`*:argument:${words}`)];
    return `    ${name})\n      _arguments -s \\\n        ${lines.join(' \\\n        ')}\n      ;;`;
  });
  return `#compdef pagepipe
# Completions of pagepipe for zsh: source <(pagepipe completion zsh), or as a file _pagepipe in $fpath
_pagepipe() {
  local -a commands=(
${NAMES.map((name) => `    ${quote(`${name}:${text((specOf(name) as CommandSpec).summary)}`)}`).join('\n')}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command=$words[2]
  shift words
  ((CURRENT--))
  case $command in
${commands.join('\n')}
    help) _describe command commands ;;
  esac
}

if [[ $funcstack[1] == _pagepipe ]]; then
  _pagepipe "$@"
else
  compdef _pagepipe pagepipe
fi
`;
}

function fish(): string {
  const seen = (name: string) => `-n '__fish_seen_subcommand_from ${name}'`;
  const lines = NAMES.flatMap((name) => {
    const spec = specOf(name) as CommandSpec;
    const options = optionsOf(spec).map((option) => {
      const { short, completes, help, ...rest } = optionOf(option);
      const words = wordsOf(rest as Option);
      const value =
        words.length > 0
          ? `-x -a ${quote(words.join(' '))} `
          : completes === 'folder'
            ? "-x -a '(__fish_complete_directories)' "
            : '-r ';
      const letter = short === undefined ? '' : `-s ${short} `;
      return `complete -c pagepipe ${seen(name)} ${letter}-l ${dashed(option).slice(2)} ${takesValue(rest as Option) ? value : ''}-d ${quote(help)}`;
    });
    const words = (spec.words ?? []).join(' ');
    return [
      `complete -c pagepipe -n __fish_use_subcommand -f -a ${name} -d ${quote(spec.summary)}`,
      ...options,
      ...(words === '' ? [] : [`complete -c pagepipe ${seen(name)} -a ${quote(words)}`]),
    ];
  });
  return `# Completions of pagepipe for fish: pagepipe completion fish | source
${lines.join('\n')}
complete -c pagepipe ${seen('help')} -f -a ${quote(NAMES.join(' '))}
`;
}
