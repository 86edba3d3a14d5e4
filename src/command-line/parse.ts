/** The words of a command line, by the table of options. */
import { parseArgs } from 'node:util';
import { closestMatch } from 'leven';
import { UsageError } from '../errors.js';
import { type CommandSpec, optionsOf } from './commands.js';
import { dashed, type Option, type OptionName, optionOf } from './options.js';
import { parseQuantity } from './quantity.js';

export interface Arguments {
  input: string[];
  /** By name in camelCase. */
  flags: Partial<Record<OptionName, unknown>>;
}

/** Letters that may be wrong, missing or too many in a word that was meant: at most so many, and one of so many. */
const MAX_WRONG = 3;
const LETTERS_FOR_ONE_WRONG = 3;

/** `; did you mean X?`, if there is something alike. */
export function suggestion(word: string, candidates: readonly string[]): string {
  const letters = word.replace(/^--/, '').length;
  const maxDistance = Math.min(MAX_WRONG, Math.floor(letters / LETTERS_FOR_ONE_WRONG));
  const close = closestMatch(word, candidates, { maxDistance });
  return close === undefined ? '' : `; did you mean ${close}?`;
}

/** Parses the words behind the name of a command. Throws {@link UsageError}. */
export function parse(spec: CommandSpec, words: readonly string[]): Arguments {
  const names = [...optionsOf(spec), ...(spec.oldNames ?? [])];
  const byName = new Map(names.map((name) => [dashed(name), name]));
  const options = Object.fromEntries(names.map((name) => [dashed(name).slice(2), shapeOf(optionOf(name))]));
  const { tokens } = parseArgs({ args: [...words], options, strict: false, tokens: true });
  const args: Arguments = { input: [], flags: {} };
  for (const token of tokens) {
    if (token.kind === 'positional') args.input.push(token.value);
    if (token.kind !== 'option') continue;
    const { rawName } = token;
    const name = byName.get(`--${token.name}`);
    if (name === undefined)
      throw new UsageError(`unknown option ${rawName}${suggestionFor(rawName, [...byName.keys()])}`);
    const option = optionOf(name);
    const value = valueGiven(option, rawName, token.value, token.inlineValue === true);
    if (option.isMultiple) args.flags[name] = [...((args.flags[name] as unknown[] | undefined) ?? []), value];
    else if (args.flags[name] !== undefined) throw new UsageError(`${rawName}: expected once`);
    else args.flags[name] = value;
  }
  return args;
}

const shapeOf = ({ type, short }: Option) => ({
  type: type === 'boolean' ? ('boolean' as const) : ('string' as const),
  ...(short === undefined ? {} : { short }),
});

const suggestionFor = (rawName: string, names: readonly string[]): string =>
  rawName.startsWith('--') ? suggestion(rawName, [...names, '--help']) : '';

function valueGiven(
  { type, value: unit }: Option,
  rawName: string,
  given: string | undefined,
  isInline: boolean,
): unknown {
  if (type === 'boolean') {
    if (given !== undefined) throw new UsageError(`${rawName}: expected no value, found ${JSON.stringify(given)}`);
    return true;
  }
  // -i=FILE as well as -iFILE.
  const value = isInline && !rawName.startsWith('--') ? given?.replace(/^=/, '') : given;
  const isMissing = value === undefined || value === '' || (!isInline && /^--?([a-z]|$)/.test(value) && value !== '-');
  if (type === 'string') {
    if (isMissing) throw new UsageError(`${rawName}: expected a value`);
    return value;
  }
  if (isMissing) throw new UsageError(`${rawName}: expected a number`);
  const number = parseQuantity(value, String(unit));
  if (Number.isNaN(number)) throw new UsageError(`${rawName}: expected a number, found ${JSON.stringify(value)}`);
  return number;
}
