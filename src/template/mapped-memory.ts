/**
 * The mapped memory of a dump: of a template, or of a process that was restored from one. Its areas refer to files whose
 * manifest says what they must be like, and what the areas were before.
 */
import { closeSync, existsSync, fstatSync, lstatSync, readSync } from 'node:fs';
import { basename, dirname, isAbsolute, join } from 'node:path';
import { readFully } from '../bytes.js';
import { type DumpFiles, readAll } from '../dump/files.js';
import { isPagesName, MANIFEST, MAPPED_SUFFIX, MEMORY_FOLDER } from '../dump/names.js';
import type { PayloadFile } from '../dump/records.js';
import { DumpError, onFile } from '../errors.js';
import { rawEntries } from '../image/framing.js';
import { eachArea } from '../image/mm.js';
import { approximate, hex, NumberFields } from '../image/number-fields.js';
import { openRegular } from '../io/open-files.js';
import { lazyByVma, mapFlagsOf, VMA } from '../memory/vma.js';
import { FILES_IMAGE, isMmName, type KnownFile, regularFiles } from './images.js';
import { MAX_MANIFEST_BYTES, type Manifest, type ManifestArea, type ManifestFile, parseManifest } from './manifest.js';
import { MAX_HELD_BYTES, removeFiles, rewriteAreas } from './rewrite.js';
import { anonymousEntry, mappedEntry } from './template-images.js';

/** An area that maps a file. `start` and `end` are page numbers. */
export interface FileArea {
  start: number;
  end: number;
  file: MappedFile;
  /** Where the area begins in the file, in bytes. */
  offset: number;
  /** Whether a restore could fetch its pages lazily if it were anonymous. */
  isLazy: boolean;
}

/** A mapped file, where it is here. */
export class MappedFile {
  private fd: number | undefined;

  constructor(
    readonly entry: ManifestFile,
    readonly path: string,
  ) {
    this.payload = this.payloadFile();
  }

  /** What differs from the manifest; undefined if nothing does. @throws {DumpError} SYSTEM */
  get change(): string | undefined {
    const found = onFile(this.path, () => lstatSync(this.path, { throwIfNoEntry: false }));
    if (!found) return 'expected this file, which areas of the dump map, found none';
    if (!found.isFile()) return 'expected a file, which areas of the dump map, found something else';
    const stats = onFile(this.path, () => fstatSync(this.descriptor, { bigint: true }));
    const { size, mode, mtimeNs } = this.entry;
    if (stats.size !== BigInt(size)) return `expected ${size} bytes, which the template maps, found ${stats.size}`;
    if (Number(stats.mode) !== mode) {
      return `expected mode ${mode.toString(8)}, as in the dump, found ${stats.mode.toString(8)}`;
    }
    return String(stats.mtimeNs) === mtimeNs ? undefined : 'it has been written since the template was made';
  }

  /** An open descriptor, which stays owned by this object. */
  get descriptor(): number {
    this.fd ??= openRegular(this.path, this.path);
    return this.fd;
  }

  /** Its bytes, as payload of a dump. */
  readonly payload: PayloadFile;

  private payloadFile(): PayloadFile {
    const { path } = this;
    const readSome = (buffer: Uint8Array, position: number) =>
      onFile(path, () => readSync(this.descriptor, buffer, 0, buffer.length, position), position);
    return {
      name: path,
      size: this.entry.size,
      isLasting: true,
      place: () => ({ fd: this.descriptor, offset: 0 }),
      // A range of whole pages may go beyond the end of the file.
      read: (buffer, position) => buffer.fill(0, readFully(readSome, buffer, position)),
    };
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
    this.fd = undefined;
  }
}

export class MappedMemory {
  private readonly byId = new Map<number, MappedFile>();
  private readonly areas: Map<string, ManifestArea>;

