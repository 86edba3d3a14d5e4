/** The directory of a dump that is being written. Files go only into folders that were made here, and links stay inside. */
import { existsSync, rmSync, statSync, symlinkSync } from 'node:fs';
import { join, posix } from 'node:path';
import { checkLink, notOfDump, PARTIAL } from '../../dump/names.js';
import { DumpError, onFile } from '../../errors.js';
import { AtomicDirectory, type AtomicDirectoryOptions } from '../../io/atomic-directory.js';
import { OutputFile } from '../../io/output-file.js';
import type { Written } from '../written.js';

export class DumpDirectory {
  readonly written: Written = { files: 0, bytes: 0, holePages: 0, isPartial: false, parentMissing: false };
  private readonly directory: AtomicDirectory;
  private readonly folders = new Set<string>();
  /** Targets of links, by name. */
  private readonly links = new Map<string, string>();
  private readonly openFiles = new Set<OutputFile>();
  private readonly spare: Uint8Array[] = [];

  /** Throws {@link DumpError} if `path` is in use or cannot be written. */
  constructor(path: string, options: AtomicDirectoryOptions = {}) {
    this.directory = new AtomicDirectory(path, { ...options, foreign: notOfDump });
  }

  /** Where the files are until {@link commit}. */
  get temporary(): string {
    return this.directory.temporary;
  }

  /** @param mode permission bits */
  addFile(name: string, mode: number): OutputFile {
    this.check(name, 'file');
    const file = new OutputFile(this.directory, name, mode, this.spare);
    this.written.isPartial ||= name === PARTIAL;
    this.openFiles.add(file);
    this.written.files++;
    return file;
  }

  /** Takes a file as complete. */
  finishFile(file: OutputFile): Promise<void> | undefined {
    const finished = () => {
      this.openFiles.delete(file);
      this.written.bytes += file.bytes;
    };
    const settled = file.finish();
    if (settled) return settled.then(finished);
    finished();
  }

  /** Removes a file that is complete. */
  removeFile(name: string): void {
    const path = join(this.temporary, name);
    onFile(name, () => {
      this.written.bytes -= statSync(path).size;
      rmSync(path);
    });
    this.written.files--;
  }

  /** @param mode permission bits */
  addFolder(name: string, mode: number): void {
    this.check(name, 'directory');
    this.directory.addFolder(name, mode);
    this.folders.add(name);
    this.written.files++;
  }

  /** Links stay inside the dump; only `parent` leads to another one. */
  addLink(name: string, target: Uint8Array): void {
    this.check(name, 'link');
    const text = Buffer.from(target).toString();
    checkLink(name, text);
    this.links.set(name, text);
    onFile(name, () => symlinkSync(Buffer.from(target), join(this.temporary, name)));
    if (name === 'parent') this.written.parentMissing = true;
    this.written.files++;
  }

  /** Puts the directory in its place. */
  async commit(mode: number): Promise<void> {
    this.checkLinks();
    await this.directory.commit(mode);
    this.written.parentMissing &&= !existsSync(join(this.directory.path, 'parent'));
  }

  /** Closes and removes everything. */
  async discard(): Promise<void> {
    for (const file of this.openFiles) await file.abandon();
    this.openFiles.clear();
    await this.directory.discard();
  }

  /** Checks, when all links are known, that none leads through another one, which may lead outside. */
  private checkLinks(): void {
    for (const [name, target] of this.links) checkLink(name, target, (place) => this.links.has(place));
  }

  private check(name: string, kind: 'file' | 'directory' | 'link'): void {
    if (name === 'parent' && kind === 'file') {
      throw new DumpError('BAD_NAME', `expected a link to the parent dump, found a ${kind}`, { file: name });
    }
    const folder = posix.dirname(name);
    if (folder === '.' || this.folders.has(folder)) return;
    throw new DumpError('BAD_NAME', `expected a folder ${JSON.stringify(folder)} before this file, found none`, {
      file: name,
    });
  }
}
