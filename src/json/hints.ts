/**
 * How numbers are written for people: names of flags and of constants, device numbers, addresses. The names are those of
 * the kernel's headers, in the choice that crit makes; whatever has no name keeps its number, so nothing is lost.
 */
import type { Magnitude } from '../protobuf/builder.js';
import type { Hints } from '../protobuf/descriptor.js';

type Names = readonly (readonly [name: string, bits: number])[];

/** Source of the numbers: Linux, include/uapi; of VMA_*, PE_*: CRIU's image.h. */
const FLAGS: Record<string, Names> = {
  'mmap.prot': [
    ['PROT_READ', 0x1],
    ['PROT_WRITE', 0x2],
    ['PROT_EXEC', 0x4],
  ],
  'mmap.flags': [
    ['MAP_SHARED', 0x1],
    ['MAP_PRIVATE', 0x2],
    ['MAP_DROPPABLE', 0x8],
    ['MAP_ANON', 0x20],
    ['MAP_GROWSDOWN', 0x100],
  ],
  'mmap.status': [
    ['VMA_AREA_NONE', 0],
    ['VMA_AREA_REGULAR', 1 << 0],
    ['VMA_AREA_STACK', 1 << 1],
    ['VMA_AREA_VSYSCALL', 1 << 2],
    ['VMA_AREA_VDSO', 1 << 3],
    ['VMA_AREA_HEAP', 1 << 5],
    ['VMA_FILE_PRIVATE', 1 << 6],
    ['VMA_FILE_SHARED', 1 << 7],
    ['VMA_ANON_SHARED', 1 << 8],
    ['VMA_ANON_PRIVATE', 1 << 9],
    ['VMA_AREA_SYSVIPC', 1 << 10],
    ['VMA_AREA_SOCKET', 1 << 11],
    ['VMA_AREA_VVAR', 1 << 12],
    ['VMA_AREA_AIORING', 1 << 13],
    ['VMA_AREA_MEMFD', 1 << 14],
    ['VMA_AREA_SHSTK', 1 << 15],
    ['VMA_AREA_UPROBES', 1 << 17],
    ['VMA_UNSUPP', 0x80000000],
  ],
  'rfile.flags': [
    ['O_WRONLY', 0o1],
    ['O_RDWR', 0o2],
    ['O_CREAT', 0o100],
    ['O_EXCL', 0o200],
    ['O_NOCTTY', 0o400],
    ['O_TRUNC', 0o1000],
    ['O_APPEND', 0o2000],
    ['O_NONBLOCK', 0o4000],
    ['O_DSYNC', 0o10000],
    ['FASYNC', 0o20000],
    ['O_DIRECT', 0o40000],
    ['O_LARGEFILE', 0o100000],
    ['O_DIRECTORY', 0o200000],
    ['O_NOFOLLOW', 0o400000],
    ['O_NOATIME', 0o1000000],
    ['O_CLOEXEC', 0o2000000],
  ],
  'seals.flags': [
    ['F_SEAL_SEAL', 0x1],
    ['F_SEAL_SHRINK', 0x2],
    ['F_SEAL_GROW', 0x4],
    ['F_SEAL_WRITE', 0x8],
    ['F_SEAL_FUTURE_WRITE', 0x10],
  ],
  'pmap.flags': [
    ['PE_PARENT', 0x1],
    ['PE_LAZY', 0x2],
    ['PE_PRESENT', 0x4],
    ['PE_PAYLOAD_ALIGNED', 0x8],
  ],
};

/** Names as they are read: also those that crit 4.3 prints, and 4.2.1 does not. */
const READ_FLAGS: Record<string, Names> = {
  ...FLAGS,
  'mmap.status': [...(FLAGS['mmap.status'] ?? []), ['VMA_AREA_NOT_ACCOUNTABLE', 1 << 18]],
};

/** Constants, by the name of the field that holds them. */
const CONSTANTS: Record<string, Record<string, Record<number, string>>> = {
  gen: {
    task_state: { 1: 'Alive', 3: 'Zombie', 6: 'Stopped' },
  },
  sk: {
    family: { 1: 'UNIX', 2: 'INET', 10: 'INET6', 16: 'NETLINK', 17: 'PACKET' },
    type: { 1: 'STREAM', 2: 'DGRAM', 3: 'RAW', 5: 'SEQPACKET', 10: 'PACKET' },
    state: {
      1: 'ESTABLISHED',
      2: 'SYN_SENT',
      3: 'SYN_RECV',
      4: 'FIN_WAIT1',
      5: 'FIN_WAIT2',
      6: 'TIME_WAIT',
      7: 'CLOSE',
      8: 'CLOSE_WAIT',
      9: 'LAST_ACK',
      10: 'LISTEN',
    },
    proto: { 0: 'IP', 6: 'TCP', 17: 'UDP', 136: 'UDPLITE' },
  },
};

