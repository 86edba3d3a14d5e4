/** Numbers in words: what is printed is read as the same number, and what crit has for it. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addressText, numberText, parseAddress, parseDigits, parseNumber } from '../../src/json/hints.js';
import type { Hints } from '../../src/protobuf/descriptor.js';

const NONE: Hints = {
  hex: false,
  flags: undefined,
  dev: false,
  odev: false,
  ipadd: false,
  dict: undefined,
  unixName: false,
};
const flags = (table: string): Hints => ({ ...NONE, flags: table });
const FLAGS = ['mmap.prot', 'mmap.flags', 'mmap.status', 'rfile.flags', 'seals.flags', 'pmap.flags', 'no.such'];

/** 32 bits, few of them set as often as many. */
const UINT32 = fc.oneof(
  fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  fc
    .array(fc.integer({ min: 0, max: 31 }), { maxLength: 5 })
    .map((bits) => bits.reduce((all, bit) => (all | (1 << bit)) >>> 0, 0)),
  fc.constantFrom(0, 1, 2 ** 31, 2 ** 32 - 1),
);

const asBigInt = (found: ReturnType<typeof parseNumber>): bigint | undefined =>
  found && ((BigInt(found.hi) << 32n) | BigInt(found.lo)) * (found.negative ? -1n : 1n);

describe('words', () => {
  const ways: [what: string, hints: Hints, name: string][] = [
    ...FLAGS.map((table): [string, Hints, string] => [table, flags(table), 'flags']),
    ['dev', { ...NONE, dev: true }, 'dev'],
    ['odev', { ...NONE, dev: true, odev: true }, 'rdev'],
    ...['family', 'type', 'state', 'proto', 'constructor'].map((name): [string, Hints, string] => [
      `sk ${name}`,
      { ...NONE, dict: 'sk' },
      name,
    ]),
    ['task_state', { ...NONE, dict: 'gen' }, 'task_state'],
    ['none', NONE, 'id'],
  ];

  it.each(ways)('of %s are read as the number that they were made of', (_, hints, name) => {
    fc.assert(
      fc.property(fc.oneof(UINT32, fc.integer({ min: 0, max: 200 })), (value) => {
        const text = numberText(hints, name, value) ?? `${value}`;
        expect(asBigInt(parseNumber(hints, name, text)), text).toBe(BigInt(value));
        // As a number in digits, of whatever base.
        for (const digits of [`${value}`, `0x${value.toString(16)}`, `0o${value.toString(8)}`]) {
          expect(asBigInt(parseNumber(hints, name, digits)), digits).toBe(BigInt(value));
        }
      }),
    );
  });

  it.each<[hints: Hints, name: string, text: string, value: bigint]>([
    [flags('mmap.status'), 'status', 'VMA_AREA_REGULAR | VMA_AREA_NOT_ACCOUNTABLE', 0x40001n],
    [{ ...NONE, dict: 'gen' }, 'task_state', 'Dead', 2n],
  ])('of crit 4.3 are read, too: %o, %s: %s', (hints, name, text, value) => {
    expect(asBigInt(parseNumber(hints, name, text))).toBe(value);
  });

  it.each<[hints: Hints, name: string, value: number, text: string | undefined]>([
    [flags('mmap.prot'), 'prot', 5, 'PROT_READ | PROT_EXEC'],
    [flags('mmap.prot'), 'prot', 0, ''],
    [flags('mmap.prot'), 'prot', 0x18, '0x18'],
    [flags('mmap.status'), 'status', 0x80000201, 'VMA_AREA_REGULAR | VMA_ANON_PRIVATE | VMA_UNSUPP'],
    [flags('mmap.status'), 'status', 0x10010, '0x10010'],
    [
      flags('rfile.flags'),
      'flags',
      0xffffffff,
      expect.stringMatching(/^O_WRONLY \| O_RDWR .* \| O_CLOEXEC \| 0xfff0003c$/),
    ],
    [flags('no.such'), 'flags', 31, '0x1f'],
    [{ ...NONE, dev: true }, 'dev', 0x800001, '8:1'],
    [{ ...NONE, dev: true }, 'dev', 0xffffffff, '4095:1048575'],
    [{ ...NONE, dev: true, odev: true }, 'rdev', 0x12345678, '1110:74616'],
    [{ ...NONE, dev: true, odev: true }, 'rdev', 0xffffffff, '4095:1048575'],
    [{ ...NONE, dict: 'sk' }, 'family', 2, 'INET'],
    [{ ...NONE, dict: 'sk' }, 'family', 3, undefined],
    [{ ...NONE, dict: 'sk' }, 'proto', 0, 'IP'],
    [{ ...NONE, dict: 'sk' }, 'src_port', 2, undefined],
    [{ ...NONE, dict: 'gen' }, 'task_state', 3, 'Zombie'],
    [{ ...NONE, dict: 'no' }, 'task_state', 3, undefined],
    [NONE, 'id', 3, undefined],
  ])('%o, %s: %i is %o', (hints, name, value, text) => {
    expect(numberText(hints, name, value)).toEqual(text);
  });

  it.each<[hints: Hints, text: string, value: bigint | undefined]>([
    [flags('mmap.prot'), 'PROT_READ', 1n],
    [flags('mmap.prot'), ' PROT_EXEC|PROT_READ ', 5n],
    [flags('mmap.prot'), 'PROT_READ | 0x8 | 16', 25n],
    [flags('mmap.prot'), 'PROT_READ | PROT_READ', 1n],
    [flags('mmap.prot'), '   ', 0n],
    [flags('mmap.status'), 'VMA_AREA_NONE', 0n],
    [flags('mmap.status'), 'VMA_UNSUPP', 0x80000000n],
    [flags('mmap.prot'), 'PROT_READ |', undefined],
    [flags('mmap.prot'), 'MAP_PRIVATE', undefined],
    [flags('mmap.prot'), 'prot_read', undefined],
    [flags('mmap.prot'), 'constructor', undefined],
    [flags('mmap.prot'), '-1', undefined],
    [flags('mmap.prot'), '0x100000000', undefined],
    [{ ...NONE, dev: true }, '8:1', 0x800001n],
    [{ ...NONE, dev: true }, '4096:0', undefined],
    [{ ...NONE, dev: true }, '0:1048576', undefined],
    [{ ...NONE, dev: true }, '8:', undefined],
    [{ ...NONE, dev: true }, ':1', undefined],
    [{ ...NONE, dev: true }, '8:1:2', undefined],
    [{ ...NONE, dev: true }, '-8:1', undefined],
    [{ ...NONE, dev: true }, '0x8:1', undefined],
    [{ ...NONE, dict: 'sk' }, 'INET', 2n],
    [{ ...NONE, dict: 'sk' }, 'STREAM', undefined],
    [{ ...NONE, dict: 'sk' }, 'toString', undefined],
    [{ ...NONE, dict: 'sk' }, '', undefined],
    [NONE, 'INET', undefined],
  ])('%o: %j is %o', (hints, text, value) => {
    expect(asBigInt(parseNumber(hints, 'family', text))).toBe(value);
  });
});

