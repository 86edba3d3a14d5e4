/**
 * What a container engine has put around the images: `config.dump`, `spec.dump` and others. In an archive they are outside of
 * the folder of the dump, in an unpacked one next to it. Their content is as untrusted as the rest.
 */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { DumpFiles } from '../dump/files.js';
import { readAll } from '../dump/files.js';
import { OUTSIDE } from '../dump/names.js';
import { DumpError, onFile } from '../errors.js';

/** Limit on the bytes of a file that is read whole. A spec.dump has some 20 KiB. */
const MAX_BYTES = 4 * 1024 * 1024;

/** Names that engines give the folder of images. */
const FOLDERS = ['checkpoint', 'pre-checkpoint'];

export interface OutsideFile {
  name: string;
  bytes: number;
}

export class OutsideFiles {
  /** The folder around a dump in a directory. */
  private readonly folder: string | undefined;
  private readonly listed: OutsideFile[];

  constructor(private readonly files: DumpFiles) {
    this.folder = files.kind === 'directory' ? folderAround(files.path) : undefined;
    this.listed = this.folder === undefined ? this.ofArchive() : this.ofFolder(this.folder);
  }

  /** Regular files outside of the dump. */
  list(): readonly OutsideFile[] {
    return this.listed;
  }

  has(name: string): boolean {
    return this.listed.some((file) => file.name === name);
  }

  /**
   * The value of a JSON file; undefined if there is none.
   * @throws {DumpError} LIMIT for a very large one, MALFORMED, SYSTEM
   */
  json(name: string): unknown {
    const bytes = this.bytes(name);
    if (!bytes) return undefined;
    try {
      return JSON.parse(Buffer.from(bytes).toString('utf8'));
    } catch (cause) {
      throw new DumpError('MALFORMED', `expected JSON, found something else: ${(cause as Error).message}`, {
        file: name,
        cause,
      });
    }
  }

  /** The beginning of a file as text; undefined if there is none. */
  start(name: string, most: number): string | undefined {
    const place = [name, `${OUTSIDE}${name}`].find((each) => this.files.stat(each));
    if (place === undefined) return undefined;
    const bytes = Buffer.alloc(Math.min(most, this.files.stat(place)?.size ?? 0));
    return bytes.subarray(0, this.files.readSome(place, bytes, 0)).toString('latin1');
  }

  private bytes(name: string): Uint8Array | undefined {
    const file = this.listed.find((each) => each.name === name);
    if (!file) {
      // An archive without a folder for the images has all in one place.
      return this.files.stat(name) ? readAll(this.files, name, MAX_BYTES) : undefined;
    }
    if (file.bytes > MAX_BYTES) {
      throw new DumpError('LIMIT', `expected at most ${MAX_BYTES} bytes, found ${file.bytes}`, { file: name });
    }
    if (this.folder === undefined) return readAll(this.files, `${OUTSIDE}${name}`, MAX_BYTES);
    const path = join(this.folder, name);
    return onFile(path, () => readFileSync(path));
  }

  private ofArchive(): OutsideFile[] {
    return this.files
      .entries()
      .filter(({ name, kind }) => kind === 'regular' && name.startsWith(OUTSIDE))
      .map(({ name, size }) => ({ name: name.slice(OUTSIDE.length), bytes: size }));
  }

  private ofFolder(folder: string): OutsideFile[] {
    const filesIn = (place: string, prefix: string) =>
      readdirSync(place, { withFileTypes: true })
        .filter((entry) => entry.isFile())
        .map(({ name }) => ({ name: `${prefix}${name}`, bytes: statSync(join(place, name)).size }));
    return onFile(folder, () => {
      const hasVolumes = statSync(join(folder, 'volumes'), { throwIfNoEntry: false })?.isDirectory();
      return [...filesIn(folder, ''), ...(hasVolumes ? filesIn(join(folder, 'volumes'), 'volumes/') : [])];
    });
  }
}

/** The folder of an unpacked archive that the images are in. */
function folderAround(path: string): string | undefined {
  const folder = dirname(path);
  const isUnpacked =
    FOLDERS.includes(basename(path)) &&
    ['config.dump', 'spec.dump'].some((name) => statSync(join(folder, name), { throwIfNoEntry: false })?.isFile());
  return isUnpacked ? folder : undefined;
}
