/**
 * The content of a dump as data: the parsed output of `pagepipe x DUMP TOPIC --json`. It is all in memory at once, a few hundred
 * bytes for each area or run. For more than a few million of them use the command, which streams.
 */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import type { Kind } from '../memory/vma.js';
import { printDescriptorsJson } from './fds.js';
import type { FileData } from './file-table.js';
import { printAreasJson } from './mems.js';
import type { Print } from './output.js';
import { type ProcessData, printProcessesJson } from './ps.js';
import { printPagesJson } from './rss.js';

export interface DescriptorsData {
  pid: number;
  fds: ({ fd: number } & FileData)[];
  /** Paths; null if the dump does not say, and of a zombie. */
  cwd: string | null;
  root: string | null;
  exe: string | null;
}

export interface AreaData {
  /** In hexadecimal, with 0x: an address may exceed 2^53. */
  start: string;
  /** Exclusive. */
  end: string;
  bytes: number;
  /** As `rwx`, with `-` for what is not allowed. */
  prot: string;
  shared: boolean;
  kind: Kind;
  /** Whether its pages are dumped. */
  regular: boolean;
  /** Of a mapped file: its path, and the offset in it in bytes, in hexadecimal. */
  file?: string | null;
  pgoff?: string;
  /** Of shared memory: the id of its segment. */
  segment?: number;
}

export interface AreasData {
  pid: number;
  exe: string | null;
  areas: AreaData[];
}

export interface AreaPages {
  /** In hexadecimal, with 0x; null for pages that are in no area. */
  start: string | null;
  end: string | null;
  kind: Kind;
  file: string | null;
  runs: { start: string; pages: number; flags: ('PARENT' | 'LAZY' | 'PRESENT')[] }[];
  pages: number;
}

export interface PagesData {
  pid: number;
  areas: AreaPages[];
  pages: number;
}

/**
 * The processes of a dump: parents before their children.
 * @throws {DumpError} MISSING_IMAGE, or for images that cannot be read; the others too
 */
export const exploreProcesses = (files: DumpFiles): ProcessData[] => dataOf(files, printProcessesJson);

/** The open files of each process. */
export const exploreDescriptors = (files: DumpFiles): DescriptorsData[] => dataOf(files, printDescriptorsJson);

/** The memory areas of each process. */
export const exploreAreas = (files: DumpFiles): AreasData[] => dataOf(files, printAreasJson);

/** The dumped pages of each process, by area. @param pageSize of the dumped machine, in bytes */
export const explorePages = (files: DumpFiles, pageSize = 4096): PagesData[] =>
  dataOf(files, (images, print) => printPagesJson(images, print, { pageSize }));

function dataOf<T>(files: DumpFiles, explore: (images: Images, print: Print) => void): T[] {
  const pieces: string[] = [];
  explore(new Images(files), (text) => pieces.push(text));
  return JSON.parse(pieces.join(''));
}
