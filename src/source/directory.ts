/**
 * A dump in a directory, as records. Opening it reads the metadata that everything else depends on: which tasks there
 * are, which pagemap belongs to which pages file, how large a page is. Areas and pagemaps are read when their turn
 * comes, a task at a time; pages are not read here at all, but referred to.
 */

import { lstatSync, readdirSync, readlinkSync, type Stats, statSync } from 'node:fs';
import { join } from 'node:path';
import { DumpError, invariant, onFile, systemError } from '../errors.js';
import { checkMagic } from '../image/framing.js';
import { headerBytes, typeOfName } from '../image/magic.js';
import { decodeAreas } from '../image/mm.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { PAGE_SIZES } from '../memory/runs.js';
import type { AddressSpace } from '../memory/space.js';
import type { AreaTable } from '../memory/vma.js';
import {
  type DumpRecord,
  type FileRecord,
  isPagemapName,
  isPagesName,
  linkStaysInside,
  pagesName,
  type Space,
  spaceIdentity,
} from '../records.js';
import { FilePool } from './files.js';
import { openAddressSpace, PAGEMAP_CHUNK_BYTES, readPagemap } from './pagemap.js';
import { type ImageFiles, MIN_PAGE_BYTES, readTasks, requireImage, type Task, VARIABLE_PAGE_SIZE } from './tasks.js';

/** Inventory, pstree, core and mm images are read whole; the largest mm known is a few MiB. */
const MAX_METADATA_BYTES = 256 * 1024 * 1024;
/** Folders inside a dump. */
const MAX_DEPTH = 32;

export interface OpenDumpOptions {
  /** Bytes; found out from the dump if it is not given. */
  pageSize?: number;
  /** Told of what cannot be carried: sockets, devices, links that lead outside to nothing. */
  warn?: (message: string) => void;
}

interface Entry {
  name: string;
  stats: Stats;
}

/** A dump that has been looked at; {@link Dump.close} it. */
export class Dump {
  readonly tasks: Task[];
  readonly spaces: Space[];
  /** Bytes. */
  readonly pageSize: number;
  /** `core_entry.march`. */
  readonly march: number | undefined;
  /** Bytes of all files of the dump: what is not pages, and pages. */
  readonly otherBytes: number;
  readonly payloadBytes: number;

  private readonly entries = new Map<string, Entry>();
  private readonly files: FilePool;
  private readonly directoryMode: number;
  private readonly images: ImageFiles = {
    has: (name) => this.entries.has(name),
    read: (name) => this.files.readAll(name, MAX_METADATA_BYTES),
  };

  /** Reads the metadata of `path`. Throws {@link DumpError} if it is no dump that can be understood. */
  constructor(
    readonly path: string,
    private readonly options: OpenDumpOptions = {},
  ) {
    this.files = new FilePool(path);
    try {
      this.directoryMode = this.list();
      this.checkParent();
      this.march = undefined;
      ({ tasks: this.tasks, march: this.march } = readTasks(this.images, this.path));
      this.spaces = this.readSpaces();
      this.pageSize = options.pageSize ?? this.findPageSize();
      const pages = new Set(this.spaces.map(pagesName));
      let payloadBytes = 0;
      let otherBytes = 0;
      for (const { name, stats } of this.entries.values()) {
        if (pages.has(name)) payloadBytes += stats.size;
        else if (stats.isFile()) otherBytes += stats.size;
      }
      this.payloadBytes = payloadBytes;
      this.otherBytes = otherBytes;
    } catch (error) {
      this.files.close();
      throw error;
    }
  }

  /** Closes all files. */
  close(): void {
    this.files.close();
  }

  /** Whether the dump has a parent: the previous dump of an incremental chain. */
  get hasParent(): boolean {
    return this.entries.has('parent');
  }

