/** Failures after which trying again may help: which they are, and how a scheduler hears of them. */
import { appendFileSync, cpSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { DumpError, systemError } from '../src/errors.js';
import { isTemporary } from '../src/temporary.js';
import { cli } from './helpers/cli.js';
import { faults } from './helpers/faults.js';
import { fixture, tempDir } from './helpers/temp.js';

const DUMP = fixture('mosaic-criu-4.2.1');

const errno = (code: string): Error => Object.assign(new Error(code), { code, syscall: 'write' });

describe('an error is temporary', () => {
  it.each(['ENOSPC', 'EDQUOT', 'ECONNRESET', 'ETIMEDOUT', 'EAI_AGAIN', 'EBUSY', 'EADDRINUSE'])(
    'if a call failed with %s',
    (code) => {
      expect(isTemporary(errno(code))).toBe(true);
      expect(systemError(errno(code), 'file')).toMatchObject({ code: 'SYSTEM', temporary: true });
      const cause = new Error('a library', { cause: errno(code) });
      expect(new DumpError('PROTOCOL', 'it failed', { cause }).temporary).toBe(true);
    },
  );

  it.each(['ENOENT', 'EACCES', 'EIO', 'EMFILE', 'ENOTFOUND', 'EPIPE'])('but not if it was %s', (code) => {
    expect(systemError(errno(code), 'file')).toMatchObject({ code: 'SYSTEM', temporary: false });
  });

  it('by its code, unless the place that throws it says something else', () => {
    expect(new DumpError('CHANGED', 'it has changed').temporary).toBe(true);
    expect(new DumpError('UNAVAILABLE', 'busy').temporary).toBe(true);
    expect(new DumpError('TRUNCATED', 'short').temporary).toBe(false);
    expect(new DumpError('CHANGED', 'it has changed', { temporary: false }).temporary).toBe(false);
    expect(new DumpError('SYSTEM', 'slow', { temporary: true }).temporary).toBe(true);
    const inner = new DumpError('CHANGED', 'it has changed', { temporary: false, cause: errno('ENOSPC') });
    expect(new DumpError('SYSTEM', 'failed', { cause: inner }).temporary).toBe(false);
  });

  it('and causes in a circle end', () => {
    const error = new Error('circle');
    error.cause = error;
    expect(isTemporary(error)).toBe(false);
  });
});

describe('exit code 75', () => {
  it.each([
    ['copy', 'ENOSPC', 75],
    ['copy', 'EIO', 1],
    ['make-lazy', 'EDQUOT', 75],
  ])('%s: %s gives %d', async (command, code, exitCode) => {
    const out = join(tempDir(), 'out');
    faults.fail('mkdirSync', 1, code);
    const outcome = await cli([command, DUMP, out, '--json']);
    faults.disarm();
    const error = JSON.parse(outcome.stderr.trim().split('\n').at(-1) as string);
    expect(outcome.code).toBe(exitCode);
    expect(error).toMatchObject({ severity: 'error', code: 'SYSTEM' });
    expect(error.temporary).toBe(exitCode === 75 ? true : undefined);
  });

  it('verify of a dump that is changed meanwhile', async () => {
    const dump = join(tempDir(), 'dump');
    cpSync(DUMP, dump, { recursive: true });
    faults.fail('readSync', 1, 'ENOMEM');
    const outcome = await cli(['verify', dump]);
    faults.disarm();
    expect(outcome.code).toBe(75);
    expect((await cli(['verify', dump])).code).toBe(0);
    appendFileSync(join(dump, 'pages-1.img'), 'x');
    expect((await cli(['verify', dump])).code).toBe(1);
  });

  it('not for bad input, and not for an answer of no', async () => {
    const file = join(tempDir(), 'core-1.img');
    writeFileSync(file, 'nothing');
    expect((await cli(['decode', file])).code).toBe(1);
    expect((await cli(['search', DUMP, 'no such text anywhere'])).code).toBe(1);
  });
});
