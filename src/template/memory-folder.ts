/**
 * The folder of the mapped files while it is made. Each file has the pages of one area at their place, and behind them a hole
 * that is larger than the area will ever grow by. It appears complete or not at all.
 */
import { rmSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { MANIFEST, MAPPED_SUFFIX } from '../dump/names.js';
import { DumpError, isErrno, onFile, systemError, systemReason } from '../errors.js';
import { AtomicDirectory, type AtomicDirectoryOptions } from '../io/atomic-directory.js';
import { OutputFile } from '../io/output-file.js';
import { GROWTH_BYTES } from './areas.js';
import { contentSumWithPauses } from './content-sum.js';
import { type Manifest, type ManifestFile, manifestBytes } from './manifest.js';

/** Nobody writes them, and only who may read the dump reads them. */
const FILE_MODE = 0o400;
/** The same, with the type of the file. */
export const MAPPED_MODE = 0o100000 | FILE_MODE;
/** A new folder is as private as a dump. */
const FOLDER_MODE = 0o700;

const README = `The files in this folder are the memory of processes: a template dump of
pagepipe maps them in place of reading them. They must stay as they are, and
under the names that they have, for as long as

- the template is to be restored,
- a process that was restored from it lives,
- a dump of such a process is to be restored.

template.json says what each file was like when it was made. "pagepipe verify"
compares them, "pagepipe untemplate" makes ordinary dumps of dumps that depend
on them.
`;

export const SUMS = ['copied', 'all', 'none'] as const;
/** Which files get a sum of their content: with `copied` not those that share blocks with the dump, since they were not read. */
export type Sums = (typeof SUMS)[number];

export interface MemoryFolderOptions extends Pick<AtomicDirectoryOptions, 'force' | 'sources'> {
  /** The folder as the tasks will see it: an absolute path. */
  name: string;
  /** By default `copied`. */
  sums?: Sums;
  /** Called with the bytes of each piece of memory. */
  progress?: (bytes: number) => void;
}

/** A file that is being filled with the pages of an area. */
export interface MappedOutput {
  /** Bytes, with the hole at its end. */
  readonly size: number;
  /** With the type of the file. */
  readonly mode: number;
  /** Where it can be read, when it is complete. */
  readonly path: string;
  /** Pages that come next begin here, in bytes. */
  skipTo(position: number): void;
  write(bytes: Uint8Array): void;
  readonly copyFrom: OutputFile['copyFrom'];
}

/** Where mapped files go. */
export interface MemoryPlace {
  /** The folder as the tasks will see it. */
  readonly name: string;
  /** Whether a file that was written can be read. */
  readonly canShare: boolean;
  /** Begins a file; the one before is complete. */
  begin(name: string, areaBytes: number): MappedOutput;
  /** Completes the file that was begun last. */
  endFile(): void;
  /** Completes all files and writes the manifest, but does not put the folder in its place. */
  complete(manifest: Manifest): Promise<void>;
  /** Puts the folder in its place. */
  commit(): Promise<void>;
  discard(): Promise<void>;
}

export class MemoryFolder implements MemoryPlace {
  readonly name: string;
  readonly canShare = true;
  private readonly directory: AtomicDirectory;
  private readonly spare: Uint8Array[] = [];
  /** By name. */
  private readonly files = new Map<string, OutputFile>();
  private readonly finishing: Promise<void>[] = [];
  private isInPlace = false;
  /** The file that is being filled, and its size in bytes. */
  private current: { file: OutputFile; size: number } | undefined;

  /** @throws {DumpError} OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM */
  constructor(
    readonly path: string,
    private readonly options: MemoryFolderOptions,
  ) {
    this.name = options.name;
    this.directory = new AtomicDirectory(path, { ...options, foreign: notOfFolder });
  }

  begin(name: string, areaBytes: number): MappedOutput {
    this.endFile();
    const file = new OutputFile(this.directory, name, FILE_MODE, this.spare);
    const size = areaBytes + GROWTH_BYTES;
    this.current = { file, size };
    this.files.set(name, file);
    const path = join(this.directory.temporary, name);
    // A file system that cannot have such a file says so now.
    onLargeFile(name, () => truncateSync(path, size));
    return {
      size,
      mode: MAPPED_MODE,
      path,
      skipTo: (position) => file.skipTo(position),
      write: (bytes) => {
        file.write(bytes);
        this.options.progress?.(bytes.length);
      },
      copyFrom: (place, position, bytes) => {
        const copied = file.copyFrom(place, position, bytes);
        this.options.progress?.(copied);
        return copied;
      },
    };
  }

  endFile(): void {
    if (!this.current) return;
    const { file, size } = this.current;
    file.skipTo(size);
    const finish = async () => file.finish();
    const finished = finish();
    // A failure is reported by complete().
    finished.catch(() => {});
    this.finishing.push(finished);
    this.current = undefined;
  }

  async complete(manifest: Manifest): Promise<void> {
    this.endFile();
    // The disk works meanwhile.
    const sums: (string | undefined)[] = [];
    for (const { path, size } of manifest.files) sums.push(await this.sumOf(path, size));
    await Promise.all(this.finishing);
    const files = manifest.files.map((file, i) => this.described(file, sums[i]));
    await this.write(MANIFEST, manifestBytes({ ...manifest, files }));
    await this.write('README', Buffer.from(README));
  }

  async commit(): Promise<void> {
    await this.directory.commit(FOLDER_MODE);
    this.isInPlace = true;
  }

  /** Removes the folder, also where it is in its place: nothing depends on it yet. */
  async discard(): Promise<void> {
    if (this.isInPlace) rmSync(this.path, { recursive: true, force: true });
    await this.current?.file.abandon();
    this.current = undefined;
    await Promise.allSettled(this.finishing);
    await this.directory.discard();
  }

  /** The sum of a file, if it is to have one. */
  private async sumOf(name: string, size: number): Promise<string | undefined> {
    const { sums = 'copied' } = this.options;
    const file = this.files.get(name);
    if (sums === 'none' || (sums === 'copied' && file?.sharesBlocks !== false)) return undefined;
    return contentSumWithPauses(file ? join(this.directory.temporary, name) : name, name, contentBytes(size));
  }

  /** What a file of the folder is like now; one that is elsewhere is described already. */
  private described(file: ManifestFile, sha256: string | undefined): ManifestFile {
    const sum = sha256 === undefined ? {} : { sha256 };
    if (!this.files.has(file.path)) return { ...file, ...sum };
    const path = join(this.directory.temporary, file.path);
    const { mtimeNs } = onFile(file.path, () => statSync(path, { bigint: true }));
    return { ...file, mtimeNs: String(mtimeNs), ...sum };
  }

  private async write(name: string, bytes: Uint8Array): Promise<void> {
    const file = new OutputFile(this.directory, name, FILE_MODE, this.spare);
    file.write(bytes);
    await file.finish();
  }
}

/** Of the bytes of a mapped file, those that can be pages: behind them is its hole. */
export const contentBytes = (size: number): number => (size > GROWTH_BYTES ? size - GROWTH_BYTES : size);

/** Of the names in a directory, those for which it is no folder of mapped files; none if it is one. */
function notOfFolder(names: readonly string[]): readonly string[] {
  const isOne = names.includes(MANIFEST);
  return isOne ? names.filter((name) => ![MANIFEST, 'README'].includes(name) && !name.endsWith(MAPPED_SUFFIX)) : names;
}

/** Makes a large file. Throws {@link DumpError} SYSTEM with what to do if the file system has no such files. */
function onLargeFile(file: string, action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!isErrno(error, 'EFBIG')) throw systemError(error, file);
    throw new DumpError('SYSTEM', `${systemReason(error)}: it needs a hole of 1 TiB at its end`, {
      file,
      hint: 'give a folder on ext4, xfs, btrfs or tmpfs with --memory',
      cause: error,
    });
  }
}
