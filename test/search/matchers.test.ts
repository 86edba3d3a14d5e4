/** Matchers against a naive search over the whole memory, with views of all sizes. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hexMatcher, Literal } from '../../src/search/literal.js';
import { AnyOf, type Matcher } from '../../src/search/matcher.js';
import { Regex, type RegexOptions } from '../../src/search/regex.js';
import { type ScannedPiece, scan } from '../../src/search/scan.js';

const PAGE = 16;

/** Memory in pieces of any number of pages. */
function* pieces(memory: Uint8Array, cuts: readonly number[]): Generator<ScannedPiece> {
  const shared = new Uint8Array(memory.length);
  const all = memory.length / PAGE;
  for (let page = 0, i = 0; page < all; i++) {
    const pages = Math.min(all - page, cuts.length === 0 ? all : (cuts[i % cuts.length] as number));
    const bytes = shared.subarray(0, pages * PAGE);
    bytes.set(memory.subarray(page * PAGE, (page + pages) * PAGE));
    yield { pageNumber: page, pages, bytes };
    page += pages;
  }
}

type Position = [start: number, end: number];

function found(
  matcher: Matcher,
  memory: Uint8Array,
  cuts: readonly number[] = [],
  viewBytes = 1,
  context = 0,
): Position[] {
  const positions: Position[] = [];
  for (const match of scan(pieces(memory, cuts), matcher, { pageSize: PAGE, viewBytes, context })) {
    const start = match.pageNumber * PAGE + match.pageOffset;
    const end = start + match.end - match.start;
    const around = memory.subarray(Math.max(0, start - context), Math.min(memory.length, end + context));
    expect(match.bytes.equals(around)).toBe(true);
    positions.push([start, end]);
  }
  return positions;
}

const padded = (bytes: Uint8Array): Buffer =>
  Buffer.concat([bytes, Buffer.alloc((PAGE - (bytes.length % PAGE)) % PAGE, 0x2e)]);

/** What an engine that goes back finds, over all memory at once. */
function oracle(expression: RegExp, memory: Buffer): Position[] {
  return [...memory.toString('latin1').matchAll(expression)].map(({ index, 0: text }) => [index, index + text.length]);
}

const cuts = fc.array(fc.integer({ min: 1, max: 5 }), { maxLength: 4 });
const views = fc.integer({ min: 1, max: 80 });
/** Few different bytes, so that there is much to find. */
const memories = fc
  .array(fc.constantFrom(...'aab-X1 \n\0\xe9'), { maxLength: 200 })
  .map((all) => padded(Buffer.from(all.join(''), 'latin1')));

describe('fixed bytes', () => {
  it('are found wherever pieces and views end, once', () => {
    const needles = fc.array(fc.constantFrom(...'ab-'), { minLength: 1, maxLength: 6 }).map((all) => all.join(''));
    fc.assert(
      fc.property(
        memories,
        needles,
        cuts,
        views,
        fc.integer({ min: 0, max: 20 }),
        (memory, needle, cut, view, context) => {
          const expected = oracle(new RegExp(needle, 'g'), memory);
          expect(found(new Literal(Buffer.from(needle)), memory, cut, view, context)).toEqual(expected);
        },
      ),
    );
  });

  it('of several kinds are found in the order of their places', () => {
    const memory = padded(Buffer.from('xx needle yy n\0e\0e\0d\0l\0e\0 needle'));
    const matcher = new AnyOf([new Literal(Buffer.from('needle')), new Literal(Buffer.from('needle', 'utf16le'))]);
    const expected = [
      [3, 9],
      [13, 25],
      [26, 32],
    ];
    for (const view of [1, 7, 1000]) expect(found(matcher, memory, [1], view)).toEqual(expected);
  });
});

describe('hex with wildcards', () => {
  it('finds what agrees in the digits that are given', () => {
    const digit = fc.constantFrom(...'0126abe??');
    const patterns = fc
      .array(fc.tuple(digit, digit), { minLength: 1, maxLength: 4 })
      .map((pairs) => pairs.map((pair) => pair.join('')))
      .filter((pairs) => /[^?]/.test(pairs.join('')));
    fc.assert(
      fc.property(memories, patterns, cuts, views, (memory, pattern, cut, view) => {
        const expected: Position[] = [];
        for (let at = 0; at + pattern.length <= memory.length; ) {
          const here = memory.subarray(at, at + pattern.length).toString('hex');
          const matches = [...pattern.join('')].every((digit, i) => digit === '?' || digit === here[i]);
          if (matches) expected.push([at, at + pattern.length]);
          at += matches ? pattern.length : 1;
        }
        expect(found(hexMatcher(pattern.join(' ')), memory, cut, view)).toEqual(expected);
      }),
    );
  });

  it.each([
    ['de ad', [[1, 3]]],
    ['DEad', [[1, 3]]],
    ['d? ?d be', [[1, 4]]],
    ['?? ad', [[1, 3]]],
    ['be ff', []],
  ])('finds %s', (pattern, expected) => {
    expect(found(hexMatcher(pattern), padded(Buffer.from('00deadbeef', 'hex')))).toEqual(expected);
  });

  it.each([
    ['', 'expected two digits for each byte, found none'],
    ['abc', 'expected two digits for each byte, found 3'],
    ['xy', 'expected hexadecimal digits or ?, found "x"'],
    ['?? ??', 'expected a digit, found only wildcards'],
  ])('refuses %j', (pattern, message) => {
    expect(() => hexMatcher(pattern)).toThrow(new RangeError(message));
  });
});

