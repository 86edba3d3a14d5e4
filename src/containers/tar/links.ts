/**
 * Hard links of an archive, and symbolic links in the place of images that are needed as it is read. They become copies of
 * the files that they lead to. In an archive that is read once such a file may have gone by, so files are kept, as long as
 * they have few bytes. Pages and pagemaps are not.
 */
import type { FileBegin, FileEvent } from '../../dump/events.js';
import { isPagemapName, isPagesName } from '../../dump/names.js';
import type { TarKind } from './headers.js';
import { noCopy } from './root.js';

/** Limit on the bytes of all kept files. A process has a few KiB of images other than its memory. */
const MAX_KEPT_BYTES = 4 * 1024 * 1024;

/** What a kept file takes beyond its bytes. */
const FILE_BYTES = 512;

/** Limit on the bytes of all copies: a small archive must not become a large dump. */
export const MAX_COPIED_BYTES = 64 * 1024 * 1024;

/** Whether an image has the pages of a process, or says where they are. */
export const isMemory = (name: string): boolean => isPagemapName(name) || isPagesName(name);

interface KeptFile {
  mode: number;
  bytes: number;
  pieces: Uint8Array[];
  ended: boolean;
}

type Link = { name: string; kind: TarKind };

export class ImageLinks {
  private readonly kept = new Map<string, KeptFile>();
  private keptBytes = 0;
  private copyableBytes = MAX_COPIED_BYTES;
  /** Links whose file has not come, by its name. */
  private readonly waiting = new Map<string, Link[]>();

  /** Takes the beginning of a file. */
  begin({ name, mode }: FileBegin): void {
    if (isMemory(name) || this.keptBytes + FILE_BYTES > MAX_KEPT_BYTES) return;
    this.keptBytes += FILE_BYTES;
    this.kept.set(name, { mode, bytes: 0, pieces: [], ended: false });
  }

  /** Takes the next bytes of a file. */
  data(name: string, bytes: Uint8Array): void {
    const file = this.kept.get(name);
    if (!file) return;
    if (this.keptBytes + bytes.length > MAX_KEPT_BYTES) {
      this.keptBytes -= file.bytes;
      this.kept.delete(name);
      return;
    }
    this.keptBytes += bytes.length;
    file.bytes += bytes.length;
    file.pieces.push(bytes.slice());
  }

  /** Takes the end of a file; returns the copies that waited for it. Throws {@link DumpError} if the file was not kept. */
  *end(name: string): Generator<FileEvent> {
    const file = this.kept.get(name);
    if (file) file.ended = true;
    const links = this.waiting.get(name) ?? [];
    this.waiting.delete(name);
    for (const link of links) yield* this.copy(file, link);
  }

  /**
   * Takes a link; returns the copy, if the file has come.
   * @param place name of the file
   */
  *link(place: string, link: Link): Generator<FileEvent> {
    const file = this.kept.get(place);
    const links = this.waiting.get(place);
    if (file?.ended) yield* this.copy(file, link);
    else if (links) links.push(link);
    else this.waiting.set(place, [link]);
  }

  /** Called after the last file. Throws {@link DumpError} for a link whose file has not come. */
  finish(): void {
    for (const [link] of this.waiting.values()) if (link) throw noCopy(link);
  }

  /** The header of the link is of no use in another archive. */
  private *copy(file: KeptFile | undefined, link: Link): Generator<FileEvent> {
    const { name } = link;
    if (!file || file.bytes > this.copyableBytes) throw noCopy(link);
    this.copyableBytes -= file.bytes;
    yield { type: 'file', name, kind: 'regular', mode: file.mode, size: file.bytes };
    for (const bytes of file.pieces) yield { type: 'data', name, bytes };
    yield { type: 'fileEnd', name };
  }
}
