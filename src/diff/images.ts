/**
 * What differs between the images of two dumps. Entries are compared by what they are about, such as the id of a file, and not
 * by their place, because another order says nothing. Pages and pagemaps are left out, and so are the areas of `mm` images:
 * they are compared as memory. Statistics of CRIU differ in every dump and are left out, too.
 */
import { type DumpFiles, payloadFile, sizeOf } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { isPagemapName, isPagesName } from '../dump/names.js';
import { typeOfName } from '../image/magic.js';
import { readAnyObject } from '../protobuf/object.js';
import { changedFields, type FieldChange } from './values.js';

export type ImageChange =
  | { change: 'image'; image: string; only: 'a' | 'b' }
  | { change: 'entry'; image: string; entry: string; only: 'a' | 'b' }
  | ({ change: 'field'; image: string; entry: string } & FieldChange)
  /** Fields are the same, but bytes are not: those of payload, of unknown fields, or of another order of entries. */
  | { change: 'bytes'; image: string };

type Entry = Record<string, unknown>;

/** Fields that say what an entry is about, the most telling first. */
const KEYS = ['id', 'pid', 'fd', 'tid', 'shmid', 'inode_id', 'mnt_id', 'ns_id', 'nr', 'inode', 'ino', 'name'] as const;

const PIECE_BYTES = 256 * 1024;

/**
 * The differences, image by image. Undefined is a pause.
 * @throws {DumpError} for an image that cannot be read
 */
export function* changedImages(a: DumpFiles, b: DumpFiles): Generator<ImageChange | undefined> {
  const [inA, inB] = [comparedNames(a), comparedNames(b)];
  for (const image of [...new Set([...inA, ...inB])].sort()) {
    yield undefined;
    if (!inB.has(image)) yield { change: 'image', image, only: 'a' };
    else if (!inA.has(image)) yield { change: 'image', image, only: 'b' };
    else yield* changedImage(a, b, image);
  }
}

function comparedNames(files: DumpFiles): Set<string> {
  const names = files.entries().flatMap(({ name, kind }) => (kind === 'directory' ? [] : [name]));
  return new Set(
    names.filter(
      (name) =>
        /^[^/]+\.img$/.test(name) &&
        !isPagesName(name) &&
        !isPagemapName(name) &&
        !/^stats-\w+\.img$/.test(name) &&
        files.stat(name) !== undefined,
    ),
  );
}

function* changedImage(a: DumpFiles, b: DumpFiles, image: string): Generator<ImageChange | undefined> {
  if (yield* haveSameBytes(a, b, image)) return;
  let isChanged = false;
  if (typeOfName(image) !== undefined) {
    const [before, after] = [yield* entriesOf(a, image), yield* entriesOf(b, image)];
    for (const entry of new Set([...before.keys(), ...after.keys()])) {
      const [old, now] = [before.get(entry), after.get(entry)];
      yield undefined;
      if (!old || !now) {
        isChanged = true;
        yield { change: 'entry', image, entry, only: old ? 'a' : 'b' };
        continue;
      }
      for (const field of changedFields(old, now)) {
        isChanged = true;
        yield { change: 'field', image, entry, ...field };
      }
    }
  }
  const areOnlyAreas = /^mm-\d+\.img$/.test(image);
  if (!isChanged && !areOnlyAreas) yield { change: 'bytes', image };
}

/** Entries by what they are about: `id 3`, or their place. Of several with the same key, the later ones have a number. */
function* entriesOf(files: DumpFiles, image: string): Generator<undefined, Map<string, Entry>> {
  const entries = new Map<string, Entry>();
  const times = new Map<string, number>();
  yield* new Images(files).messageSteps(image, ({ descriptor, bytes, start, end }, index) => {
    const entry = readAnyObject(descriptor, bytes, start, end);
    // The areas are compared as memory.
    if (descriptor.name === 'mm_entry') delete entry['vmas'];
    const key = keyOf(entry) ?? `${index}`;
    const time = (times.get(key) ?? 0) + 1;
    times.set(key, time);
    entries.set(time === 1 ? key : `${key} (${time})`, entry);
  });
  return entries;
}

function keyOf(entry: Entry): string | undefined {
  const name = KEYS.find((key) => ['number', 'bigint', 'string'].includes(typeof entry[key]));
  if (name === undefined) return undefined;
  const type = typeof entry['type'] === 'string' ? `${entry['type']} ` : '';
  return `${type}${name} ${entry[name]}`;
}

function* haveSameBytes(a: DumpFiles, b: DumpFiles, image: string): Generator<undefined, boolean> {
  const size = sizeOf(a, image);
  if (size !== sizeOf(b, image)) return false;
  const [inA, inB] = [payloadFile(a, image, size), payloadFile(b, image, size)];
  for (let position = 0; position < size; position += PIECE_BYTES) {
    const length = Math.min(PIECE_BYTES, size - position);
    const [partA, partB] = [new Uint8Array(length), new Uint8Array(length)];
    inA.read(partA, position);
    inB.read(partB, position);
    if (Buffer.compare(partA, partB) !== 0) return false;
    yield undefined;
  }
  return true;
}