describe('digits', () => {
  it('are what BigInt takes them for, up to 64 bits', () => {
    const digits = fc
      .tuple(
        fc.oneof(
          fc.bigInt({ min: 0n, max: 2n ** 66n }),
          fc.constantFrom(2n ** 53n, 10n ** 15n - 1n, 10n ** 15n, 2n ** 64n - 1n, 2n ** 64n),
        ),
        fc.constantFrom(10, 16, 8, 2),
        fc.integer({ min: 0, max: 3 }),
        fc.boolean(),
      )
      .map(([value, base, zeros, upper]) => {
        const prefix = { 10: '', 16: '0x', 8: '0o', 2: '0b' }[base];
        const text = `${prefix}${'0'.repeat(base === 10 ? 0 : zeros)}${value.toString(base)}`;
        return upper ? text.toUpperCase() : text;
      });
    fc.assert(
      fc.property(digits, fc.boolean(), (text, negative) => {
        const value = BigInt(text);
        // 64 digits of base 2 are the most that are looked at.
        if (value >= 2n ** 64n || text.replace(/^0[box]/i, '').length > 64) return;
        const found = parseDigits(negative ? `-${text}` : text);
        expect(asBigInt(found), text).toBe(negative ? -value : value);
        expect(found?.negative).toBe(negative);
      }),
      { numRuns: 1000 },
    );
  });

  it('are nothing else', () => {
    const isNumber = (text: string) => /^-?(0+|[1-9]\d*|0[xX][\da-fA-F]+|0[oO][0-7]+|0[bB][01]+)$/.test(text);
    const almost = fc.string({ unit: fc.constantFrom(...'0123459afgx@`:/-+. _XobB'), minLength: 1, maxLength: 6 });
    const hex = almost.map((text) => `0x${text}`);
    fc.assert(
      fc.property(fc.oneof(almost, hex, fc.string()), (text) => {
        expect(parseDigits(text) !== undefined, text).toBe(isNumber(text));
      }),
      { numRuns: 2000 },
    );
  });

  it.each([
    ...[
      '',
      ' ',
      '1 ',
      ' 1',
      '+1',
      '1.0',
      '1e3',
      '0x',
      '0b2',
      '0o8',
      '--1',
      '0755',
      '-01',
      '0123456789012345678',
      '-',
      '1_000',
      '0x@',
      '0x`1',
      '1n',
      'NaN',
      'Infinity',
    ],
    '18446744073709551616',
    '0x10000000000000000',
    '9'.repeat(1_000_000),
    `0b${'1'.repeat(65)}`,
  ])('%.30s is none', (text) => {
    expect(parseDigits(text)).toBeUndefined();
  });
});

