/**
 * Whether the file ids that stand all over a dump lead to files: those of descriptors, mappings, programs, current and root
 * directories, of files that are deleted, of terminals and fifos, and of descriptors on their way through a socket.
 */
import { eachArea, exeFileId, hasFile } from '../dump/mm-walk.js';
import { approximate, hex } from '../image/number-fields.js';
import { VMA } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import { isColdHalf } from './cold.js';
import { eachFile, FileIds, hasFileImages, placeOfFiles } from './file-ids.js';
import { checkMapping, type Segments } from './segments.js';
import { fdinfoName, type Survey, type SurveyedTask } from './survey.js';

/** Types of descriptors that stand for no file of their own. */
const NO_FILE_OF_ITS_OWN = ['UND', 'CTL_TTY', 'AUTOFS_PIPE'];

/** `scm_entry.type` of descriptors. */
const SCM_RIGHTS = 1;

/**
 * @returns the files, for checks of what belongs to them; undefined if they cannot be read as a whole
 */
export function checkFileReferences(dump: CheckedDump, survey: Survey, segments: Segments): FileIds | undefined {
  const alive = survey.tasks.filter(({ state }) => state === 'alive');
  if (alive.length === 0 || isColdHalf(dump)) return undefined;
  if (!hasFileImages(dump)) dump.require('files.img', 'pstree.img');
  const ids = new FileIds();
  const sound = hasFileImages(dump) && eachFile(dump, (file) => ids.add(file));
  return new FileReferences(dump, survey, segments, sound ? ids : undefined).check(alive);
}

class FileReferences {
  /** Whether all was read that refers to files. */
  private complete = true;

  constructor(
    private readonly dump: CheckedDump,
    private readonly survey: Survey,
    private readonly segments: Segments,
    private readonly ids: FileIds | undefined,
  ) {}

  check(alive: readonly SurveyedTask[]): FileIds | undefined {
    const fdinfos = new Map<string, SurveyedTask>();
    for (const task of alive) {
      this.task(task);
      const name = fdinfoName(task, this.survey);
      if (name === undefined) this.complete = false;
      else if (!fdinfos.has(name)) fdinfos.set(name, task);
    }
    this.remaps();
    this.otherFiles();
    this.queues();
    const missing: string[] = [];
    for (const name of fdinfos.keys()) {
      if (!this.dump.has(name)) missing.push(name);
      else this.descriptors(name);
    }
    // In older dumps nobody has looked whether every file is somebody's.
    const unused = this.ids && this.complete && this.dump.has('files.img') ? [...this.ids.unused()] : [];
    for (const name of missing) this.missingDescriptors(name, fdinfos.get(name) as SurveyedTask, unused.length);
    if (missing.length === 0) {
      for (const { id, types } of unused) {
        const message = `expected somebody who has file ${id} (${types.join(', ')}), found nobody`;
        this.dump.warning('FILE_UNUSED', 'files.img', message);
      }
    }
    return this.ids;
  }

  private task(task: SurveyedTask): void {
    const { pid } = task;
    const fs = `fs-${pid}.img`;
    const read = this.dump.each(fs, 'fs_entry', ({ cwd_id: cwd, root_id: root }, entry) => {
      this.regular(fs, entry, 'cwd_id', cwd);
      this.regular(fs, entry, 'root_id', root);
    });
    this.complete &&= read;
    const mm = `mm-${pid}.img`;
    const mapped = this.dump.raw(mm, (message, entry) => {
      this.regular(mm, entry, 'exe_file_id', exeFileId(message));
      eachArea(message, ({ status: { lo: status }, shmid, start }) => {
        if (status & VMA.EXTERNAL) return;
        const address = hex(start);
        if (hasFile(status))
          this.file(mm, entry, `file ${approximate(shmid)}, mapped at 0x${address},`, approximate(shmid));
        else checkMapping(this.dump, this.segments, task, { status, shmid: approximate(shmid), address });
      });
    });
    this.complete &&= mapped;
  }

