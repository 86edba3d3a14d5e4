/**
 * Bytes are compared as bytes. Element by element, as toEqual does it on its own, one MiB takes seconds.
 */
import { expect } from 'vitest';

expect.addEqualityTesters([
  (one, other) =>
    one instanceof Uint8Array && other instanceof Uint8Array && one.constructor === other.constructor
      ? Buffer.compare(one, other) === 0
      : undefined,
]);
