/** What the table says of an option. */

export interface Option {
  /** What it is called, where another option has that name in another sense: each command takes only one of them. */
  word?: string;
  type: 'string' | 'boolean' | 'number';
  /** One letter: `i` for `-i`. */
  short?: string;
  isMultiple?: true;
  /** The placeholder of the value in help, or the words that it can be. */
  value?: string | readonly string[];
  /** What a shell completes the value with. */
  completes?: 'file' | 'folder';
  /** What it does, in one or two sentences. */
  help: string;
  /** What each of the words means. */
  meanings?: Readonly<Record<string, string>>;
  /** The default, in words. */
  fallback?: string;
}

export const ADDRESS = { type: 'string', value: 'HOST:PORT' } as const;
export const FILE = { type: 'string', value: 'FILE', completes: 'file' } as const;
