/** The fault list: its grammar, in chunks of every size, and what is refused. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { type FaultList, FaultListParser, faultLine, faultListHead } from '../../src/memory/fault-list.js';

function parse(bytes: Uint8Array | string, chunkBytes = Number.POSITIVE_INFINITY): FaultList {
  const all = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
  const parser = new FaultListParser('faults.txt');
  const size = Math.min(chunkBytes, all.length);
  // One buffer for all chunks, as a reader of files has it.
  const buffer = new Uint8Array(size);
  for (let at = 0; at < all.length; at += size) {
    const chunk = all.subarray(at, at + size);
    buffer.set(chunk);
    parser.push(buffer.subarray(0, chunk.length));
  }
  return parser.finish();
}

/** Page numbers by pid. */
const pagesOf = (list: FaultList): Record<number, number[]> =>
  Object.fromEntries(Array.from(list.pages, ([pid, pages]) => [pid, [...pages]]));

function refusal(text: string): string {
  try {
    parse(text);
  } catch (error) {
    if (error instanceof DumpError) return `${error.code} ${error.message}`;
    throw error;
  }
  return 'nothing';
}

describe('what is read', () => {
  it('has what was written, ascending, each page once', () => {
    const faults = [
      faultLine(7, 0x3000n),
      faultLine(12n, 0xffffffffff600000n),
      faultLine(7, 0x1000n),
      faultLine(7, 0x3000n),
    ];
    const list = parse(faultListHead(4096) + faults.join(''));
    expect(list.pageSize).toBe(4096);
    expect(list.file).toBe('faults.txt');
    expect(pagesOf(list)).toEqual({ 7: [1, 3], 12: [0xffffffffff600000 / 4096] });
  });

  it.each([
    ['nothing', '', {}],
    ['a head alone', '# pagepipe fault list 1, page size 4096\n', {}],
    ['no head', '7 0x1000\n', { 7: [1] }],
    ['no line feed at the end', '7 0x1000\n7 0x2000', { 7: [1, 2] }],
    ['comments and blank lines', '# by hand\n\n7 0x1000\n  \n#7 0x5000\n', { 7: [1] }],
    ['a comment that is no text', '# \xff\0\n7 0x1000\n', { 7: [1] }],
    ['more white space', ' 7\t 0x1000 \r\n\t7 0x2000\r\n', { 7: [1, 2] }],
    ['large and small digits', '7 0x7fFFabcDE000\n', { 7: [0x7fffabcde] }],
    ['leading zeros', '007 0x0000000000001000\n', { 7: [1] }],
    ['page 0', '7 0x0\n', { 7: [0] }],
    ['the last page', '7 0xfffffffffffff000\n', { 7: [2 ** 52 - 1] }],
    ['the largest pid', '2147483647 0x1000\n', { 2147483647: [1] }],
    [
      'two lists, one behind the other',
      `${faultListHead(4096)}7 0x2000\n${faultListHead(4096)}7 0x1000\n`,
      { 7: [1, 2] },
    ],
    ['a head in other words', '#PagePipe fault list 1 of 2026; page size 4096\n7 0x1000\n', { 7: [1] }],
    ['a head without a page size', '# pagepipe fault list 1\n7 0x1000\n', { 7: [1] }],
  ])('takes %s', (_, text, pages) => {
    const list = parse(Buffer.from(text, 'latin1'));
    expect(pagesOf(list)).toEqual(pages);
    expect(list.pageSize).toBe(4096);
  });

  it('counts in pages of the size that the head names', () => {
    const list = parse(`${faultListHead(65536)}7 0x10000\n7 0xffffffffffff0000\n`);
    expect(list.pageSize).toBe(65536);
    expect(pagesOf(list)).toEqual({ 7: [1, 2 ** 48 - 1] });
  });

  it('gives the same for every chunking', () => {
    const faults = fc.array(
      fc.record({ pid: fc.constantFrom(1, 7, 2147483647), page: fc.bigInt({ min: 0n, max: 2n ** 52n - 1n }) }),
      { maxLength: 300 },
    );
    fc.assert(
      fc.property(faults, fc.boolean(), (list, hasHead) => {
        const lines = list.map(({ pid, page }) => faultLine(pid, page * 4096n));
        const text = (hasHead ? faultListHead(4096) : '') + lines.join('');
        const expected: Record<number, number[]> = {};
        for (const { pid } of list) {
          const pages = list.filter((fault) => fault.pid === pid).map(({ page }) => Number(page));
          expected[pid] = [...new Set(pages)].sort((a, b) => a - b);
        }
        for (const chunkBytes of [1, 2, 3, 5, 4095, 4096, Number.POSITIVE_INFINITY]) {
          expect(pagesOf(parse(text, chunkBytes))).toEqual(expected);
        }
      }),
      { numRuns: 50 },
    );
  });
});

