/** Names of unix sockets: as Python's quopri has them, but where that loses something. */
import { spawnSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodeQuotedPrintable, encodeQuotedPrintable } from '../../src/json/quoted-printable.js';
import { ODD_BYTES } from '../helpers/messages.js';

const bytesOf = (text: string) => new Uint8Array(Buffer.from(text, 'latin1'));
const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

describe('quoted-printable', () => {
  it('gives back any bytes', () => {
    fc.assert(
      fc.property(fc.oneof(ODD_BYTES, fc.uint8Array({ maxLength: 300 })), (bytes) => {
        const text = encodeQuotedPrintable(bytes);
        expect(hex(decodeQuotedPrintable(text)), text).toBe(hex(bytes));
        expect(text).toMatch(/^[\t\n\r -~]*$/);
        for (const line of text.split('\n')) expect(line.length).toBeLessThanOrEqual(77);
      }),
      { numRuns: 1000 },
    );
  });

  it.each([
    ['', ''],
    ['/run/a.socket\0', '/run/a.socket=00'],
    ['\0@abstract', '=00@abstract'],
    ['a=b', 'a=3Db'],
    ['é', '=E9'],
    ['a b', 'a b'],
    ['ends with a space ', 'ends with a space=20'],
    ['tab\t', 'tab=09'],
    ['.', '=2E'],
    ['.a', '.a'],
    ['two\nlines', 'two\nlines'],
    ['two\r\nlines', 'two\r\nlines'],
    // White space before a line end, and line ends of two kinds: the text mode would lose one of them.
    ['a \nb', 'a=20\nb'],
    ['a\rb', 'a\rb'],
    ['a\nb\r\nc', 'a=0Ab=0D=0Ac'],
    ['a'.repeat(76), 'a'.repeat(76)],
    ['a'.repeat(77), `${'a'.repeat(75)}=\naa`],
  ])('%j is %j', (name, text) => {
    expect(encodeQuotedPrintable(bytesOf(name))).toBe(text);
    expect(hex(decodeQuotedPrintable(text))).toBe(hex(bytesOf(name)));
  });

  it.each([
    ['=', '='],
    ['=4', '=4'],
    ['=4g', '=4g'],
    ['=3d=3D', '=='],
    ['a=\nb=\r\nc', 'abc'],
    ['=00', '\0'],
  ])('%j is read as %j', (text, name) => {
    expect(hex(decodeQuotedPrintable(text))).toBe(hex(bytesOf(name)));
  });
});

describe("Python's quopri", () => {
  /** Reads names in hexadecimal, a line each; writes what it makes of each, and of that again. */
  const SCRIPT = `
import quopri, sys
for line in sys.stdin:
    text = quopri.encodestring(bytes.fromhex(line.strip()))
    print(text.hex(), quopri.decodestring(text).hex())
`;

  const python = (names: Uint8Array[]) =>
    spawnSync('python3', ['-c', SCRIPT], { input: names.map((name) => `${hex(name)}\n`).join(''), encoding: 'utf8' });

  it('writes the same, and reads what is written', (context) => {
    const names = fc.sample(fc.oneof(ODD_BYTES, fc.uint8Array({ maxLength: 300 })), 3000);
    const { status, stdout } = python(names);
    if (status !== 0) {
      console.warn(`skipped: ${context.task.name}: there is no python3`);
      context.skip('there is no python3');
    }
    const lines = stdout.replace(/\n$/, '').split('\n');
    expect(lines.length).toBe(names.length);
    let lost = 0;
    for (const [i, line] of lines.entries()) {
      const [text = '', again] = line.split(' ');
      const name = names[i] as Uint8Array;
      // What Python itself cannot read back is written otherwise.
      if (again !== hex(name)) lost++;
      else expect(hex(bytesOf(encodeQuotedPrintable(name))), hex(name)).toBe(text);
    }
    expect(lost).toBeGreaterThan(0);
    expect(lost).toBeLessThan(names.length / 2);
    const byPython = names.map((name) => bytesOf(encodeQuotedPrintable(name)));
    const read = spawnSync(
      'python3',
      [
        '-c',
        'import quopri, sys\nfor line in sys.stdin: print(quopri.decodestring(bytes.fromhex(line.strip())).hex())',
      ],
      { input: byPython.map((text) => `${hex(text)}\n`).join(''), encoding: 'utf8' },
    );
    expect(read.stdout.split('\n').slice(0, -1)).toEqual(names.map(hex));
  });
});