  private descriptors(name: string): void {
    const read = this.dump.each(name, 'fdinfo_entry', ({ id, type, fd }, entry) => {
      if (NO_FILE_OF_ITS_OWN.includes(String(type))) return;
      if (!this.file(name, entry, `file ${id} (${type}) of descriptor ${fd}`, id)) return;
      const types = this.ids?.typesOf(id) ?? [];
      // A type that is not known by name was told of when the image was decoded.
      if (typeof type === 'number' || types.includes(type)) return;
      this.dump.error('FILE_TYPE', name, `expected file ${id} of type ${type}, found ${types.join(', ')}`, { entry });
    });
    this.complete &&= read;
  }

  /** An image without entries is not written, so a process without descriptors has none. */
  private missingDescriptors(name: string, { pid }: SurveyedTask, unused: number): void {
    const by = this.survey.inventory?.fdinfo_per_id === false ? 'pstree.img' : `ids-${pid}.img`;
    const expected = `expected this image, named by ${by}, found none`;
    if (unused > 0) {
      this.dump.error('MISSING_IMAGE', name, `${expected}, and nobody who has ${unused} of the files`);
    } else {
      this.dump.warning('MISSING_IMAGE', name, `${expected}: right only if process ${pid} had no open files`);
    }
  }

  /** Files whose path leads to another one, or nowhere. */
  private remaps(): void {
    const name = 'remap-fpath.img';
    if (!this.dump.has(name)) return;
    const read = this.dump.each(
      name,
      'remap_file_path_entry',
      ({ orig_id: file, remap_id: id, remap_type: type }, entry) => {
        this.exists(name, entry, `file ${file}`, file);
        if (type === 'LINKED') this.file(name, entry, `file ${id}`, id);
      },
    );
    this.complete &&= read;
  }

  /** Files that stand for something at a path, which is a file as well. */
  private otherFiles(): void {
    eachFile(this.dump, ({ fifo, tty, memfd }, image, entry) => {
      for (const { regf_id: id } of [fifo, tty].filter((file) => file !== undefined)) {
        if (id) this.file(image, entry, `file ${id}`, id);
      }
      if (memfd && this.segments.memfds && !this.segments.memfds.has(memfd.inode_id)) {
        const message = `expected inode_id ${memfd.inode_id} in memfd.img, found none`;
        this.dump.error('NO_SEGMENT', image, message, { entry });
      }
    });
  }

  /** Descriptors that were sent through a socket, and not received yet. */
  private queues(): void {
    const name = 'sk-queues.img';
    if (!this.dump.has(name)) return;
    const read = this.dump.each(name, 'sk_packet_entry', ({ scm = [] }, entry) => {
      for (const { type, rights = [] } of scm) {
        if (type !== SCM_RIGHTS) continue;
        for (const id of rights) this.file(name, entry, `file ${id}, which was sent through a socket,`, id);
      }
    });
    this.complete &&= read;
  }

  private regular(name: string, entry: number, field: string, id: number): void {
    if (!this.file(name, entry, `file ${id} (${field})`, id)) return;
    const types = this.ids?.typesOf(id) ?? [];
    if (types.includes('REG')) return;
    this.dump.error('FILE_TYPE', name, `expected ${field} ${id} of type REG, found ${types.join(', ')}`, { entry });
  }

  /** Whether a file is there that somebody has. */
  private file(name: string, entry: number, what: string, id: number): boolean {
    this.ids?.use(id);
    return this.exists(name, entry, what, id);
  }

  private exists(name: string, entry: number, what: string, id: number): boolean {
    if (!this.ids) return false;
    if (this.ids.typesOf(id)) return true;
    this.dump.error('NO_FILE', name, `expected ${what} in ${placeOfFiles(this.dump)}, found none`, { entry });
    return false;
  }
}