/** The same of constants. */
const NEWER_CONSTANTS: typeof CONSTANTS = { gen: { task_state: { 2: 'Dead' } } };

/** The same few values occur in every entry. */
const MAX_CACHED_FLAGS = 1024;
const cachedFlags = new Map<string, Map<number, string>>();

/**
 * A 32-bit number as its hints write it, or undefined if it is written as a plain number.
 * @param name of the field
 */
export function numberText(hints: Hints, name: string, value: number): string | undefined {
  if (hints.dev) return deviceText(value, hints.odev);
  if (hints.flags !== undefined) return flagsText(hints.flags, value);
  if (hints.dict !== undefined) return CONSTANTS[hints.dict]?.[name]?.[value];
  return undefined;
}

function flagsText(table: string, value: number): string {
  let cache = cachedFlags.get(table);
  if (!cache) {
    cache = new Map();
    cachedFlags.set(table, cache);
  }
  let text = cache.get(value);
  if (text === undefined) {
    text = joinFlags(FLAGS[table] ?? [], value);
    if (cache.size < MAX_CACHED_FLAGS) cache.set(value, text);
  }
  return text;
}

function joinFlags(names: Names, value: number): string {
  const words: string[] = [];
  let rest = value;
  for (const [name, bits] of names) {
    if ((value & bits) !== 0) words.push(name);
    rest &= ~bits;
  }
  if (rest !== 0) words.push(`0x${(rest >>> 0).toString(16)}`);
  return words.join(' | ');
}

/** Bits of the minor number in the kernel's own encoding. */
const MINOR_BITS = 20;

/** `major:minor`; `odev` is what glibc's makedev gives, else the kernel's internal encoding. */
function deviceText(value: number, odev: boolean): string {
  if (!odev) return `${value >>> MINOR_BITS}:${value & ((1 << MINOR_BITS) - 1)}`;
  return `${(value >>> 8) & 0xfff}:${(value & 0xff) | ((value >>> 12) & 0xfff00)}`;
}

/**
 * The number that a text means: names of the hints, or digits.
 * @param name of the field
 * @returns undefined if it is not a number
 */
export function parseNumber(hints: Hints, name: string, text: string): Magnitude | undefined {
  if (hints.dev && text.includes(':')) return parseDevice(text, hints.odev);
  if (hints.flags !== undefined) return parseFlags(READ_FLAGS[hints.flags] ?? [], text);
  if (hints.dict !== undefined) {
    const names = { ...CONSTANTS[hints.dict]?.[name], ...NEWER_CONSTANTS[hints.dict]?.[name] };
    const found = Object.entries(names).find(([, word]) => word === text);
    if (found) return magnitude(Number(found[0]));
  }
  return parseDigits(text);
}

function parseFlags(names: Names, text: string): Magnitude | undefined {
  let value = 0;
  if (text.trim() === '') return magnitude(0);
  for (const word of text.split('|').map((part) => part.trim())) {
    const bits = names.find(([known]) => known === word)?.[1];
    const number = bits === undefined ? parseDigits(word) : magnitude(bits);
    if (number?.hi !== 0 || number.negative) return undefined;
    value |= number.lo;
  }
  return magnitude(value >>> 0);
}

function parseDevice(text: string, odev: boolean): Magnitude | undefined {
  const [, majorText, minorText] = /^(\d{1,10}):(\d{1,10})$/.exec(text) ?? [];
  if (majorText === undefined) return undefined;
  const [major, minor] = [Number(majorText), Number(minorText)];
  const fits = major < 1 << 12 && minor < 1 << MINOR_BITS;
  if (!fits) return undefined;
  return magnitude(
    (odev ? (minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12) : (major << MINOR_BITS) | minor) >>> 0,
  );
}

const parsed: Magnitude = { negative: false, lo: 0, hi: 0 };

function magnitude(value: number): Magnitude {
  parsed.negative = false;
  parsed.lo = value >>> 0;
  parsed.hi = Math.floor(value / 2 ** 32);
  return parsed;
}

/** Most digits of a number that a double holds exactly. */
const SAFE_DIGITS = 15;

