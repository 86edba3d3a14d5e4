/** A template in a new place: the names of its mapped files are written into `files.img` and into the manifest. */
import { readFileSync, statSync } from 'node:fs';
import { basename, isAbsolute, join } from 'node:path';
import { MANIFEST } from '../dump/names.js';
import { DumpError, onFile } from '../errors.js';
import type { file_entry } from '../generated/entries.js';
import { checkMagic, malformed, rawEntries } from '../image/framing.js';
import { AtomicFile } from '../io/atomic-file.js';
import { messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import { ByteWriter } from '../protobuf/wire.js';
import { encodeObject } from '../protobuf/write-object.js';
import { FILES_IMAGE } from './images.js';
import { manifestBytes } from './manifest.js';
import { readManifest } from './mapped-memory.js';
import { MAX_HELD_BYTES } from './rewrite.js';

/**
 * @param folder of the mapped files, here
 * @param name of the folder for the tasks
 * @returns how many names were written
 * @throws {DumpError} MALFORMED for a dump that maps none of the files
 */
export function moveTemplate(out: string, folder: string, name: string): number {
  const manifest = readManifest(folder);
  const own = manifest.files.map(({ path }) => path).filter((path) => !isAbsolute(path));
  // By the last part of their names, so that what was interrupted can be run again.
  const renamed = new Map(own.map((path) => [basename(path), join(name, basename(path))]));
  const path = join(out, FILES_IMAGE);
  const { size } = onFile(path, () => statSync(path));
  if (size > MAX_HELD_BYTES) {
    throw new DumpError('LIMIT', `expected at most ${MAX_HELD_BYTES} bytes, found ${size}`, { file: path });
  }
  const image = new Uint8Array(onFile(path, () => readFileSync(path)));
  const { bytes, count } = renameFiles(image, path, renamed);
  if (count === 0) {
    throw new DumpError('MALFORMED', 'expected names of mapped files, found none', { file: path });
  }
  replace(path, bytes);
  const files = manifest.files.map((file) => ({ ...file, name: renamed.get(basename(file.path)) ?? file.name }));
  replace(join(folder, MANIFEST), manifestBytes({ ...manifest, name, files }));
  return count;
}

function renameFiles(image: Uint8Array, file: string, names: ReadonlyMap<string, string>) {
  const out = new ByteWriter();
  out.raw(image.subarray(0, checkMagic(image, 'FILES', file)));
  const descriptor = messageDescriptor('file_entry');
  let count = 0;
  for (const { body, offset, entry: index } of rawEntries(image, 'FILES', file)) {
    let entry: file_entry;
    try {
      entry = readAnyObject(descriptor, body, 0, body.length) as unknown as file_entry;
    } catch (cause) {
      throw malformed('file_entry', cause, file, offset, index);
    }
    const name = entry.reg && names.get(basename(entry.reg.name));
    const message =
      name === undefined ? body : encodeObject(descriptor, { ...entry, reg: { ...entry.reg, name } } as never);
    if (name !== undefined) count++;
    out.u32(message.length);
    out.raw(message);
  }
  return { bytes: out.view(), count };
}

function replace(path: string, bytes: Uint8Array): void {
  const file = new AtomicFile(path);
  try {
    file.write(bytes);
    file.commit();
  } finally {
    file.discard();
  }
}
