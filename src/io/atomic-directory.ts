/**
 * A directory that appears complete or not at all: it is filled under a temporary name next to its place, synced, and
 * renamed. A run that is killed leaves `.NAME.pagepipe-*` there, but never an incomplete directory.
 */
import {
  chmodSync,
  closeSync,
  fsync,
  fsyncSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { homedir, release } from 'node:os';
import { basename, dirname, join, resolve } from 'node:path';
import { promisify } from 'node:util';
import { DumpError, onFile, systemError } from '../errors.js';
import { checkApart, isIn, isRemote, type Place } from './apart.js';
import { linux } from './linux.js';
import { permitted, reachOf } from './mode.js';
import { temporaryName } from './temporary-name.js';

const fsyncAsync = promisify(fsync);

/** Syncs under way at a time: they run on the thread pool, and each holds a file open. */
const MAX_SYNCS = 16;
/**
 * Beyond so many files, one sync of the whole file system takes less time than one of each. It also writes what other
 * programs have there.
 */
const SYNCED_EACH = 64;
/** Before this version, syncfs(2) does not report that something could not be written. */
const REPORTING_KERNEL = [5, 8] as const;
/** Names in the message about a directory that is not replaced. */
const MAX_NAMED = 3;

export interface AtomicDirectoryOptions {
  /** Replace a directory that is not empty. */
  force?: boolean;
  /** Files and directories that are read. They must be neither the directory nor inside it nor around it. */
  sources?: readonly Place[];
  /** Whether it is of no use after a crash of the machine, so that nothing is synced. */
  isTransient?: boolean;
  /** Of the names in a directory, those that it must not have to be replaced. */
  foreign?: (names: readonly string[]) => readonly string[];
  /** What it may have to be replaced, in singular and plural. */
  replaces?: readonly [one: string, all: string];
}

export class AtomicDirectory {
  /** Where the files go until {@link commit}. */
  readonly temporary: string;
  private readonly place: string;
  private readonly syncs = new Set<Promise<void>>();
  /** The first failure of a sync. */
  private syncError: unknown;
  private files = 0;
  /** Files that are complete and not synced, and a descriptor that is older than they are. */
  private unsynced: { fd: number; names: string[] } | undefined;
  private readonly folders: [path: string, mode: number][] = [];
  private settled = false;
  /** Permission bits of those who can reach everything that is read. */
  private reach = 0o777;

  /** Creates the temporary directory. Throws {@link DumpError} if `path` is in use or cannot be written. */
  constructor(
    readonly path: string,
    private readonly options: AtomicDirectoryOptions = {},
  ) {
    checkIsLocal(path);
    const place = resolve(path);
    try {
      const parent = realpathSync(dirname(place));
      this.place = existing(place) ? realpathSync(place) : join(parent, basename(place));
      this.checkPlace();
      for (const source of this.options.sources ?? []) {
        if (typeof source === 'string' && !isRemote(source)) this.reach &= reachOf(source, parent);
      }
      this.temporary = temporaryName(this.place);
      mkdirSync(this.temporary, { mode: 0o700 });
    } catch (error) {
      throw systemError(error, path);
    }
  }

  /** Creates a folder inside; its mode is set in the end, so that files can still be written into it. */
  addFolder(name: string, mode: number): void {
    try {
      mkdirSync(join(this.temporary, name), { mode: 0o700 });
    } catch (error) {
      throw systemError(error, name);
    }
    this.folders.push([join(this.temporary, name), mode]);
  }

  /**
   * Syncs and closes a finished file in the background. If there are many, they are synced together in the end.
   * @param before pending work on it
   */
  finishFile(fd: number, name: string, before?: Promise<void>): Promise<void> | undefined {
    if (before || !(this.options.isTransient || this.unsynced)) return this.finishLater(fd, name, before);
    closeSync(fd);
    this.unsynced?.names.push(name);
  }

  private async finishLater(fd: number, name: string, before: Promise<void> | undefined): Promise<void> {
    if (this.options.isTransient) {
      await before;
      closeSync(fd);
      return;
    }
    this.files++;
    if (this.files === SYNCED_EACH && canSyncTogether()) {
      this.unsynced = { fd: onFile(name, () => openSync(this.temporary, 'r')), names: [] };
    }
    const sync = (before ?? Promise.resolve())
      .then(() => fsyncAsync(fd))
      .catch((error) => {
        this.syncError ??= systemError(error, name);
      })
      .finally(() => {
        closeSync(fd);
        this.syncs.delete(sync);
      });
    this.syncs.add(sync);
    if (this.syncs.size >= MAX_SYNCS) await Promise.race(this.syncs);
    if (this.syncError) throw this.syncError;
  }

  /** Puts the directory in its place. */
  async commit(mode: number): Promise<void> {
    await this.syncTogether();
    await Promise.all(this.syncs);
    if (this.syncError) throw this.syncError;
    const sync = this.options.isTransient ? () => {} : syncPath;
    try {
      for (const [path, folderMode] of this.folders.reverse()) {
        sync(path);
        chmodSync(path, permitted(folderMode));
      }
      sync(this.temporary);
      chmodSync(this.temporary, permitted(mode) & this.reach);
      const old = this.rename();
      this.settled = true;
      sync(dirname(this.place));
      if (old !== undefined) this.removeOld(old);
    } catch (error) {
      throw systemError(error, this.path);
    }
  }

  /** Removes what was written. Does nothing after {@link commit}. */
  async discard(): Promise<void> {
    if (this.settled) return;
    this.settled = true;
    if (this.unsynced) closeSync(this.unsynced.fd);
    await Promise.all(this.syncs);
    rmSync(this.temporary, { recursive: true, force: true });
  }

  private async syncTogether(): Promise<void> {
    if (!this.unsynced) return;
    const { fd, names } = this.unsynced;
    this.unsynced = undefined;
    const result = await linux()?.syncFileSystem(fd);
    closeSync(fd);
    if (result === 0) return;
    // The system does not do it, or something could not be written. A sync of each file says what.
    for (const name of names) {
      const path = join(this.temporary, name);
      if (existing(path)) onFile(name, () => syncPath(path));
    }
  }

  private checkPlace(): void {
    const { sources = [], force, replaces: [one, all] = ['a dump', 'dumps'] } = this.options;
    checkApart(this.path, sources);
    const stats = existing(this.place);
    if (!stats) {
      checkIsNoLink(this.place, this.path);
      return;
    }
    if (!stats.isDirectory()) {
      throw new DumpError('OUTPUT_EXISTS', 'expected a new or empty directory, found something else', {
        file: this.path,
      });
    }
    const names = readdirSync(this.place);
    if (names.length === 0) return;
    const foreign = isIn(homedir(), this.place) ? names : (this.options.foreign?.(names) ?? []);
    if (!force) {
      throw new DumpError('OUTPUT_EXISTS', 'expected a new or empty directory, found files in it', {
        file: this.path,
        ...(foreign.length > 0 ? {} : { hint: 'use --force to replace it' }),
      });
    }
    if (foreign.length === 0) return;
    const more = foreign.length > MAX_NAMED ? ` and ${foreign.length - MAX_NAMED} more` : '';
    throw new DumpError(
      'OUTPUT_EXISTS',
      `expected ${one} to replace, found ${foreign.slice(0, MAX_NAMED).join(', ')}${more} in it`,
      { file: this.path, hint: `--force replaces nothing but ${all}: remove it yourself if nothing of it is needed` },
    );
  }

  /** A directory with files cannot be renamed over, so it is moved aside first. Returns its new path. */
  private rename(): string | undefined {
    if (!this.options.force || !existing(this.place)) {
      renameSync(this.temporary, this.place);
      return undefined;
    }
    const aside = `${this.temporary}-old`;
    renameSync(this.place, aside);
    try {
      renameSync(this.temporary, this.place);
    } catch (error) {
      renameSync(aside, this.place);
      throw error;
    }
    return aside;
  }

  private removeOld(path: string): void {
    try {
      rmSync(path, { recursive: true, force: true });
    } catch (cause) {
      const what = `the new directory is complete, but the old one cannot be removed: ${(cause as Error).message}`;
      throw new DumpError('SYSTEM', what, { file: this.path, hint: `remove ${path}`, cause });
    }
  }
}

/** A new file would take the place of a link whose target is missing. Throws {@link DumpError} OUTPUT_EXISTS. */
export function checkIsNoLink(place: string, file: string): void {
  if (!lstatSync(place, { throwIfNoEntry: false })?.isSymbolicLink()) return;
  const hint = 'remove the link, or make what it leads to';
  throw new DumpError('OUTPUT_EXISTS', 'it is a link to something that is not there', { file, hint });
}

const existing = (path: string) => statSync(path, { throwIfNoEntry: false });

function canSyncTogether(): boolean {
  const [major = 0, minor = 0] = release().split('.').map(Number);
  const [needed, neededMinor] = REPORTING_KERNEL;
  return (major > needed || (major === needed && minor >= neededMinor)) && linux() !== undefined;
}

/** Syncs a file, or the names in a directory. */
export function syncPath(path: string): void {
  const fd = openSync(path, 'r');
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}

/** Throws {@link DumpError} UNSUPPORTED for a place in an object store, where only some commands can write. */
export function checkIsLocal(path: string): void {
  if (!/^s3:\/\//.test(path)) return;
  throw new DumpError('UNSUPPORTED', 'only dumps can be written there, as by pagepipe copy', { file: path });
}