  /** The records of the dump. Payload is by reference; the references are good until {@link Dump.close}. */
  *records(): Generator<DumpRecord> {
    yield {
      type: 'header',
      pageSize: this.pageSize,
      directoryMode: this.directoryMode,
      payloadBytes: this.payloadBytes,
      ...(this.march === undefined ? {} : { march: this.march }),
    };
    const ownFiles = new Set(this.spaces.flatMap((space) => [space.pagemap, pagesName(space)]));
    for (const entry of this.entries.values()) if (!ownFiles.has(entry.name)) yield* this.fileRecords(entry);
    for (const space of this.spaces) {
      yield { type: 'space', space };
      if (space.kind === 'task') yield { type: 'areas', space, areas: this.areasOf(space) };
    }
    for (const space of this.spaces) yield* this.runRecords(space);
    yield { type: 'end' };
  }

  /** The areas of a task. */
  areasOf(space: Space): AreaTable {
    const file = `mm-${space.pid}.img`;
    requireImage(this.images, file, space.pagemap);
    return decodeAreas(this.files.readAll(file, MAX_METADATA_BYTES), this.pageSize, file);
  }

  /** The memory of a space, with that of the parent dumps behind it; close it, then the dump. */
  addressSpace(space: Space): AddressSpace {
    return openAddressSpace(this.path, space.pagemap, this.pageSize, { files: this.files });
  }

  private *runRecords(space: Space): Generator<DumpRecord> {
    const name = pagesName(space);
    const file = this.files.payload(name, this.files.sizeOf(name));
    for (const { runs, fileOffset } of readPagemap(this.files, space.pagemap, this.pageSize, this.hasParent)) {
      yield { type: 'runs', space, runs, checked: false };
      if (runs.payloadBytes > 0) {
        yield { type: 'extents', file, extents: Float64Array.of(fileOffset, runs.payloadBytes) };
      }
    }
  }

  private *fileRecords({ name, stats }: Entry): Generator<DumpRecord> {
    const record = { type: 'file', name, mode: stats.mode & 0o7777, size: 0, checked: false } as const;
    if (stats.isDirectory()) {
      yield { ...record, kind: 'directory' };
    } else if (stats.isSymbolicLink()) {
      const path = join(this.path, name);
      const target = onFile(name, () => readlinkSync(path, { encoding: 'buffer' }));
      yield { ...record, kind: 'link', target };
    } else {
      this.checkNamedType(name, stats.size);
      const regular: FileRecord = { ...record, kind: 'regular', size: stats.size };
      yield regular;
      if (stats.size > 0) {
        const file = this.files.payload(name, stats.size);
        yield { type: 'extents', file, extents: Float64Array.of(0, stats.size) };
      }
    }
  }

  /** An image whose name promises a type must begin with its magic. */
  private checkNamedType(name: string, sizeBytes: number): void {
    const type = typeOfName(name);
    if (!type) return;
    const start = new Uint8Array(Math.min(headerBytes(type), sizeBytes));
    this.files.payload(name, sizeBytes).read(start, 0);
    checkMagic(start, type, name);
  }

  /** Lists the directory; returns its mode. */
  private list(): number {
    try {
      const stats = statSync(this.path);
      if (!stats.isDirectory()) {
        throw new DumpError('NOT_A_DUMP', 'expected a directory with images, found something else', {
          file: this.path,
        });
      }
      this.listFolder('', 0);
      return stats.mode & 0o7777;
    } catch (error) {
      throw systemError(error, this.path);
    }
  }

  private listFolder(folder: string, depth: number): void {
    if (depth > MAX_DEPTH)
      throw new DumpError('LIMIT', `expected at most ${MAX_DEPTH} nested folders`, { file: folder });
    const names = readdirSync(join(this.path, folder), { encoding: 'buffer' })
      .map((raw) => utf8Name(raw))
      .sort();
    for (const bare of names) {
      const name = folder === '' ? bare : `${folder}/${bare}`;
      const stats = this.carried(name);
      if (!stats) continue;
      this.entries.set(name, { name, stats });
      if (stats.isDirectory()) this.listFolder(name, depth + 1);
    }
  }

