/**
 * The files that a process has mapped, as they are on this machine: for a core that has their pages as well. A file that is
 * not the one that was dumped is left out, and its pages are left to the debugger.
 */
import { statSync } from 'node:fs';
import { payloadFile } from '../dump/files.js';
import type { Images } from '../dump/images.js';
import type { PayloadFile } from '../dump/records.js';
import { DumpError, onFile, systemReason } from '../errors.js';
import type { MemorySpan, TaskMemory } from '../explore/task-memory.js';
import type { reg_file_entry } from '../generated/entries.js';
import { pathInRoot } from '../io/in-root.js';
import { OpenFiles } from '../io/open-files.js';
import { readElf } from '../template/elf.js';

/** What the dump says of a file. */
type Expected = Pick<reg_file_entry, 'name' | 'size' | 'build_id'>;

export class MappedFiles {
  private expected: Map<number, Expected> | undefined;
  private readonly found = new Map<number, PayloadFile | undefined>();
  private readonly open = new OpenFiles();

  /**
   * @param root folder of the dumped processes, here
   * @param warn is told of files that are left out
   */
  constructor(
    private readonly images: Images,
    private readonly root: string,
    private readonly warn: (message: string) => void,
  ) {}

  /** Pages from the beginning of a span to the end of the file that is mapped there; 0 without the file. */
  pagesFrom(memory: TaskMemory, span: MemorySpan): number {
    const { file, position } = this.place(memory, span);
    return file ? Math.max(0, Math.ceil((file.size - position) / memory.pageSize)) : 0;
  }

  /** The file that is mapped at a span, and where it is there, in bytes. */
  place({ areas, pageSize }: TaskMemory, { area, pageNumber }: MemorySpan): { file?: PayloadFile; position: number } {
    const page = pageNumber - (areas.starts[area] as number) + (areas.pageOffsets[area] as number);
    const file = this.file(areas.ids[area] as number);
    return { position: page * pageSize, ...(file ? { file } : {}) };
  }

  /** Of the files that were found so far. */
  get paths(): string[] {
    return [...this.found.values()].flatMap((file) => file?.name ?? []);
  }

  close(): void {
    this.open.close();
  }

  private file(id: number): PayloadFile | undefined {
    if (!this.found.has(id)) this.found.set(id, this.lookFor(id));
    return this.found.get(id);
  }

  private lookFor(id: number): PayloadFile | undefined {
    this.expected ??= expectedFiles(this.images);
    const expected = this.expected.get(id);
    if (!expected?.name) return undefined;
    const found = this.openFile(expected);
    if (typeof found !== 'string') return found;
    this.warn(`${expected.name}: left out, ${found}`);
    return undefined;
  }

  /** The file, or why it is not taken. */
  private openFile({ name, size, build_id = [] }: Expected): PayloadFile | string {
    if (name.includes('\0')) return 'it is not here';
    try {
      const path = pathInRoot(this.root, name);
      const stats = onFile(path, () => statSync(path, { throwIfNoEntry: false }));
      if (!stats) return 'it is not here';
      if (!stats.isFile()) return 'it is no regular file';
      const isOther = (size !== undefined && stats.size !== Number(size)) || isOtherBuild(path, build_id);
      if (isOther) return 'it is not the file that was dumped';
      this.open.descriptor(path, path);
      return this.payload(path);
    } catch (error) {
      if (!(error instanceof DumpError)) throw error;
      return error.code === 'SYSTEM' ? systemReason(error.cause) : error.message;
    }
  }

  private payload(path: string): PayloadFile {
    const { size } = onFile(path, () => statSync(path));
    const files = {
      stat: () => undefined,
      readSome: (name: string, buffer: Uint8Array, position: number) =>
        this.open.readSome(path, name, buffer, position),
      place: (name: string) => ({ fd: this.open.descriptor(path, name), offset: 0 }),
    };
    return payloadFile(files, path, size);
  }
}

/** The build of a program, in words of the dump: four bytes each, the last one may be padded. */
function isOtherBuild(path: string, words: readonly number[]): boolean {
  if (words.length === 0) return false;
  const buildId = readElf(path, [])?.buildId;
  const expected = Buffer.from(Uint32Array.from(words).buffer).toString('hex');
  return buildId !== undefined && !expected.startsWith(buildId);
}

/** The regular files by id; the first entry of an id counts. */
function expectedFiles(images: Images): Map<number, Expected> {
  const files = new Map<number, Expected>();
  const add = (id: number, entry: Expected) => void (files.has(id) || files.set(id, entry));
  if (images.has('files.img')) {
    images.each('files.img', 'file_entry', ({ id, reg }) => reg && add(id, reg));
  } else if (images.has('reg-files.img')) {
    images.each('reg-files.img', 'reg_file_entry', (entry) => add(entry.id, entry));
  }
  return files;
}
