/**
 * A dump below a prefix, open to random access. Its objects are listed once; from then on each must stay as it was in the list.
 * See names.ts.
 */
import { posix } from 'node:path';
import { type DumpEntry, type DumpFiles, type FileStat, missingImage } from '../../dump/files.js';
import { checkFileName, MAX_NAME_BYTES } from '../../dump/names.js';
import { MAX_CHAIN } from '../../dump/pagemap.js';
import { withSumsCompared } from '../../dump/summed-files.js';
import { DumpError } from '../../errors.js';
import { keyPrefix, type S3Address, s3Name } from './address.js';
import type { S3Bridge } from './bridge.js';
import { FILE_MODE, FOLDER_MODE, isMarker, PARENT } from './names.js';
import { S3Object, WHOLE_BYTES } from './object.js';
import type { ObjectInfo } from './protocol.js';

/** Objects of a dump. A tree of a thousand processes has some ten thousand images. */
export const MAX_OBJECTS = 200_000;

/** So many small files are fetched at a time. */
const SMALL_AHEAD = 8;

const isSmall = ({ kind, size }: DumpEntry): boolean => kind === 'regular' && size > 0 && size <= WHOLE_BYTES;

/** An object of the dump; its name is relative to the prefix. */
type NamedObject = ObjectInfo & { readonly name: string };

export class S3Files implements DumpFiles {
  readonly kind = 's3';
  readonly mode = FOLDER_MODE;
  readonly path: string;
  private readonly byName: ReadonlyMap<string, NamedObject>;
  private readonly open = new Map<string, S3Object>();
  /** Small files, in their order, and the place of each there. The one that was read last. */
  private small: string[] | undefined;
  private places: Map<string, number> | undefined;
  private latest: string | undefined;
  private listed: readonly DumpEntry[] | undefined;
  /** Undefined: not looked for yet; null: there is none. */
  private known: DumpFiles | null | undefined;

  /** @param objects all that are below the prefix */
  constructor(
    private readonly bridge: S3Bridge,
    private readonly address: S3Address,
    objects: readonly ObjectInfo[],
    private readonly depth = 0,
  ) {
    this.path = s3Name({ ...address, isPrefix: false });
    this.byName = named(objects, keyPrefix(address), this.path);
  }

  entries(): readonly DumpEntry[] {
    this.listed ??= this.list();
    return this.listed;
  }

  stat(name: string): FileStat | undefined {
    const object = name === PARENT ? undefined : this.byName.get(name);
    return object && { size: object.size, mode: FILE_MODE, modifiedMs: object.modifiedMs };
  }

  readSome(name: string, buffer: Uint8Array, position: number): number {
    this.lookAhead(name);
    return this.object(name).readSome(buffer, position);
  }

  willRead(name: string, extents: Float64Array, isAwaited?: boolean): void {
    if (this.byName.has(name)) this.object(name).willRead(extents, isAwaited);
  }

  forget(name: string, position: number, bytes: number): void {
    this.open.get(name)?.forget(position, bytes);
  }

  readonly arrival = (name: string, position: number, bytes: number, isNeeded?: boolean): Promise<void> | undefined =>
    this.object(name).arrival(position, bytes, isNeeded);

  parent(): DumpFiles | undefined {
    if (this.known === undefined) this.known = this.openParent() ?? null;
    return this.known ?? undefined;
  }

  close(): void {
    for (const object of this.open.values()) object.close();
    this.open.clear();
    this.known?.close();
  }

  /** Small files that are read in their order are fetched a few at a time. */
  private lookAhead(name: string): void {
    if (name === this.latest) return;
    this.small ??= this.entries().flatMap((each) => (isSmall(each) ? each.name : []));
    this.places ??= new Map(this.small.map((each, i) => [each, i]));
    const place = this.places.get(name);
    if (place === undefined) return;
    if (place > 0 && this.small[place - 1] === this.latest) {
      for (const next of this.small.slice(place, place + SMALL_AHEAD)) this.object(next).willReadAll();
    }
    this.latest = name;
  }