  /** What a name stands for in the copy; undefined if it cannot be carried. */
  private carried(name: string): Stats | undefined {
    const path = join(this.path, name);
    const stats = lstatSync(path);
    if (stats.isFile() || stats.isDirectory()) return stats;
    if (!stats.isSymbolicLink()) {
      this.options.warn?.(`${name}: left out, it is neither a file nor a link`);
      return undefined;
    }
    if (name === 'parent') return stats;
    const image = isPagesName(name) || isPagemapName(name);
    if (!image && linkStaysInside(name, readlinkSync(path))) return stats;
    // A link that leads outside would not do so from the copy: its content is taken.
    const target = statSync(path, { throwIfNoEntry: false });
    if (target?.isFile()) return target;
    this.options.warn?.(`${name}: left out, a link that leads outside the dump`);
    return undefined;
  }

  private checkParent(): void {
    const parent = this.entries.get('parent');
    if (!parent) return;
    const path = join(this.path, 'parent');
    const isLink = parent.stats.isSymbolicLink();
    if (isLink && onFile('parent', () => statSync(path, { throwIfNoEntry: false }))?.isDirectory()) return;
    const found = isLink ? `a link to ${onFile('parent', () => readlinkSync(path))}, which is none` : 'something else';
    throw new DumpError('NO_PARENT', `expected a link to the directory of the parent dump, found ${found}`, {
      file: 'parent',
    });
  }

  private readSpaces(): Space[] {
    const byPagesId = new Map<number, string>();
    const pagemaps = [...this.entries.values()].filter(({ name }) => isPagemapName(name));
    return pagemaps.map(({ name, stats }, index) => {
      const decoder = new PagemapDecoder(MIN_PAGE_BYTES, name);
      const start = new Uint8Array(Math.min(stats.size, HEAD_BYTES));
      this.files.payload(name, stats.size).read(start, 0);
      decoder.pushHead(start);
      if (!decoder.head) {
        decoder.end();
        invariant(false, 'a pagemap without a head does not end well');
      }
      const other = byPagesId.get(decoder.pagesId);
      if (other) {
        throw new DumpError(
          'PAGES_ID_TWICE',
          `expected a pages_id of its own, found ${decoder.pagesId}, that of ${other}`,
          {
            file: name,
            offset: headerBytes('PAGEMAP'),
          },
        );
      }
      byPagesId.set(decoder.pagesId, name);
      const pages = `pages-${decoder.pagesId}.img`;
      requireImage(this.images, pages, name);
      return {
        index,
        ...spaceIdentity(name),
        pagemap: name,
        pagesId: decoder.pagesId,
        head: decoder.head,
        pagemapMode: stats.mode & 0o7777,
        pagesMode: (this.entries.get(pages) as Entry).stats.mode & 0o7777,
      };
    });
  }

  /**
   * The page size stands nowhere in a dump. Most machines have but one; for the others it is what the size of a pages
   * file divided by its present pages gives.
   */
  private findPageSize(): number {
    if (!VARIABLE_PAGE_SIZE.includes(this.march ?? 0)) return MIN_PAGE_BYTES;
    for (const space of this.spaces) {
      const decoder = new PagemapDecoder(MIN_PAGE_BYTES, space.pagemap);
      const chunk = new Uint8Array(PAGEMAP_CHUNK_BYTES);
      let bytes = 0;
      let compressed = false;
      for (let position = 0, count = 1; count > 0; position += count) {
        count = this.files.readSome(space.pagemap, chunk, position);
        const runs = count > 0 ? decoder.push(chunk.subarray(0, count)) : undefined;
        bytes += runs?.payloadBytes ?? 0;
        compressed ||= [...(runs?.details?.values() ?? [])].some((detail) => detail.compressed);
      }
      const pageSize = (this.files.sizeOf(pagesName(space)) / bytes) * MIN_PAGE_BYTES;
      if (!compressed && PAGE_SIZES.includes(pageSize)) return pageSize;
    }
    return MIN_PAGE_BYTES;
  }
}

/** More than a pagemap needs up to its first entry. */
const HEAD_BYTES = 4096;

function utf8Name(raw: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(raw);
  } catch {
    throw new DumpError('BAD_NAME', `expected file names in UTF-8, found ${JSON.stringify(raw.toString('latin1'))}`);
  }
}
