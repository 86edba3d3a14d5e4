/**
 * The options of all commands, in one table, which has a file for each group in options/. Parsing, help, docs/options.md,
 * man pages and completions are made from it, so an option means the same and has the same default in every command that
 * takes it. The table loads no code of a command.
 */
import { CONTAINER_OPTIONS } from './options/containers.js';
import { IMAGE_OPTIONS } from './options/images.js';
import { CORE_OPTIONS, LOOK_OPTIONS } from './options/look.js';
import { MOVE_OPTIONS } from './options/move.js';
import { NETWORK_OPTIONS } from './options/network.js';
import type { Option } from './options/option.js';
import { PAGE_OPTIONS } from './options/pages.js';
import { RESTORE_OPTIONS } from './options/restore.js';
import { TEMPLATE_OPTIONS } from './options/template.js';

/** By name in camelCase. */
export const OPTIONS = {
  ...CONTAINER_OPTIONS,
  ...PAGE_OPTIONS,
  ...IMAGE_OPTIONS,
  ...NETWORK_OPTIONS,
  ...CORE_OPTIONS,
  ...RESTORE_OPTIONS,
  ...TEMPLATE_OPTIONS,
  ...MOVE_OPTIONS,
  ...LOOK_OPTIONS,

  // A part of the work.
  slice: {
    type: 'string',
    value: 'K/N',
    help: 'do only part K of N, for N machines: a line of the report says so, and pagepipe merge-report joins the reports; needs --json',
  },

  // What is said.
  json: { type: 'boolean', help: 'print results on stdout and messages on stderr as JSON (docs/json.md)' },
  progress: {
    type: 'boolean',
    help: 'say once a minute how far it is, also where stderr is no terminal, such as in the log of a job',
  },
  quiet: { type: 'boolean', short: 'q', help: 'print only warnings and errors on stderr' },
} as const satisfies Record<string, Option>;

export type OptionName = keyof typeof OPTIONS;

/** An option as the general type, without the exact type of its row. */
export const optionOf = (name: OptionName): Option => OPTIONS[name];

/** How an option is written: `--page-size` for `pageSize`. */
export const dashed = (name: OptionName): string => `--${optionOf(name).word ?? kebab(name)}`;

/** `page-size` for `pageSize`. */
export const kebab = (name: string): string => name.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** The value of an option as help shows it; undefined for one without. */
export const valueText = ({ value }: Option): string | undefined =>
  typeof value === 'object' ? value.join('|') : value;

/** How an option is written in help: `-i, --in FILE`. */
export function optionText(name: OptionName): string {
  const option = optionOf(name);
  const value = valueText(option);
  const short = option.short === undefined ? '' : `-${option.short}, `;
  return `${short}${dashed(name)}${value === undefined ? '' : ` ${value}`}`;
}

/** Options of every command that reads a dump. */
export const SOURCE_OPTIONS = [
  'from',
  'shardFds',
  'pageSize',
  'buffer',
  'spillDir',
  'maxBytes',
  'endpointUrl',
] as const;
/** Options of every command that writes a dump. */
export const SINK_OPTIONS = ['to', 'compress', 'prefix', 'blockSums', 'force', 'ifAbsent', 'dryRun'] as const;
/** Options of every command that listens. */
export const LISTEN_OPTIONS = [
  'listen',
  'stdio',
  'idleTimeout',
  'tls',
  'tlsCacert',
  'tlsCacrl',
  'tlsCert',
  'tlsKey',
] as const;
