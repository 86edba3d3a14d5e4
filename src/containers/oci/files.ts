/** The files of a layout that are open to random access: in a folder, or in a plain archive. */
import { existsSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ReadableFiles } from '../../dump/files.js';
import { onFile } from '../../errors.js';
import { openRandomAccess, type RandomAccess, SequentialReader } from '../../io/random-access.js';
import { DirectoryFiles } from '../directory/files.js';
import { BLOCK, FIELD, isTarHeader, string } from '../tar/block.js';
import { TarFiles } from '../tar/files.js';
import { beginsLayout, INDEX, LAYOUT } from './layout.js';
import type { LayoutFiles } from './read.js';

/** Whether a folder or a plain archive has a layout. Other files and pipes are not touched. Throws {@link DumpError} SYSTEM. */
export async function isLayout(path: string): Promise<boolean> {
  if (isFolder(path)) return [LAYOUT, INDEX].every((name) => existsSync(join(path, name)));
  const archive = openRandomAccess(path);
  return archive !== undefined && isLayoutArchive(archive).finally(() => archive.close());
}

/** Whether these are the files of a layout. */
export const hasLayout = (files: ReadableFiles): boolean => [LAYOUT, INDEX].every((name) => files.stat(name));

/** Whether this is a plain archive of a layout. */
export const isLayoutArchive = async (archive: RandomAccess): Promise<boolean> =>
  startsLayout(await new SequentialReader(archive).exactly(BLOCK));

/** Whether the first block of a file is that of an archive of a layout. */
export const startsLayout = (block: Uint8Array): boolean =>
  isTarHeader(block) && beginsLayout(string(block, FIELD.NAME));

/** Opens a layout that {@link isLayout} has found. Throws {@link DumpError} for an archive that is damaged. */
export async function openLayout(path: string): Promise<LayoutFiles> {
  if (isFolder(path)) return new DirectoryFiles(path);
  return openLayoutArchive(openRandomAccess(path) as RandomAccess);
}

/** The same for an archive that is open, and is closed with the files. */
export const openLayoutArchive = (archive: RandomAccess): Promise<LayoutFiles> => TarFiles.openAll(archive);

const isFolder = (path: string): boolean => onFile(path, () => statSync(path)).isDirectory();