  private object(name: string): S3Object {
    const known = this.open.get(name);
    if (known) return known;
    const info = this.byName.get(name);
    if (!info) throw missingImage(name);
    const object = new S3Object(this.bridge, { bucket: this.address.bucket, key: info.key }, info);
    this.open.set(name, object);
    return object;
  }

  private list(): DumpEntry[] {
    const entries: DumpEntry[] = [];
    const folders = new Set<string>();
    for (const { name, size } of this.byName.values()) {
      // A parent that was copied into its child, as clients do that follow links, still counts as one.
      if (name === PARENT || name.startsWith(`${PARENT}/`)) continue;
      entries.push({ name, kind: 'regular', mode: FILE_MODE, size });
      for (let at = posix.dirname(name); at !== '.'; at = posix.dirname(at)) folders.add(at);
    }
    for (const name of folders) {
      if (this.byName.has(name)) throw badName(name, 'the name is both that of a file and that of a folder');
      entries.push({ name, kind: 'directory', mode: FOLDER_MODE, size: 0 });
    }
    const target = this.parentTarget();
    if (target !== undefined) {
      entries.push({ name: PARENT, kind: 'link', mode: 0o777, size: 0, target: Buffer.from(target) });
    }
    // A folder comes before what is in it, and that before a name that only begins like it.
    const order = ({ name }: DumpEntry) => name.replaceAll('/', '\0');
    return entries.sort((a, b) => (order(a) < order(b) ? -1 : 1));
  }

  /** Where the link to the parent would lead; undefined if there is none. Throws {@link DumpError} BAD_NAME. */
  private parentTarget(): string | undefined {
    const size = this.byName.get(PARENT)?.size;
    if (size === undefined) {
      const isCopied = [...this.byName.keys()].some((name) => name.startsWith(`${PARENT}/`));
      return isCopied ? `${this.path}/${PARENT}` : undefined;
    }
    const bytes = new Uint8Array(Math.min(size, MAX_NAME_BYTES));
    if (size <= MAX_NAME_BYTES) this.object(PARENT).readSome(bytes, 0);
    const target = Buffer.from(bytes).toString();
    if (size === 0 || size > MAX_NAME_BYTES || /\p{Cc}|\uFFFD/u.test(target)) {
      throw badName(PARENT, 'expected the target of a link, found something else');
    }
    return target;
  }

  private openParent(): DumpFiles | undefined {
    const target = this.parentTarget();
    if (target === undefined) return undefined;
    if (this.depth >= MAX_CHAIN) {
      throw new DumpError('LIMIT', `expected at most ${MAX_CHAIN} dumps in a chain of parents`, { file: PARENT });
    }
    const { bucket, key } = this.address;
    const place = this.byName.has(PARENT) ? posix.normalize(`${key}/${target}`) : `${key}/${PARENT}`;
    if (posix.isAbsolute(target) || place === '..' || place.startsWith('../')) {
      throw badName(PARENT, 'expected a relative link inside the bucket, found one that leads elsewhere');
    }
    const address = { bucket, key: place.replace(/\/$/, '').replace(/^\.$/, ''), isPrefix: true };
    const { objects } = this.bridge.list({ bucket, prefix: keyPrefix(address), most: MAX_OBJECTS });
    if (objects.length === 0) return undefined;
    return withSumsCompared(new S3Files(this.bridge, address, objects, this.depth + 1));
  }
}

/** Objects by their names below a prefix. Throws {@link DumpError} BAD_NAME for a key that cannot be a file. */
function named(objects: readonly ObjectInfo[], prefix: string, file: string): Map<string, NamedObject> {
  const byName = new Map<string, NamedObject>();
  for (const object of objects) {
    if (isMarker(object.key)) continue;
    const name = object.key.slice(prefix.length);
    checkFileName(name, file);
    if (byName.has(name)) throw badName(name, 'the name occurs twice');
    byName.set(name, { ...object, name });
  }
  return byName;
}

const badName = (file: string, what: string): DumpError => new DumpError('BAD_NAME', what, { file });
