/**
 * Text for people. Names in a dump may have control characters: an escape sequence would command the terminal, a line break
 * would forge another message, and controls of writing direction would show a name in another order. They are printed as
 * `\u001b`, as in JSON.
 */

/** Moves to the start of the line and erases it. */
export const ERASE_LINE = '\r\x1b[K';

/** All control characters but tab and line feed, line separators, controls of direction, and bytes that are not UTF-8. */
const CONTROLS =
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\udc80-\udcff]/gu;

const escaped = (character: string): string => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`;

/** Text of any number of lines. JSON stays the same JSON. */
export const printable = (text: string): string => text.replace(CONTROLS, escaped);

/** A number of things whose plural ends in s. */
export const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`;

/** Text that must stay in its line, such as a message or a name. */
export const oneLine = (text: string): string => printable(text).replace(/[\t\n]/g, escaped);
