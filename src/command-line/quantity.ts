/** Numbers on the command line: whole or not, and of sizes and times with a suffix, such as `4k`, `1G` or `1m`. */
const KIB = 1024;

/** Bytes. Suffixes mean bytes also where the plain number means MiB. */
const SIZES: Readonly<Record<string, number>> = { k: KIB, m: KIB ** 2, g: KIB ** 3, t: KIB ** 4 };

/** What a suffix multiplies by, for each unit that an option may have. */
const SUFFIXES: Readonly<Record<string, (suffix: string) => number | undefined>> = {
  BYTES: (suffix) => SIZES[suffix.toLowerCase()],
  MIB: (suffix) => (SIZES[suffix.toLowerCase()] ?? Number.NaN) / KIB ** 2,
  SECONDS: (suffix) => ({ s: 1, m: 60, h: 3600, d: 86400 })[suffix],
};

/**
 * @param unit of the option, as help shows it; numbers of other units have no suffix
 * @returns in the unit; NaN for what is no such number. A zero in front is refused, since it might mean octal
 */
export function parseQuantity(text: string, unit: string): number {
  const [, digits = '', suffix = ''] = /^(-?(?:0|[1-9]\d*)(?:\.\d+)?)([a-zA-Z]?)$/.exec(text) ?? [];
  if (digits === '') return Number.NaN;
  const factor = suffix === '' ? 1 : SUFFIXES[unit]?.(suffix);
  return Number(digits) * (factor ?? Number.NaN);
}