/** Patterns that RegExp understands in the same way, as far as it needs no more than the bytes. */
const atoms = fc.constantFrom(
  'a',
  'b',
  '-',
  '1',
  '[ab]',
  '[^a]',
  '[^\\n]',
  '\\w',
  '\\s',
  '\\x00',
  '\\xe9',
  '(?:a|ab)',
  'X',
);
const quantified = fc
  .tuple(atoms, fc.constantFrom('', '', '', '*', '+', '?', '*?', '+?', '{2}', '{1,3}'))
  .map((all) => all.join(''));
const assertion = fc.constantFrom('\\b', '\\B', '^', '$');
const sequence = fc
  .array(fc.oneof({ weight: 6, arbitrary: quantified }, assertion), { minLength: 1, maxLength: 5 })
  .map((all) => all.join(''));
const patterns = fc
  .array(sequence, { minLength: 1, maxLength: 3 })
  .map((all) => all.join('|'))
  .filter((pattern) => {
    // Patterns that take nothing are refused, also where an assertion would not hold.
    const bare = pattern.replaceAll(/\\b|\\B|\^(?!a\]|\\)|\$/gi, '');
    return !new RegExp(`^(?:${bare})$`).test('') && !bare.split('|').includes('');
  });

const regex = (pattern: string, memory: Uint8Array, options: RegexOptions = {}, view = 1000) =>
  found(new Regex(pattern, options), padded(memory), [], view);

describe('regular expressions', () => {
  it('find what an engine that goes back finds, wherever pieces and views end', () => {
    fc.assert(
      fc.property(patterns, memories, cuts, views, (pattern, memory, cut, view) => {
        const expected = oracle(new RegExp(pattern, 'gm'), memory);
        expect(found(new Regex(pattern, { reach: 400 }), memory, cut, view)).toEqual(expected);
      }),
      { numRuns: 150 },
    );
  });

  it('find no more than the longest match, wherever pieces and views end', () => {
    fc.assert(
      fc.property(
        patterns,
        memories,
        cuts,
        views,
        fc.integer({ min: 1, max: 20 }),
        (pattern, memory, cut, view, reach) => {
          const whole = found(new Regex(pattern, { reach }), memory, [], 1000);
          for (const [start, end] of whole) expect(end - start).toBeLessThanOrEqual(reach);
          expect(found(new Regex(pattern, { reach }), memory, cut, view)).toEqual(whole);
        },
      ),
      { numRuns: 100 },
    );
  });

  it.each<[string, string, RegexOptions, Position[]]>([
    ['a+', 'xaaax', {}, [[1, 4]]],
    ['password', 'PassWord', { ignoreCase: true }, [[0, 8]]],
    // A character is its bytes in UTF-8, whatever case is.
    ['é+', '\xc3\xa9\xc3\xa9', {}, [[0, 4]]],
    ['É', '\xc3\x89\xe3\x89', { ignoreCase: true }, [[0, 2]]],
    ['\\xe9', '\xc9\xe9', { ignoreCase: true }, [[1, 2]]],
    ['[\\x80-\\xff]+', 'a\x80\xffb', {}, [[1, 3]]],
    ['[]a]+[[:digit:]]', 'x]a1', {}, [[1, 4]]],
    [
      '.+',
      'ab\ncd',
      {},
      [
        [0, 2],
        [3, 16],
      ],
    ],
    ['(?s)^b.+', 'ab\nb\n', {}, [[3, 16]]],
    // Longer than the longest match, so in parts.
    [
      'a{3,}',
      'xaaaaaaa',
      { reach: 4 },
      [
        [1, 5],
        [5, 8],
      ],
    ],
    ['a[^z]*z', 'a......az', { reach: 4 }, [[7, 9]]],
  ])('%s in %j', (pattern, text, options, expected) => {
    for (const view of [1, 1000]) expect(regex(pattern, Buffer.from(text, 'latin1'), options, view)).toEqual(expected);
  });

  it.each([
    ['a*', /takes at least a byte/],
    ['\\b', /takes at least a byte/],
    ['(', /missing closing/],
    ['(a)\\1', /invalid escape/],
    ['(?=a)', /invalid/],
    ['\\pL', /about characters/],
    ['\\Aa', /no meaning/],
    ['[é]', /expected ASCII/],
    ['\\x{100}', /expected a byte/],
    ['(?:a{1000}){1000}', /invalid repeat|too large/],
    ['[ab]{999}c?'.repeat(11), /at most 10000 steps/],
  ])('refuses %s', (pattern, message) => {
    expect(() => new Regex(pattern)).toThrow(RangeError);
    expect(() => new Regex(pattern)).toThrow(message);
  });

  it('are never slow, also where an engine that goes back would not come to an end', () => {
    const memory = Buffer.alloc(64 * 1024, 'a');
    expect(regex('(?:a+)+b', memory)).toEqual([]);
    expect(regex('(?:a|aa)+$[^a]', memory)).toEqual([]);
    expect(regex('(?:[ab]*a){20}b', memory)).toEqual([]);
    // More states than are kept.
    const noise = Buffer.from(Uint32Array.from({ length: 16 * 1024 }, (_, i) => Math.imul(i, 2654435761)).buffer);
    expect(regex('(?s)[\\x00-\\x7f].{14}zzz', noise)).toEqual([]);
  });
});
