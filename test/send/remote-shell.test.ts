import { execFileSync } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { UsageError } from '../../src/errors.js';
import { LOAD_AFTER_BYTES, linux } from '../../src/io/linux.js';
import { parseDestination, RemoteProgram } from '../../src/send/remote-shell.js';
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

describe('a program', () => {
  /** A program that says what its stdin is, and then what comes from there. */
  async function said(bytes: number): Promise<string> {
    const script = 'readlink /proc/self/fd/0; exec cat';
    const program = await RemoteProgram.start('env -S', `sh -c "${script}"`, [], bytes);
    program.connection.write('all');
    let text = '';
    for await (const chunk of program.connection.iterator({ destroyOnReturn: false })) {
      text += chunk;
      if (text.endsWith('all')) break;
    }
    program.connection.end();
    await program.end();
    return text;
  }

  it('that gets little is written through a socket', async () => {
    expect(await said(LOAD_AFTER_BYTES - 1)).toMatch(/^socket:\[\d+\]\nall$/);
  });

  it.skipIf(!linux())('that gets much is written through a pipe', async () => {
    expect(await said(LOAD_AFTER_BYTES)).toMatch(/^pipe:\[\d+\]\nall$/);
  });

  it('that is not there leaves no pipe open', async () => {
    const before = pipes();
    await expect(RemoteProgram.start('/nowhere/ssh', 'far', ['pagepipe'], LOAD_AFTER_BYTES)).rejects.toThrow(
      'far: /nowhere/ssh cannot be run: no such file or directory (ENOENT)',
    );
    expect(pipes()).toEqual(before);
  });
});

/** The pipes that this process has open. */
const pipes = (): string[] =>
  readdirSync('/proc/self/fd')
    .map((fd) => {
      try {
        return readlinkSync(`/proc/self/fd/${fd}`);
      } catch {
        // The directory itself is closed again.
        return '';
      }
    })
    .filter((name) => name.startsWith('pipe:'));
