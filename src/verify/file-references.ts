/**
 * Checks that the ids of files lead to files: those of descriptors, mappings, programs, current and root directories, deleted
 * files, terminals and FIFOs, and of descriptors in transit through a socket.
 */
import { eachArea, exeFileId } from '../image/mm.js';
import { approximate, hex, unitsBetween } from '../image/number-fields.js';
import { hasFile, VMA } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import { isColdHalf } from './cold.js';
import { eachFile, FileIds, hasFileImages, placeOfFiles } from './file-ids.js';
import { checkMapping, type Segments } from './segments.js';
import { fdinfoName, type Survey, type SurveyedTask } from './survey.js';
import { ValueCheck } from './values.js';

/** Types of descriptors that have no file of their own. */
const NO_FILE_OF_ITS_OWN = ['UND', 'CTL_TTY', 'AUTOFS_PIPE'];

/** Kinds of files, in `st_mode`. */
const S_IFMT = 0o170000;
const S_IFREG = 0o100000;
const S_IFDIR = 0o040000;
const S_IFIFO = 0o010000;
const S_IFSOCK = 0o140000;

const kindOf = (mode = 0): number => mode & S_IFMT;

/** Types of files that can be mapped; a plugin may map any that is EXT. */
const MAPPED_TYPES = ['REG', 'MEMFD', 'EXT'];
const NEVER_MAPPED = [S_IFDIR, S_IFIFO, S_IFSOCK];

/** `scm_entry.type` of descriptors. */
const SCM_RIGHTS = 1;

/**
 * @returns the files, for checks of what belongs to them; undefined if they cannot be read as a whole
 */
export function checkFileReferences(dump: CheckedDump, survey: Survey, segments: Segments): FileIds | undefined {
  const alive = survey.tasks.filter(({ state }) => state === 'alive');
  if (alive.length === 0 || isColdHalf(dump)) return undefined;
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
    // It is not known whether every file of an older dump belongs to a process.
    const unused = this.ids && this.complete && this.dump.has('files.img') ? [...this.ids.unused()] : [];
    for (const name of missing) this.missingDescriptors(name, fdinfos.get(name) as SurveyedTask, unused.length);
    if (missing.length === 0) {
      for (const { id, types } of unused) {
        this.dump.warning('FILE_UNUSED', 'files.img', `no process has file ${id} (${types.join(', ')}) open`);
      }
    }
    return this.ids;
  }

  private task(task: SurveyedTask): void {
    const { pid } = task;
    const fs = `fs-${pid}.img`;
    const read = this.dump.each(fs, 'fs_entry', ({ cwd_id: cwd, root_id: root, umask }, entry) => {
      this.regular(fs, entry, 'cwd_id', cwd, S_IFDIR);
      this.regular(fs, entry, 'root_id', root, S_IFDIR);
      new ValueCheck(this.dump, fs, entry).mustNot(umask === undefined, 'it has no umask');
    });
    this.complete &&= read;
    const mm = `mm-${pid}.img`;
    const mapped = this.dump.raw(mm, (message, entry) => {
      this.regular(mm, entry, 'exe_file_id', exeFileId(message), S_IFREG);
      eachArea(message, ({ status: { lo: status }, shmid, start, end }) => {
        if (status & VMA.EXTERNAL) return;
        const address = hex(start);
        if (hasFile(status)) this.mapped(mm, entry, approximate(shmid), address);
        else {
          const sizeBytes = unitsBetween(start, end, 1);
          checkMapping(this.dump, this.segments, task, { status, shmid: approximate(shmid), sizeBytes, address });
        }
      });
    });
    this.complete &&= mapped;
  }

  private descriptors(name: string): void {
    const read = this.dump.each(name, 'fdinfo_entry', ({ id, type, fd }, entry) => {
      if (NO_FILE_OF_ITS_OWN.includes(String(type))) return;
      if (!this.file(name, entry, `file ${id} (${type}) of descriptor ${fd}`, id)) return;
      const types = this.ids?.typesOf(id) ?? [];
      // An unknown type was reported when the image was decoded.
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
      this.dump.error('MISSING_IMAGE', name, `${expected}, and no process has ${unused} of the files open`);
    } else {
      this.dump.warning('MISSING_IMAGE', name, `${expected}: right only if process ${pid} had no open files`);
    }
  }

  /** Files that are restored from another one, or removed after they are opened. */
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

  /** FIFOs and terminals, which refer to the file at their path, and memfds. */
  private otherFiles(): void {
    eachFile(this.dump, ({ fifo, tty, memfd }, image, entry) => {
      for (const { regf_id: id } of [fifo, tty].filter((file) => file !== undefined)) {
        if (id) this.file(image, entry, `file ${id}`, id);
      }
      const kind = kindOf(fifo && this.ids?.modes.get(fifo.regf_id ?? 0));
      if (fifo && kind !== 0 && kind !== S_IFIFO) {
        const message = `expected a fifo as file ${fifo.regf_id}, found one of mode 0${kind.toString(8)}`;
        this.dump.error('FILE_TYPE', image, message, { entry });
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
        if (type !== SCM_RIGHTS) {
          new ValueCheck(this.dump, name, entry).must(false, `a control message of type ${SCM_RIGHTS}`, type);
          continue;
        }
        for (const id of rights) this.file(name, entry, `file ${id}, which was sent through a socket,`, id);
      }
    });
    this.complete &&= read;
  }

  private mapped(mm: string, entry: number, id: number, address: string): void {
    const what = `file ${id}, mapped at 0x${address},`;
    if (!this.file(mm, entry, what, id)) return;
    const types = this.ids?.typesOf(id) ?? [];
    const kind = kindOf(this.ids?.modes.get(id));
    if (types.some((type) => MAPPED_TYPES.includes(type)) && !NEVER_MAPPED.includes(kind)) return;
    const found = kind === 0 ? types.join(', ') : `one of mode 0${kind.toString(8)}`;
    this.dump.error('FILE_TYPE', mm, `expected ${what} of a type that can be mapped, found ${found}`, { entry });
  }

  /** @param expected kind of the file, in `st_mode` */
  private regular(name: string, entry: number, field: string, id: number, expected: number): void {
    if (!this.file(name, entry, `file ${id} (${field})`, id)) return;
    const types = this.ids?.typesOf(id) ?? [];
    if (!types.includes('REG')) {
      this.dump.error('FILE_TYPE', name, `expected ${field} ${id} of type REG, found ${types.join(', ')}`, { entry });
    }
    const kind = kindOf(this.ids?.modes.get(id));
    if (kind === 0 || kind === expected) return;
    const message = `expected ${field} ${id} of mode 0${expected.toString(8)}, found 0${kind.toString(8)}`;
    this.dump.error('FILE_TYPE', name, message, { entry });
  }

  /** Marks a file as used. Returns whether it exists. */
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
