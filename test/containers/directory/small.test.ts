/** Small files are read as a whole: every part of them is right, whatever was read before. */
import { appendFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { DirectoryFiles } from '../../../src/containers/directory/files.js';
import { tempDir } from '../../helpers/temp.js';

/** Around the size up to which a file counts as small. */
const SIZES: Record<string, number> = { empty: 0, tiny: 5, other: 9, largest: 16_384, larger: 16_385 };

const contentOf = (name: string): Uint8Array =>
  Uint8Array.from({ length: SIZES[name] as number }, (_, i) => name.length + 31 * i);

function filesIn(dir: string): DirectoryFiles {
  for (const name of Object.keys(SIZES)) writeFileSync(join(dir, name), contentOf(name));
  const files = new DirectoryFiles(dir);
  files.entries();
  return files;
}

it('any reads in any order', () => {
  const files = filesIn(tempDir());
  const read = fc.record({
    name: fc.constantFrom(...Object.keys(SIZES)),
    position: fc.oneof(fc.nat(12), fc.integer({ min: 16_380, max: 16_390 })),
    bytes: fc.oneof(fc.nat(12), fc.constant(20_000)),
  });
  fc.assert(
    fc.property(fc.array(read, { maxLength: 8 }), (reads) => {
      for (const { name, position, bytes } of reads) {
        const buffer = new Uint8Array(bytes);
        const count = files.readSome(name, buffer, position);
        expect(buffer.subarray(0, count)).toEqual(contentOf(name).subarray(position, position + bytes));
      }
    }),
  );
  files.close();
});

it('what is added to a file after it was listed can be read', () => {
  const dir = tempDir();
  const files = filesIn(dir);
  appendFileSync(join(dir, 'tiny'), 'more');
  const buffer = Buffer.alloc(4);
  expect(files.readSome('tiny', buffer, 0)).toBe(4);
  expect(files.readSome('tiny', buffer, 5)).toBe(4);
  expect(buffer.toString()).toBe('more');
  files.close();
});