describe('addresses', () => {
  const word = (...bytes: [number, number, number, number]) =>
    new DataView(Uint8Array.from(bytes).buffer).getUint32(0, true);
  const words = (...groups: number[]) =>
    [0, 2, 4, 6].map((i) => {
      const [a = 0, b = 0] = [groups[i], groups[i + 1]];
      return word(a >> 8, a & 255, b >> 8, b & 255);
    });

  it('are read as the words that they were made of', () => {
    const group = fc.oneof(fc.constant(0), fc.constant(0xffff), fc.integer({ min: 0, max: 0xffff }));
    const address = fc.oneof(
      UINT32.map((value) => [value]),
      fc.array(group, { minLength: 8, maxLength: 8 }).map((groups) => words(...groups)),
    );
    fc.assert(
      fc.property(address, (found) => {
        expect(parseAddress(addressText(found) as string)).toEqual(found);
      }),
      { numRuns: 1000 },
    );
  });

  it.each<[found: number[], text: string | undefined]>([
    [[word(127, 0, 0, 1)], '127.0.0.1'],
    [[0], '0.0.0.0'],
    [[0xffffffff], '255.255.255.255'],
    [words(0, 0, 0, 0, 0, 0, 0, 0), '::'],
    [words(0, 0, 0, 0, 0, 0, 0, 1), '::1'],
    [words(0xfe80, 0, 0, 0, 0, 0, 0, 0), 'fe80::'],
    [words(0x2001, 0xdb8, 0, 0, 1, 0, 0, 1), '2001:db8::1:0:0:1'],
    [words(0x2001, 0xdb8, 0, 1, 1, 1, 1, 1), '2001:db8:0:1:1:1:1:1'],
    [words(1, 0, 0, 2, 0, 0, 0, 3), '1:0:0:2::3'],
    [words(0, 0, 0, 0, 0, 0xffff, 0x7f00, 1), '::ffff:127.0.0.1'],
    [words(0, 0, 0, 0, 0, 0, 0x7f00, 1), '::7f00:1'],
    [words(1, 2, 3, 4, 5, 6, 7, 8), '1:2:3:4:5:6:7:8'],
    [[], undefined],
    [[1, 2], undefined],
    [[1, 2, 3], undefined],
    [[1, 2, 3, 4, 5], undefined],
  ])('%j is %s', (found, text) => {
    expect(addressText(found)).toBe(text);
  });

  it.each([
    ...['1.2.3', '1.2.3.4.5', '256.0.0.1', '01.2.3.4', '1.2.3.', '1.2.3.-4', '1.2.3.4 ', 'a.b.c.d', ''],
    ...[
      ':',
      ':::',
      '1::2::3',
      '1:2:3:4:5:6:7',
      '1:2:3:4:5:6:7:8:9',
      '1:2:3:4:5:6:7:8::',
      '12345::',
      'g::',
      '::1.2.3',
      '::1.2.3.4:5',
      '1.2.3.4::',
    ],
  ])('%j is none', (text) => {
    expect(parseAddress(text)).toBeUndefined();
  });

  it.each<[text: string, same: string]>([
    ['::FFFF:7F00:1', '::ffff:127.0.0.1'],
    ['0:0:0:0:0:0:0:1', '::1'],
    ['::ffff:127.0.0.1', '::ffff:7f00:1'],
    ['1:2:3:4:5:6:1.2.3.4', '1:2:3:4:5:6:102:304'],
    ['2001:0db8::0001', '2001:db8::1'],
  ])('%s is %s', (text, same) => {
    expect(parseAddress(text)).toBeDefined();
    expect(parseAddress(text)).toEqual(parseAddress(same));
  });
});
