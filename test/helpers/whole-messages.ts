/**
 * `toThrow('…')` compares the whole message of the error. On its own it looks for a part, and what is wrong with the rest is not seen.
 */
import { chai, expect } from 'vitest';

chai.use((_, { overwriteMethod }) => {
  overwriteMethod(
    chai.Assertion.prototype,
    'toThrow',
    (original: (expected: unknown) => unknown) =>
      function (this: object, expected: unknown) {
        return original.call(
          this,
          typeof expected === 'string' ? expect.objectContaining({ message: expected }) : expected,
        );
      },
  );
});