/**
 * Decimal, or hexadecimal, octal, binary with their prefixes; at most 64 bits. A zero in front is refused, as by crit: modes
 * are often written so, and would be read as decimal. The result is overwritten by the next.
 */
export function parseDigits(text: string): Magnitude | undefined {
  const first = text.charCodeAt(0);
  if (first >= 0x30 && first <= 0x39 && text.length <= SAFE_DIGITS) {
    const value = safeDigits(text);
    if (value >= 0) return magnitude(value);
  }
  const [, sign, digits] = /^(-?)(0+|[1-9]\d*|0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.exec(text) ?? [];
  // 2^64 has 20 digits, and 64 in binary.
  if (digits === undefined || digits.length > 66) return undefined;
  const value = BigInt(digits);
  if (value >= 1n << 64n) return undefined;
  parsed.negative = sign === '-';
  parsed.lo = Number(value & 0xffffffffn);
  parsed.hi = Number(value >> 32n);
  return parsed;
}

/** A short decimal or hexadecimal number, or -1. */
function safeDigits(text: string): number {
  const hex = text.length > 2 && text.charCodeAt(0) === 0x30 && (text.charCodeAt(1) | 0x20) === 0x78;
  if (hex) {
    // 13 digits at the most: below 2^53.
    let value = 0;
    for (let i = 2; i < text.length; i++) {
      const code = text.charCodeAt(i);
      const letter = code | 0x20;
      const digit = code <= 0x39 ? code - 0x30 : letter >= 0x61 ? letter - 0x57 : -1;
      if (digit < 0 || digit > 15) return -1;
      value = value * 16 + digit;
    }
    return value;
  }
  if (text.length > 1 && text.charCodeAt(0) === 0x30) return -1;
  let value = 0;
  for (let i = 0; i < text.length; i++) {
    const digit = text.charCodeAt(i) - 0x30;
    if (digit < 0 || digit > 9) return -1;
    value = value * 10 + digit;
  }
  return value;
}

/** Words of an IPv6 address. */
const IPV6_WORDS = 4;
/** 16-bit groups of an IPv6 address. */
const IPV6_GROUPS = 8;

/** An address as crit writes it, of words in network byte order; undefined for any other count of words. */
export function addressText(words: readonly number[]): string | undefined {
  if (words.length !== 1 && words.length !== IPV6_WORDS) return undefined;
  const bytes = words.flatMap((word) => [word & 255, (word >>> 8) & 255, (word >>> 16) & 255, word >>> 24]);
  if (words.length === 1) return bytes.join('.');
  const text = shortestIpv6(
    bytes.map((byte, i) => (i % 2 || i === 0 ? '' : ':') + byte.toString(16).padStart(2, '0')).join(''),
  );
  const mapped = /^::ffff:[^:]+:[^:]+$/.test(text);
  return mapped ? `::ffff:${bytes.slice(12).join('.')}` : text;
}

/** An IPv6 address with `::` for its longest run of zeros, all in groups: URL knows how (node:net takes 10 ms to load). */
const shortestIpv6 = (text: string): string => new URL(`http://[${text}]`).hostname.slice(1, -1);

/** The words of an address in network byte order, or undefined if the text is not an address. */
export function parseAddress(text: string): number[] | undefined {
  const groups = text.includes(':') ? ipv6Groups(text) : ipv4Groups(text);
  if (!groups) return undefined;
  const swapped = groups.map((group) => (group >> 8) | ((group & 255) << 8));
  return Array.from({ length: groups.length / 2 }, (_, i) => {
    const [first = 0, second = 0] = swapped.slice(2 * i);
    return (first | (second << 16)) >>> 0;
  });
}

function ipv4Groups(text: string): number[] | undefined {
  if (!/^(?:(?:0|[1-9]\d{0,2})(?:\.(?!$)|$)){4}$/.test(text)) return undefined;
  const [a = 0, b = 0, c = 0, d = 0] = text.split('.').map(Number);
  return Math.max(a, b, c, d) < 256 ? [(a << 8) | b, (c << 8) | d] : undefined;
}

function ipv6Groups(text: string): number[] | undefined {
  if (!/^[\da-fA-F:.]+$/.test(text) || !URL.canParse(`http://[${text}]`)) return undefined;
  const [before = [], after = []] = shortestIpv6(text)
    .split('::')
    .map((part) => (part === '' ? [] : part.split(':').map((group) => Number.parseInt(group, 16))));
  return [...before, ...new Array<number>(IPV6_GROUPS - before.length - after.length).fill(0), ...after];
}