  private constructor(
    readonly manifest: Manifest,
    /** The folder with the manifest. */
    readonly folder: string,
    readonly files: readonly MappedFile[],
    private readonly march: number | undefined,
  ) {
    this.areas = new Map(manifest.areas.map((area) => [`${area.pid} ${area.start}`, area]));
  }

  /**
   * The mapped memory of a dump; undefined if none of its areas map files of a template.
   * @param folder of the mapped files; by default it is found
   * @throws {DumpError} MISSING_IMAGE for a folder or a manifest that is not there, MALFORMED
   */
  static open(files: DumpFiles, march: number | undefined, folder?: string): MappedMemory | undefined {
    if (!files.stat(FILES_IMAGE)) return undefined;
    const regular = regularFiles(readAll(files, FILES_IMAGE, MAX_HELD_BYTES));
    const place = folder ?? findFolder(files, regular);
    if (place === undefined) return undefined;
    const manifest = readManifest(place);
    const mapped = manifest.files.map(
      (file) => new MappedFile(file, isAbsolute(file.path) ? file.path : join(place, basename(file.path))),
    );
    const byName = new Map(mapped.map((file) => [file.entry.name, file]));
    const memory = new MappedMemory(manifest, place, mapped, march);
    for (const [id, { name }] of regular) {
      const file = byName.get(name);
      if (file) memory.byId.set(id, file);
      else if (name.endsWith(MAPPED_SUFFIX)) {
        throw new DumpError(
          'MISSING_IMAGE',
          `expected ${name}, which areas of the dump map, in the manifest, found none`,
          {
            file: join(place, MANIFEST),
          },
        );
      }
    }
    return memory;
  }

  /** The files that the dump refers to. */
  get used(): MappedFile[] {
    return [...new Set(this.byId.values())];
  }

  /** @throws {DumpError} CHANGED for a file that is not what it was; the template has to be made again */
  check(): void {
    for (const file of this.used) {
      const { change } = file;
      if (change !== undefined) throw new DumpError('CHANGED', change, { file: file.path, temporary: false });
    }
  }

  /** @throws {DumpError} MALFORMED for a manifest that counts pages of another size */
  checkPageSize(pageSize: number): void {
    if (this.manifest.pageSize === pageSize) return;
    throw new DumpError('MALFORMED', `expected pages of ${pageSize} bytes, found ${this.manifest.pageSize}`, {
      file: join(this.folder, MANIFEST),
    });
  }

  /**
   * The areas of a task that map such files, ascending.
   * @throws {DumpError} MALFORMED for one that begins inside a page of its file
   */
  areasOf(image: Uint8Array, name: string): FileArea[] {
    const { pageSize } = this.manifest;
    const areas: FileArea[] = [];
    const [mm] = rawEntries(image, 'MM', name);
    if (!mm) return areas;
    eachArea({ bytes: mm.body, start: 0, end: mm.body.length }, ({ start, end, flags, status, shmid, pgoff }) => {
      const file = status.lo & VMA.FILE_PRIVATE ? this.byId.get(approximate(shmid)) : undefined;
      if (!file) return;
      const at = { start: approximate(start) / pageSize, end: approximate(end) / pageSize };
      const map = mapFlagsOf(this.march);
      const isLazy = lazyByVma(flags.lo | map.ANONYMOUS, status.lo, map);
      const offset = approximate(pgoff);
      if (offset % pageSize !== 0 || !Number.isSafeInteger(offset)) {
        throw new DumpError('MALFORMED', `an area maps ${file.path} from 0x${hex(pgoff)}, which is no page`, {
          file: name,
        });
      }
      areas.push({ ...at, file, offset, isLazy });
    });
    return areas.sort((a, b) => a.start - b.start);
  }

