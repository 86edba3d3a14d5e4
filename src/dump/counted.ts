/** The files of a dump, of which all bytes that are read are counted. */
import type { FilePlace } from '../bytes.js';
import type { DumpEntry, DumpFiles, DumpOrigin, FileStat, SummedBlocks } from './files.js';

export class CountedFiles implements DumpFiles {
  readonly kind: DumpFiles['kind'];
  readonly path: string;
  readonly mode: number;
  readonly pageSize?: number;
  readonly origin?: DumpOrigin;
  readonly summed?: SummedBlocks;

  /** @param count told of the bytes of each read, also of the dumps that this one builds on */
  constructor(
    private readonly files: DumpFiles,
    private readonly count: (bytes: number) => void,
  ) {
    const { kind, path, mode, pageSize, origin, summed } = files;
    this.kind = kind;
    this.path = path;
    this.mode = mode;
    if (pageSize !== undefined) this.pageSize = pageSize;
    if (origin) this.origin = origin;
    if (summed) this.summed = summed;
  }

  entries(): readonly DumpEntry[] {
    return this.files.entries();
  }

  stat(name: string): FileStat | undefined {
    return this.files.stat(name);
  }

  readSome(name: string, buffer: Uint8Array, position: number): number {
    const bytes = this.files.readSome(name, buffer, position);
    this.count(bytes);
    return bytes;
  }

  place(name: string): FilePlace | undefined {
    return this.files.place?.(name);
  }

  parent(): DumpFiles | undefined {
    const parent = this.files.parent();
    return parent && new CountedFiles(parent, this.count);
  }

  close(): void {
    this.files.close();
  }
}
