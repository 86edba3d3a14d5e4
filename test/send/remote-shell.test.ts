import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { parseDestination } from '../../src/send/remote-shell.js';
import { quoteWord } from '../../src/shell.js';
import { anyCharacter } from '../helpers/any-character.js';

describe('HOST:OUT', () => {
  it.each([
    ['far:out', 'far', 'out'],
    ['user@far.example:/var/dumps/1', 'user@far.example', '/var/dumps/1'],
    ['[fe80::1%eth0]:out', 'fe80::1%eth0', 'out'],
    ['user@[::1]:a:b', 'user@::1', 'a:b'],
    ['far:~/dumps/1', 'far', 'dumps/1'],
    ['far:~', 'far', '~'],
  ])('%s', (text, host, out) => {
    expect(parseDestination(text)).toEqual({ host, out });
  });

  it.each(['out', ':out', 'far:', '/tmp/a:b', '-oProxyCommand=x:out', '[::1]out', 'a@b@c:out', '[-x]:out', 'u@-x:out'])(
    'is not %s',
    (text) => {
      expect(() => parseDestination(text)).toThrow(new UsageError(`expected HOST:OUT, found ${JSON.stringify(text)}`));
    },
  );
});

it('quotes any word for any shell', () => {
  const word = fc.string({ unit: anyCharacter, maxLength: 20 });
  fc.assert(
    fc.property(fc.array(word, { minLength: 40, maxLength: 40 }), (words) => {
      const script = `printf '%s\\0' ${words.map(quoteWord).join(' ')}`;
      expect(execFileSync('sh', ['-c', script]).toString().split('\0').slice(0, -1)).toEqual(words);
    }),
    { numRuns: 3 },
  );
});