  /** An image with anonymous areas in place of mapped ones, and without the files. */
  change(name: string, image: Uint8Array): Uint8Array {
    if (name === FILES_IMAGE) return removeFiles(image, name, new Set(this.byId.keys()));
    const pid = Number(/^mm-(\d+)\.img$/.exec(name)?.[1]);
    const entry = new NumberFields('vma_entry', ['start', 'shmid', 'status']);
    return rewriteAreas(image, name, (area) => {
      entry.read({ bytes: area, start: 0, end: area.length });
      const { start, shmid, status } = entry.fields;
      const id = approximate(shmid);
      if (!(status.lo & VMA.FILE_PRIVATE) || !this.byId.has(id)) return undefined;
      return (
        this.original(pid, approximate(start) / this.manifest.pageSize, area, id) ?? anonymousEntry(area, this.march)
      );
    });
  }

  close(): void {
    for (const file of this.files) file.close();
  }

  /** The area as it was before the template was made, if it is still as the template had it. */
  private original(pid: number, start: number, area: Uint8Array, id: number): Uint8Array | undefined {
    const known = this.areas.get(`${pid} ${start}`);
    if (!known) return undefined;
    const before = new Uint8Array(Buffer.from(known.entry, 'base64'));
    const mapped = mappedEntry(before, { id, offset: known.offset, march: this.march });
    return Buffer.compare(mapped, area) === 0 ? before : undefined;
  }
}

const SAY_FOLDER = 'say with --memory where the folder is here';

/** The folder of the mapped files: inside the dump, or where their names say. */
function findFolder(files: DumpFiles, regular: ReadonlyMap<number, KnownFile>): string | undefined {
  const inside = join(files.path, MEMORY_FOLDER);
  if (files.kind === 'directory' && existsSync(join(inside, MANIFEST))) return inside;
  const mapped = [...regular.values()].find(({ name }) => name.endsWith(MAPPED_SUFFIX))?.name;
  if (mapped === undefined) {
    const inPlace = mappedInPlace(files, regular);
    if (inPlace === undefined) return undefined;
    throw new DumpError('MISSING_IMAGE', `areas map ${inPlace}, so the folder of their template cannot be found`, {
      file: FILES_IMAGE,
      hint: SAY_FOLDER,
    });
  }
  const folder = dirname(mapped);
  if (existsSync(join(folder, MANIFEST))) return folder;
  throw new DumpError('MISSING_IMAGE', `expected the folder of ${mapped}, which areas of the dump map, found none`, {
    file: join(folder, MANIFEST),
    hint: SAY_FOLDER,
  });
}

/** A pages file that a private area maps: its template was made with --in-place, and its folder can be anywhere. */
function mappedInPlace(files: DumpFiles, regular: ReadonlyMap<number, KnownFile>): string | undefined {
  const pagesFiles = new Map([...regular].filter(([, { name }]) => isPagesName(basename(name))));
  if (pagesFiles.size === 0) return undefined;
  let found: string | undefined;
  for (const { name } of files.entries()) {
    if (!isMmName(name)) continue;
    const [mm] = rawEntries(readAll(files, name, MAX_HELD_BYTES), 'MM', name);
    if (!mm) continue;
    eachArea({ bytes: mm.body, start: 0, end: mm.body.length }, ({ status, shmid }) => {
      if (status.lo & VMA.FILE_PRIVATE) found ??= pagesFiles.get(approximate(shmid))?.name;
    });
  }
  return found;
}

export function readManifest(folder: string): Manifest {
  const path = join(folder, MANIFEST);
  const fd = openRegular(path, path);
  try {
    const { size } = fstatSync(fd);
    if (size > MAX_MANIFEST_BYTES) {
      throw new DumpError('LIMIT', `expected at most ${MAX_MANIFEST_BYTES} bytes, found ${size}`, { file: path });
    }
    const bytes = new Uint8Array(size);
    const count = readFully((part, at) => onFile(path, () => readSync(fd, part, 0, part.length, at)), bytes, 0);
    return parseManifest(bytes.subarray(0, count), path);
  } finally {
    closeSync(fd);
  }
}
