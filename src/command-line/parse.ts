/** The words of a command line, by the table of options. */
import { closestMatch } from 'leven';
import { UsageError } from '../errors.js';
import type { CommandSpec } from './commands/spec.js';
import { optionsOf } from './commands.js';
import type { Option } from './options/option.js';
import { dashed, kebab, type OptionName, optionOf } from './options.js';
import { parseQuantity } from './quantity.js';

export interface Arguments {
  input: string[];
  /** By name in camelCase. */
  flags: Partial<Record<OptionName, unknown>>;
}

/** How far a suggestion may be from a word: at most so many letters changed, and one for each so many letters. */
const MAX_WRONG = 3;
const LETTERS_FOR_ONE_WRONG = 3;

/** `; did you mean X?` if a candidate is similar, otherwise nothing. */
export function suggestion(word: string, candidates: readonly string[]): string {
  const letters = word.replace(/^--/, '').length;
  const maxDistance = Math.min(MAX_WRONG, Math.floor(letters / LETTERS_FOR_ONE_WRONG));
  const close = closestMatch(word, candidates, { maxDistance });
  return close === undefined ? '' : `; did you mean ${close}?`;
}

/**
 * Parses the words after the name of a command with meow. What meow would ignore, or end the process for, is refused first.
 * @throws {UsageError}
 */
export async function parse(spec: CommandSpec, words: readonly string[]): Promise<Arguments> {
  const byWord = new Map<string, OptionName>();
  for (const name of [...optionsOf(spec), ...(spec.oldNames ?? [])]) {
    byWord.set(dashed(name), name);
    const { short } = optionOf(name);
    if (short !== undefined) byWord.set(`-${short}`, name);
  }
  const end = words.includes('--') ? words.indexOf('--') : words.length;
  const given = new Set<OptionName>();
  const argv = [...checked(words.slice(0, end), byWord, given), ...words.slice(end)];
  if (given.size === 0 && end === words.length) return { input: argv, flags: {} };
  // Loaded only now: to load it takes as long as a short command.
  const { default: meow } = await import('meow');
  const shapes = Object.fromEntries([...given].map((name) => [name, shapeOf(optionOf(name))]));
  const { input, flags } = meow({
    importMeta: { url: import.meta.url } as ImportMeta,
    pkg: {},
    argv,
    flags: shapes as never,
    autoHelp: false,
    autoVersion: false,
    inferType: false,
    booleanDefault: undefined as never,
  });
  const values: Arguments['flags'] = {};
  for (const [name, value] of Object.entries(flags) as [OptionName, unknown][]) {
    const option = optionOf(name);
    if (option.type !== 'number') values[name] = value;
    else if (option.isMultiple) values[name] = (value as string[]).map((text) => numberOf(option, name, text));
    else values[name] = numberOf(option, name, value as string);
  }
  return { input: input as string[], flags: values };
}

/** Numbers are parsed here: they have suffixes. */
const shapeOf = ({ type, short, isMultiple }: Option) => ({
  type: type === 'boolean' ? 'boolean' : 'string',
  ...(short === undefined ? {} : { shortFlag: short }),
  ...(isMultiple ? { isMultiple } : {}),
});

/**
 * The words in the form that meow reads reliably: each value joined to its option, each short option a word of its own.
 * Throws {@link UsageError} for unknown options, for options given twice, and for values that are missing or too many.
 * @param given gets the names of the options
 */
function checked(words: readonly string[], byWord: ReadonlyMap<string, OptionName>, given: Set<OptionName>): string[] {
  const found: string[] = [];
  const rest = words.flatMap((word) => splitShort(word, byWord));
  for (let i = 0; i < rest.length; i++) {
    const word = rest[i] as string;
    if (!word.startsWith('-') || word === '-') {
      found.push(word);
      continue;
    }
    const [option, inline] = word.split(/=(.*)/s) as [string, string | undefined];
    const name = byWord.get(option);
    if (name === undefined)
      throw new UsageError(`unknown option ${option}${suggestionFor(option, [...byWord.keys()])}`);
    const { type, isMultiple } = optionOf(name);
    if (given.has(name) && !isMultiple) throw new UsageError(`${option}: expected once`);
    given.add(name);
    if (type === 'boolean') {
      if (inline !== undefined) throw new UsageError(`${option}: expected no value, found ${JSON.stringify(inline)}`);
      found.push(`--${kebab(name)}`);
      continue;
    }
    const next = rest[i + 1];
    const value = inline ?? (next !== undefined && !/^--?[a-zA-Z]|^--$/.test(next) ? next : undefined);
    if (!value) throw new UsageError(`${option}: expected a ${type === 'number' ? 'number' : 'value'}`);
    if (inline === undefined) i++;
    found.push(`--${kebab(name)}=${value}`);
  }
  return found;
}

/** Turns `-iFILE` into `-i=FILE`, and `-qv` into `-q -v`. */
function splitShort(word: string, byWord: ReadonlyMap<string, OptionName>): string[] {
  const [, letter, more] = /^(-[a-zA-Z])([^=].*)$/s.exec(word) ?? [];
  const name = letter === undefined ? undefined : byWord.get(letter);
  if (letter === undefined || more === undefined || name === undefined) return [word];
  return optionOf(name).type === 'boolean' ? [letter, ...splitShort(`-${more}`, byWord)] : [`${letter}=${more}`];
}

const suggestionFor = (option: string, words: readonly string[]): string =>
  option.startsWith('--') ? suggestion(option, [...words.filter((word) => word.startsWith('--')), '--help']) : '';

function numberOf({ value: unit }: Option, name: OptionName, text: string): number {
  const number = parseQuantity(text, String(unit));
  if (Number.isNaN(number)) throw new UsageError(`${dashed(name)}: expected a number, found ${JSON.stringify(text)}`);
  return number;
}
