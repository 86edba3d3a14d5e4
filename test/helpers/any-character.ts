/**
 * Any character but halves of one and NUL. The unit `binary` of fast-check does the same, but builds a map of all characters first,
 * which takes more than a second.
 */
import fc from 'fast-check';

export const anyCharacter = fc
  .oneof(
    fc.integer({ min: 1, max: 0x7f }),
    fc.integer({ min: 0x80, max: 0xd7ff }),
    fc.integer({ min: 0xe000, max: 0x10ffff }),
  )
  .map((code) => String.fromCodePoint(code));
