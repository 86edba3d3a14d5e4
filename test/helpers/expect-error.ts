/** How a failing command line looks. */
import { expect } from 'vitest';
import type { Outcome } from './cli.js';

/**
 * One line that says what is wrong, and maybe one that says what to do.
 * @param error all of it; a pattern only where a position varies, or where the text is that of V8 or OpenSSL
 * @param exit the exit code: 75 where trying again may help
 */
export function expectError({ code, stdout, stderr }: Outcome, error: string | RegExp, hint?: string, exit = 1): void {
  // The name of a stage is in its messages.
  const lines = stderr.split('\n').map((text) => text.replace(/^pagepipe \w+: /, 'pagepipe: '));
  const [line, ...more] = lines.filter((text) => text !== '');
  if (typeof error === 'string') expect(line).toBe(`pagepipe: error: ${error}`);
  else {
    expect(line).toMatch(/^pagepipe: error: /);
    expect(line?.slice('pagepipe: error: '.length)).toMatch(error);
    expect(error.source, 'a pattern for the whole message').toMatch(/^\^.*\$$/s);
  }
  expect(more).toEqual(hint === undefined ? [] : [`pagepipe: hint: ${hint}`]);
  expect(stderr.endsWith('\n')).toBe(true);
  expect(stdout).toBe('');
  expect(code).toBe(exit);
}
