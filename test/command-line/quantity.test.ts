/** Numbers with suffixes. */
import { expect, it } from 'vitest';
import { parseQuantity } from '../../src/command-line/quantity.js';

it.each([
  ['4096', 'BYTES', 4096],
  ['64k', 'BYTES', 65536],
  ['64K', 'BYTES', 65536],
  ['1.5G', 'BYTES', 1.5 * 2 ** 30],
  ['1T', 'BYTES', 2 ** 40],
  ['64', 'MIB', 64],
  ['1G', 'MIB', 1024],
  ['512k', 'MIB', 0.5],
  ['90', 'SECONDS', 90],
  ['5m', 'SECONDS', 300],
  ['1h', 'SECONDS', 3600],
  ['0', 'SECONDS', 0],
  ['-1', 'PID', -1],
])('%s in %s is %d', (text, unit, value) => {
  expect(parseQuantity(text, unit)).toBe(value);
});

it.each([
  ['', 'BYTES'],
  ['k', 'BYTES'],
  ['1kB', 'BYTES'],
  ['1x', 'BYTES'],
  ['010', 'BYTES'],
  ['0x10', 'BYTES'],
  ['1e3', 'BYTES'],
  ['1k', 'SECONDS'],
  ['1M', 'SECONDS'],
  ['1k', 'PID'],
  ['Infinity', 'BYTES'],
])('%j is no number of %s', (text, unit) => {
  expect(parseQuantity(text, unit)).toBeNaN();
});
