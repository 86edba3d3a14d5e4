/** Files that are no dump, but are often given for one: what they are, and what to do. */
import { existsSync } from 'node:fs';
import { DumpError, emptyInput } from '../errors.js';
import { IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, MAGIC } from '../image/magic.js';
import { word } from '../protobuf/wire.js';

interface Foreign {
  what: string;
  hint: string;
}

const through = (what: string, program: string): Foreign => ({
  what,
  hint: `decompress it on the way: ${program} -dc FILE | pagepipe COMMAND -`,
});

/** By the first bytes. */
const FOREIGN: readonly [start: readonly number[], foreign: Foreign][] = [
  [[0xfd, 0x37, 0x7a, 0x58, 0x5a, 0x00], through('data compressed by xz', 'xz')],
  [[0x42, 0x5a, 0x68], through('data compressed by bzip2', 'bzip2')],
  [[0x04, 0x22, 0x4d, 0x18], through('data compressed by lz4', 'lz4')],
  [[0x50, 0x4b, 0x03, 0x04], { what: 'a zip archive', hint: 'unpack it, and name the folder with the images' }],
];

const CONTAINERS = 'a dump directory, tar, shards or a page stream';

/** What a file is that is in none of the containers. @param start its first bytes */
export function notADump(start: Uint8Array, file: string): DumpError {
  if (start.length === 0) return emptyInput('NOT_A_DUMP', file, CONTAINERS);
  const known = FOREIGN.find(([magic]) => magic.every((byte, i) => start[i] === byte))?.[1];
  const { what, hint } = known ?? image(start) ?? { what: 'none of them', hint: undefined };
  return new DumpError('NOT_A_DUMP', `expected ${CONTAINERS}, found ${what}`, {
    file,
    ...(hint === undefined ? {} : { hint }),
  });
}

const FOREIGN_NAME = /\.(tar\.\w+|t[bx]z2?|zip)$/;

/** The end of a name that promises one of these; undefined for other names. */
export const foreignSuffix = (name: string): string | undefined => FOREIGN_NAME.exec(name)?.[0];

const IMAGE_STARTS: readonly number[] = [IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, MAGIC.INVENTORY];

function image(start: Uint8Array): Foreign | undefined {
  if (start.length < 4 || !IMAGE_STARTS.includes(word(start, 0))) return undefined;
  return { what: 'an image', hint: 'name the directory that it is in' };
}

/** Throws {@link DumpError} SYSTEM for a path that leads nowhere, with a hint if it is a list of shards. */
export function checkExists(path: string): void {
  if (existsSync(path)) return;
  const parts = path.split(',');
  if (parts.length === 1 || !parts.every((part) => existsSync(part))) return;
  throw new DumpError('SYSTEM', 'no such file or directory (ENOENT)', {
    file: path,
    hint: 'several shards need --from shards',
  });
}