describe('what is refused', () => {
  const longLine = `# ${'x'.repeat(4096)}`;
  it.each([
    ['words', '# list\nwhat is this\n', 'MALFORMED faults.txt: line 2: expected PID 0xADDRESS, found "what is this"'],
    ['a line cut short', '7 0x1000\n7 0x', 'MALFORMED faults.txt: line 2: expected PID 0xADDRESS, found "7 0x"'],
    ['a pid alone', '7\n', 'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "7"'],
    ['an address alone', '0x1000\n', 'MALFORMED faults.txt: line 1: expected a pid of 1 to 2147483647, found 0'],
    ['a decimal address', '7 4096\n', 'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "7 4096"'],
    ['no space', '70x1000\n', 'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "70x1000"'],
    ['a third word', '7 0x1000 1\n', 'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "7 0x1000 1"'],
    ['a digit that is none', '7 0x10g0\n', 'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "7 0x10g0"'],
    ['a sign', '-7 0x1000\n', 'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "-7 0x1000"'],
    [
      '17 digits',
      '7 0x10000000000000000\n',
      'MALFORMED faults.txt: line 1: expected PID 0xADDRESS, found "7 0x10000000000000000"',
    ],
    ['pid 0', '0 0x1000\n', 'MALFORMED faults.txt: line 1: expected a pid of 1 to 2147483647, found 0'],
    [
      'a pid that is none',
      '2147483648 0x1000\n',
      'MALFORMED faults.txt: line 1: expected a pid of 1 to 2147483647, found 2147483648',
    ],
    [
      'an endless pid',
      `${'9'.repeat(400)} 0x1000\n`,
      'MALFORMED faults.txt: line 1: expected a pid of 1 to 2147483647, found 9999999999',
    ],
    [
      'an address within a page',
      '7 0x1000\n7 0x1008\n',
      'MALFORMED faults.txt: line 2: expected the address of a page of 4096 bytes, found 0x1008',
    ],
    [
      'an address within a larger page',
      `${faultListHead(65536)}7 0x1000\n`,
      'MALFORMED faults.txt: line 2: expected the address of a page of 65536 bytes, found 0x1000',
    ],
    [
      'another version',
      '# pagepipe fault list 2, page size 4096\n',
      'UNSUPPORTED faults.txt: line 1: expected a fault list of version 1, found 2',
    ],
    [
      'a page size that is none',
      '# pagepipe fault list 1, page size 4097\n',
      'MALFORMED faults.txt: line 1: expected a page size of 4096, 8192, 16384, 32768, 65536, found 4097',
    ],
    [
      'two page sizes',
      `${faultListHead(4096)}${faultListHead(65536)}`,
      'MALFORMED faults.txt: line 2: expected page size 4096, as before, found 65536',
    ],
    [
      'a page size behind faults',
      `7 0x1000\n${faultListHead(65536)}`,
      'MALFORMED faults.txt: line 2: expected page size 4096, as before, found 65536',
    ],
    [
      'an endless line',
      `7 0x1000\n${longLine}\n`,
      'LIMIT faults.txt: line 2: expected a line of at most 4096 bytes, found a longer one',
    ],
    [
      'an endless line without an end',
      longLine,
      'LIMIT faults.txt: line 1: expected a line of at most 4096 bytes, found a longer one',
    ],
  ])('%s', (_, text, error) => {
    expect(refusal(text)).toBe(error);
  });

  it('an endless line in small chunks, before all of it has come', () => {
    const parser = new FaultListParser();
    const chunk = Buffer.from('xxxxxxxx');
    expect(() => {
      for (let i = 0; i < 1000; i++) parser.push(chunk);
    }).toThrow('fault list: line 1: expected a line of at most 4096 bytes, found a longer one');
  });

  it('more processes than a dump can have', () => {
    const lines = Array.from({ length: 65537 }, (_, i) => faultLine(i + 1, 0n));
    expect(Object.keys(pagesOf(parse(lines.slice(1).join('')))).length).toBe(65536);
    expect(refusal(lines.join(''))).toBe('LIMIT faults.txt: line 65537: expected at most 65536 processes, found more');
  });

  it('binary data, without ever throwing anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        try {
          parse(bytes, 7);
        } catch (error) {
          expect(error).toBeInstanceOf(DumpError);
        }
      }),
    );
  });
});
