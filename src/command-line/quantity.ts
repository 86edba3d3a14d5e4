/** Numbers on the command line. Sizes and times may have a suffix, such as `4k`, `1G` or `1m`. */
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
 * @returns the number in that unit; NaN for anything else. A leading zero is refused, because it could mean octal
 */
export function parseQuantity(text: string, unit: string): number {
  const [, digits = '', suffix = ''] = /^(-?(?:0|[1-9]\d*)(?:\.\d+)?)([a-zA-Z]?)$/.exec(text) ?? [];
  if (digits === '') return Number.NaN;
  const factor = suffix === '' ? 1 : SUFFIXES[unit]?.(suffix);
  return Number(digits) * (factor ?? Number.NaN);
}
