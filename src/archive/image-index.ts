/**
 * The images of a dump by name, where they are in no directory. In a plain archive each stands in one piece and is read there;
 * of what cannot be read anywhere but from front to back, all but the pages are held in memory.
 */
import { closeSync, fstatSync, openSync, readSync, type Stats } from 'node:fs';
import { DumpError, onFile, systemError } from '../errors.js';
import { FileBytes } from './file-bytes.js';
import type { MemberSource } from './members.js';
import { BLOCK, isTarHeader, type TarMember, TarReader } from './tar.js';
import { checkTarMember, isInside, rootOf } from './tar-source.js';

/** Most that is held of one image, and of all. */
const MAX_IMAGE_BYTES = 256 * 1024 * 1024;
const MAX_HELD_BYTES = 1024 * 1024 * 1024;
const PAGES = /^pages-\d+\.img$/;

/** Where an image is: in the archive, or in memory. */
type Place = { offset: number; size: number } | Uint8Array;

export class ImageIndex {
  private readonly state: string | undefined;

  private constructor(
    readonly path: string,
    private readonly images: ReadonlyMap<string, Place>,
    private readonly fd: number | undefined,
  ) {
    this.state = fd === undefined ? undefined : stateOf(fstatSync(fd));
  }

  /** Of a plain archive; undefined if the file is none. Throws {@link DumpError} for one that is damaged. */
  static async ofTar(path: string): Promise<ImageIndex | undefined> {
    const fd = onFile(path, () => openSync(path, 'r'));
    try {
      const start = new Uint8Array(BLOCK);
      const isTar = fstatSync(fd).isFile() && readSync(fd, start, 0, BLOCK, 0) === BLOCK && isTarHeader(start);
      if (isTar) return new ImageIndex(path, await tarPlaces(fd, path), fd);
    } catch (error) {
      closeSync(fd);
      throw systemError(error, path);
    }
    closeSync(fd);
    return undefined;
  }

  /** Of members that come one after the other. */
  static async ofMembers(path: string, members: MemberSource): Promise<ImageIndex> {
    const parts = new Map<string, Uint8Array[]>();
    const sizes = new Map<string, number>();
    let held = 0;
    for await (const event of members) {
      if (event.type === 'member' && event.kind === 'regular' && !event.outside && !PAGES.test(event.name)) {
        if (parts.has(event.name)) throw twice(event.name);
        parts.set(event.name, []);
      }
      if (event.type !== 'data') continue;
      const image = parts.get(event.name);
      if (!image) continue;
      const size = (sizes.get(event.name) ?? 0) + event.bytes.length;
      held += event.bytes.length;
      if (size > MAX_IMAGE_BYTES || held > MAX_HELD_BYTES) {
        const limit = size > MAX_IMAGE_BYTES ? `${MAX_IMAGE_BYTES} bytes` : `${MAX_HELD_BYTES} bytes of images`;
        throw new DumpError('LIMIT', `expected at most ${limit}, found more`, { file: event.name });
      }
      sizes.set(event.name, size);
      image.push(event.bytes.slice());
    }
    return new ImageIndex(path, new Map([...parts].map(([name, all]) => [name, Buffer.concat(all)])), undefined);
  }

  get names(): string[] {
    return [...this.images.keys()];
  }

  /** Bytes of an image. Throws {@link DumpError} SYSTEM, as a directory would, if there is none. */
  sizeOf(name: string): number {
    const place = this.place(name);
    return place instanceof Uint8Array ? place.length : place.size;
  }

  /** Reads up to `buffer.length` bytes; 0 at the end of the image. */
  readSome(name: string, buffer: Uint8Array, position: number): number {
    const place = this.place(name);
    if (place instanceof Uint8Array) {
      const part = place.subarray(position, position + buffer.length);
      buffer.set(part);
      return part.length;
    }
    const { fd } = this;
    const count = Math.min(buffer.length, place.size - position);
    if (fd === undefined || count <= 0) return 0;
    if (stateOf(onFile(this.path, () => fstatSync(fd))) !== this.state) {
      throw new DumpError('CHANGED', 'expected the file as it was, found it changed', { file: this.path });
    }
    return onFile(name, () => readSync(fd, buffer, 0, count, place.offset + position), position);
  }

  close(): void {
    if (this.fd !== undefined) closeSync(this.fd);
  }

  private place(name: string): Place {
    const place = this.images.get(name);
    if (place) return place;
    throw systemError(Object.assign(new Error('no such image'), { code: 'ENOENT', syscall: 'open' }), name);
  }
}

const stateOf = ({ ino, size, mtimeMs }: Stats): string => `${ino} ${size} ${mtimeMs}`;

const twice = (file: string): DumpError =>
  new DumpError('BAD_NAME', 'expected each file once, found it twice', { file });

async function tarPlaces(fd: number, path: string): Promise<Map<string, Place>> {
  const source = new FileBytes(fd, path);
  const tar = new TarReader(source, path);
  const members: TarMember[] = [];
  for (let member = await tar.next(); member; member = await tar.next()) {
    checkTarMember(member, path);
    members.push(member);
    source.skip(dataBytes(member));
    await tar.skipPadding(member.storedBytes);
  }
  const root = rootOf(members);
  if (root === undefined)
    throw new DumpError('NOT_A_DUMP', 'expected a dump, found no image in the archive', { file: path });
  const places = new Map<string, Place>();
  for (const member of members) {
    if (!isInside(member, root, path) || member.kind !== 'regular') continue;
    const name = member.name.slice(root.length);
    if (places.has(name)) throw twice(name);
    if (member.sparse) {
      throw new DumpError('UNSUPPORTED', 'expected a file in one piece, found a sparse one: unpack the archive', {
        file: name,
      });
    }
    places.set(name, { offset: member.offset, size: member.size });
  }
  return places;
}

/** Bytes behind the header. */
const dataBytes = ({ storedBytes, sparse }: TarMember): number => storedBytes - (sparse?.mapBytes ?? 0);
