/** A dump in a directory, open to random access, with the dumps that it builds on. */
import { isUtf8 } from 'node:buffer';
import { existsSync, lstatSync, readdirSync, readlinkSync, realpathSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { type FilePlace, scratch } from '../../bytes.js';
import type { DumpEntry, DumpFiles, FileStat } from '../../dump/files.js';
import {
  isImageName,
  isPagemapName,
  isPagesName,
  linkPlace,
  MANIFEST,
  MAPPED_SUFFIX,
  MEMORY_FOLDER,
} from '../../dump/names.js';
import { MAX_CHAIN } from '../../dump/pagemap.js';
import { withSumsCompared } from '../../dump/summed-files.js';
import { DumpError, isErrno, onFile, systemError } from '../../errors.js';
import { checkHoles, storedBytesOf } from '../../io/holes.js';
import { checkUnchanged, noImage, OpenFiles, specialKind, stateOf } from '../../io/open-files.js';

/** Folders inside a dump. */
const MAX_DEPTH = 32;
/** A file up to this size is read as a whole: one system call then serves the look at its magic and the copy of it. */
const SMALL_BYTES = 16 * 1024;

const ASCII = /^[\0-\x7F]*$/;

export interface DirectoryOptions {
  /** Called for what cannot be copied: sockets, devices, links that lead outside to nothing, names that are not UTF-8. */
  warn?: (message: string) => void;
  /** Whether pagemaps and pages, those of the parents too, must stay as they are from now on. */
  guard?: boolean;
  /** For how many ms a file that has been looked at counts as unchanged: 0 for each read. */
  guardEveryMs?: number;
}

export class DirectoryFiles implements DumpFiles {
  readonly kind = 'directory';
  readonly mode: number;
  /** What the files were like at first, by path. */
  private readonly states = new Map<string, string>();
  /** When each was last looked at. */
  private readonly checked = new Map<string, number>();
  private listed: DumpEntry[] | undefined;
  /** Those of the list that are regular files, by name. */
  private readonly regular = new Map<string, DumpEntry>();
  private child: DirectoryFiles | undefined;
  /** Undefined: not looked for yet; null: there is none. */
  private known: DumpFiles | null | undefined;
  /** Of this dump and of those that it builds on. */
  private open = new OpenFiles();
  private depth = 0;
  /** The name that was asked for last, and its path: as a key of a map, a new string has to be put together and hashed. */
  private last: { name: string; path: string } | undefined;
  /** The small file that was read last, in a buffer that all of them share. */
  private small: { name: string; bytes: Uint8Array } | undefined;
  private smallBuffer: Uint8Array | undefined;

  /** Throws {@link DumpError} NOT_A_DUMP for what is no directory. */
  constructor(
    readonly path: string,
    private readonly options: DirectoryOptions = {},
  ) {
    const stats = onFile(path, () => statSync(path));
    if (!stats.isDirectory()) {
      throw new DumpError('NOT_A_DUMP', 'expected a directory with images, found something else', { file: path });
    }
    this.mode = stats.mode & 0o7777;
    if (options.guard) this.lookAtMemory();
  }

  entries(): readonly DumpEntry[] {
    if (this.listed) return this.listed;
    const entries: DumpEntry[] = [];
    try {
      this.list('', 0, entries);
    } catch (error) {
      throw systemError(error, this.path);
    }
    this.listed = entries;
    for (const entry of entries) if (entry.kind === 'regular') this.regular.set(entry.name, entry);
    return entries;
  }

  /** What was listed is not looked at again: a file that has become shorter shows when it is read. */
  stat(name: string): FileStat | undefined {
    const known = this.regular.get(name);
    if (known) return known;
    try {
      const stats = statSync(this.pathOf(name), { throwIfNoEntry: false });
      const special = stats && specialKind(stats);
      if (special) throw noImage(name, special);
      if (!stats?.isFile()) return undefined;
      checkImageHoles(name, stats);
      return { size: stats.size, mode: stats.mode & 0o7777 };
    } catch (error) {
      // A link that leads to itself.
      if (isErrno(error, 'ELOOP')) return undefined;
      throw systemError(error, name);
    }
  }

  readSome(name: string, buffer: Uint8Array, position: number): number {
    const { guard } = this.options;
    if (guard) this.checkState(this.pathOf(name), name);
    const listed = this.regular.get(name);
    const bytes = listed && !guard && listed.size <= SMALL_BYTES ? this.smallFile(name, listed.size) : undefined;
    if (!bytes || position >= bytes.length) return this.readOpen(name, buffer, position);
    const part = bytes.subarray(position, position + buffer.length);
    buffer.set(part);
    return part.length;
  }

  place(name: string): FilePlace {
    const path = this.pathOf(name);
    if (this.options.guard) this.checkState(path, name);
    return { fd: this.open.descriptor(path, name), offset: 0 };
  }

  parent(): DumpFiles | undefined {
    if (this.known === undefined) this.known = this.openParent() ?? null;
    return this.known ?? undefined;
  }

  close(): void {
    if (!this.child) this.open.close();
  }

  private readOpen(name: string, buffer: Uint8Array, position: number): number {
    return this.open.readSome(this.pathOf(name), name, buffer, position, this.regular.has(name));
  }

  private smallFile(name: string, size: number): Uint8Array {
    if (this.small?.name === name) return this.small.bytes;
    this.small = undefined;
    this.smallBuffer ??= scratch(SMALL_BYTES);
    const count = this.open.readStart(this.pathOf(name), name, this.smallBuffer.subarray(0, size));
    const bytes = this.smallBuffer.subarray(0, count);
    this.small = { name, bytes };
    return bytes;
  }

  private openParent(): DumpFiles | undefined {
    const link = this.pathOf('parent');
    const place = onFile('parent', () => (existsSync(link) ? realpathSync(link) : undefined));
    if (place === undefined || !onFile('parent', () => statSync(place)).isDirectory()) return undefined;
    if (this.depth >= MAX_CHAIN) {
      throw new DumpError('LIMIT', `expected at most ${MAX_CHAIN} dumps in a chain of parents`, { file: 'parent' });
    }
    const parent = new DirectoryFiles(place, this.options);
    parent.child = this;
    parent.open = this.open;
    parent.depth = this.depth + 1;
    return withSumsCompared(parent);
  }

  /** Remembers the state of pagemaps and pages before the first of them is opened: a later change is another dump. */
  private lookAtMemory(): void {
    for (const name of onFile(this.path, () => readdirSync(this.path))) {
      if (!isPagemapName(name) && !name.startsWith('pages-')) continue;
      const path = this.pathOf(name);
      const stats = onFile(path, () => statSync(path, { throwIfNoEntry: false }));
      if (stats) this.states.set(path, stateOf(stats));
    }
  }

  /** A file that was replaced while open is still read in its old state. */
  private checkState(path: string, name: string): void {
    const { guardEveryMs = 0 } = this.options;
    const now = guardEveryMs > 0 ? performance.now() : 0;
    if (guardEveryMs > 0 && now - (this.checked.get(path) ?? Number.NEGATIVE_INFINITY) < guardEveryMs) return;
    const fd = this.open.descriptor(path, name);
    const before = this.states.get(path);
    if (before !== undefined) checkUnchanged(fd, before, name);
    this.checked.set(path, now);
  }

  private list(folder: string, depth: number, entries: DumpEntry[]): void {
    if (depth > MAX_DEPTH) {
      throw new DumpError('LIMIT', `expected at most ${MAX_DEPTH} nested folders`, { file: folder });
    }
    // As bytes in strings, since a Buffer for each name costs as much as half a system call.
    const raw = readdirSync(this.pathOf(folder), { encoding: 'latin1' });
    const names = raw.map((bytes) => this.utf8Name(bytes)).filter((name) => name !== undefined);
    for (const bare of names.sort()) {
      const entry = this.carried(folder === '' ? bare : `${folder}/${bare}`);
      if (!entry || (entry.kind === 'directory' && hasMappedFiles(this.path, entry.name))) continue;
      entries.push(entry);
      if (entry.kind === 'directory') this.list(entry.name, depth + 1, entries);
    }
  }

  /** @param raw a byte in each character */
  private utf8Name(raw: string): string | undefined {
    if (ASCII.test(raw)) return raw;
    const bytes = Buffer.from(raw, 'latin1');
    if (isUtf8(bytes)) return bytes.toString();
    this.options.warn?.(`${JSON.stringify(raw)}: left out, its name is not UTF-8`);
    return undefined;
  }

  /** Without the tidying up of `join`, which takes as long as a system call. */
  private pathOf(name: string): string {
    if (name !== this.last?.name) this.last = { name, path: `${this.path}/${name}` };
    return this.last.path;
  }

  private isLink(name: string): boolean {
    return lstatSync(this.pathOf(name), { throwIfNoEntry: false })?.isSymbolicLink() === true;
  }

  /** What a name is in a copy; undefined if it cannot be copied. */
  private carried(name: string): DumpEntry | undefined {
    const path = this.pathOf(name);
    const stats = lstatSync(path);
    if (stats.isFile()) return fileEntry(name, stats);
    if (stats.isDirectory() && name === 'parent') return linkTo(name, realpathSync(path));
    if (stats.isDirectory()) return { name, kind: 'directory', mode: stats.mode & 0o7777, size: 0 };
    if (!stats.isSymbolicLink()) {
      this.options.warn?.(`${name}: left out, it is neither a file nor a link`);
      return undefined;
    }
    const target = readlinkSync(path, { encoding: 'buffer' });
    const link: DumpEntry = { name, kind: 'link', mode: stats.mode & 0o7777, size: 0, target };
    if (name === 'parent') return link;
    const isMemory = isPagesName(name) || isPagemapName(name);
    if (!isMemory && linkPlace(name, target.toString(), (place) => this.isLink(place)) !== undefined) return link;
    // A link that leads outside would lead elsewhere from the copy, so the content is copied.
    const content = statSync(path, { throwIfNoEntry: false });
    if (content?.isFile()) return fileEntry(name, content);
    this.options.warn?.(`${name}: left out, a link that leads outside the dump`);
    return undefined;
  }
}

/** Whether a folder has the files that areas of a template map: a copy of the dump maps the same ones. */
export function hasMappedFiles(path: string, folder = MEMORY_FOLDER): boolean {
  const place = join(path, MEMORY_FOLDER);
  if (folder !== MEMORY_FOLDER || !existsSync(place)) return false;
  return existsSync(join(place, MANIFEST)) || readdirSync(place).some((name) => name.endsWith(MAPPED_SUFFIX));
}

/** A parent that was copied into its child, as by `cp -rL`, still counts as one. */
const linkTo = (name: string, target: string): DumpEntry => ({
  name,
  kind: 'link',
  mode: 0o777,
  size: 0,
  target: Buffer.from(target),
});

function fileEntry(name: string, stats: Stats): DumpEntry {
  checkImageHoles(name, stats);
  return { name, kind: 'regular', mode: stats.mode & 0o7777, size: stats.size };
}

/** Pages have holes, but their size is known from their pagemap. Throws {@link DumpError} LIMIT. */
function checkImageHoles(name: string, stats: Stats): void {
  if (!isPagesName(name)) checkHoles(name, stats.size, storedBytesOf(stats));
}

/**
 * The folder with the images: a folder itself, or the only one in it that has an inventory, as container engines have
 * `checkpoint/`. An archive is looked through in the same way.
 */
export function folderOfImages(path: string): string {
  const isFolder = onFile(path, () => statSync(path)).isDirectory();
  if (!isFolder || existsSync(join(path, INVENTORY))) return path;
  const entries = onFile(path, () => readdirSync(path, { withFileTypes: true }));
  if (entries.some((entry) => entry.isFile() && isImageName(entry.name))) return path;
  const inside = entries.filter((entry) => entry.isDirectory() && existsSync(join(path, entry.name, INVENTORY)));
  return inside.length === 1 ? join(path, inside[0]?.name as string) : path;
}

const INVENTORY = 'inventory.img';
