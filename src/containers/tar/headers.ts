/**
 * tar, read in sequence, with the bytes of every header kept: what an archive has next to the dump is passed on unchanged.
 * Libraries for tar do not give back the bytes of a header (binary xattrs in PAX records do not survive their strings).
 *
 *     archive := (extension*, header, data)*, zeros        all in blocks of 512 bytes
 *     extension := a header of type x (PAX; X is Solaris's), g (PAX for all that follow), L or K (GNU long names), with
 *                  its data. If there are several of one type, the last counts.
 *
 * Source: POSIX.1-2017, pax; GNU tar's manual, for its long names, base-256 numbers and sparse files.
 */
import { concatBytes } from '../../bytes.js';
import type { ArchiveHeader } from '../../dump/records.js';
import { DumpError } from '../../errors.js';
import type { BytesReader } from '../../io/bytes-reader.js';
import {
  BLOCK,
  checksum,
  FIELD,
  type Field,
  isUstar,
  isZero,
  number,
  paddedBytes,
  string,
  text,
  typeOf,
} from './block.js';
import { readPax, type SparseMap, sparseMap, writePax } from './extensions.js';
import { ArchiveLimits, MAX_EXTENSION_BYTES } from './limits.js';

const EXTENSIONS = 'xXgLK';

/** Keys of PAX that may be given for all members that follow. A map of a sparse file is of one member. */
const GLOBAL_KEYS = ['path', 'linkpath', 'size'];

/** `special`: devices and fifos. `other`: has a name but is not a file, such as the label of a volume. */
export type TarKind = 'regular' | 'hard-link' | 'link' | 'directory' | 'special' | 'other';

/** A file of an archive, as its header says. */
export interface TarMember {
  /** Without `./` in front and `/` behind. */
  name: string;
  kind: TarKind;
  /** Permission bits. */
  mode: number;
  /** Bytes of data in the archive. */
  storedBytes: number;
  /** Bytes of the file: more than are stored if it is sparse. */
  size: number;
  /** Of a link; a hard link has the name of a member, as in `name`. */
  target: string | undefined;
  sparse: SparseMap | undefined;
  /** All blocks before the data, including the map of a sparse file. */
  header: Uint8Array;
  /** Of the data, in bytes from the start of the archive. */
  offset: number;
}

/** Bytes after the header, whose last blocks may be the map of a sparse file. */
export const dataBytes = ({ storedBytes, sparse }: TarMember): number => storedBytes - (sparse?.mapBytes ?? 0);

/**
 * The header for another archive.
 * @param blocks reads the blocks, where they are not kept
 */
export const archiveHeader = (
  { name, storedBytes, sparse, header }: TarMember,
  blocks: () => Uint8Array = () => header,
): ArchiveHeader => ({ name, storedBytes, isSparse: sparse !== undefined, blocks });

/** What headers are read from. */
export type ByteSource = Pick<BytesReader, 'offset' | 'exactly' | 'some'>;

/** Reads headers. After each one the caller reads all of its data, and then calls {@link TarReader.skipPadding}. */
export class TarReader {
  private readonly global = new Map<string, Uint8Array>();
  private readonly limits: ArchiveLimits;

  /** @param file for errors */
  constructor(
    private readonly reader: ByteSource,
    private readonly file: string,
  ) {
    this.limits = new ArchiveLimits(file);
  }

  /** The next member, or undefined at the end. Throws {@link DumpError} TRUNCATED, MALFORMED, LIMIT, BAD_NAME. */
  async next(): Promise<TarMember | undefined> {
    const start = this.reader.offset;
    const blocks: Uint8Array[] = [];
    let pax = new Map<string, Uint8Array>();
    let longName: string | undefined;
    let longLink: string | undefined;
    for (;;) {
      const { offset } = this.reader;
      const block = (await this.reader.exactly(BLOCK)).slice();
      if (block.length === 0 && blocks.length === 0) throw this.fail('TRUNCATED', 'the end of the archive', offset);
      if (block.length < BLOCK) {
        const what = `expected ${BLOCK - block.length} more bytes of a header, found the end of the archive`;
        throw new DumpError('TRUNCATED', what, { file: this.file, offset });
      }
      if (blocks.length === 0 && isZero(block)) {
        await this.readEnd();
        return undefined;
      }
      this.checkHeader(block, offset);
      blocks.push(block);
      const type = typeOf(block);
      if (!EXTENSIONS.includes(type)) return this.member(block, type, blocks, pax, { longName, longLink });
      const data = await this.extension(block, blocks, start);
      if (type === 'L') longName = text(data);
      else if (type === 'K') longLink = text(data);
      else if (type === 'g') this.addGlobal(readPax(data, this.file, offset));
      else pax = readPax(data, this.file, offset);
    }
  }

  /** Skips the padding of the last block of data. */
  async skipPadding(storedBytes: number): Promise<void> {
    const padding = paddedBytes(storedBytes) - storedBytes;
    if ((await this.reader.exactly(padding)).length < padding)
      throw this.fail('TRUNCATED', 'the end of a block', this.reader.offset);
  }

  /** Reads a second block of zeros, if any. What follows is ignored, but read, because a pipe or a checksum may need it. */
  private async readEnd(): Promise<void> {
    const { offset } = this.reader;
    if (!isZero(await this.reader.exactly(BLOCK))) throw this.fail('MALFORMED', 'a second block of zeros', offset);
    while ((await this.reader.some(BLOCK * BLOCK)).length > 0);
  }

  /** Reads the data of an extension. `start` is where the first extension of its member begins. */
  private async extension(block: Uint8Array, blocks: Uint8Array[], start: number): Promise<Uint8Array> {
    const { offset } = this.reader;
    const size = number(block, FIELD.SIZE);
    const padded = paddedBytes(size);
    if (!(offset - start + padded <= MAX_EXTENSION_BYTES))
      throw this.fail('LIMIT', `extensions of at most ${MAX_EXTENSION_BYTES} bytes before a file`, offset - BLOCK);
    const data = (await this.reader.exactly(padded)).slice();
    if (data.length < padded) throw this.fail('TRUNCATED', 'an extension', offset - BLOCK);
    blocks.push(data);
    return data.subarray(0, size);
  }

  /** Keeps what applies to all members that follow. */
  private addGlobal(records: ReadonlyMap<string, Uint8Array>): void {
    for (const key of GLOBAL_KEYS) {
      const value = records.get(key);
      if (!value) continue;
      this.limits.checkName(value.length, this.reader.offset);
      this.global.set(key, value.slice());
    }
  }

  private async member(
    block: Uint8Array,
    type: string,
    blocks: Uint8Array[],
    pax: ReadonlyMap<string, Uint8Array>,
    { longName, longLink }: { longName: string | undefined; longLink: string | undefined },
  ): Promise<TarMember> {
    const field = (key: string) => {
      const value = pax.get(key) ?? this.global.get(key);
      return value && Buffer.from(value).toString('utf8');
    };
    const prefix = isUstar(block) ? string(block, FIELD.PREFIX) : '';
    const plain = string(block, FIELD.NAME);
    const name =
      field('GNU.sparse.name') ?? field('path') ?? longName ?? (prefix === '' ? plain : `${prefix}/${plain}`);
    const kind = kindOf(type, name);
    const isLink = kind === 'link' || kind === 'hard-link';
    const target = isLink ? (field('linkpath') ?? longLink ?? string(block, FIELD.LINK)) : undefined;
    this.limits.addMember(name, target, this.reader.offset - BLOCK);
    const storedBytes = '12'.includes(type) ? 0 : Number(field('size') ?? number(block, FIELD.SIZE));
    if (!Number.isSafeInteger(storedBytes) || storedBytes < 0) {
      throw this.fail('MALFORMED', 'a header with a size', this.reader.offset - BLOCK);
    }
    const sparse = await sparseMap({ block, type, blocks, field, storedBytes, reader: this.reader, file: this.file });
    this.limits.addExtents((sparse?.extents.length ?? 0) / 2, this.reader.offset);
    this.limits.addHoles((sparse?.size ?? storedBytes) - storedBytes, this.reader.offset);
    return {
      name: plainName(name),
      kind,
      mode: number(block, FIELD.MODE) & 0o7777,
      storedBytes,
      size: sparse?.size ?? storedBytes,
      target: kind === 'hard-link' ? plainName(target ?? '') : target,
      sparse,
      header: concatBytes(blocks),
      offset: this.reader.offset,
    };
  }

  private checkHeader(block: Uint8Array, offset: number): void {
    if (number(block, FIELD.CHECKSUM) !== checksum(block))
      throw this.fail('MALFORMED', 'a header with its checksum', offset);
  }

  private fail(code: 'TRUNCATED' | 'MALFORMED' | 'LIMIT', expected: string, offset: number): DumpError {
    return new DumpError(code, `expected ${expected}, found something else`, { file: this.file, offset });
  }
}

/** A name without `./` in front and `/` behind. A regular expression would take quadratic time for slashes. */
function plainName(name: string): string {
  let start = 0;
  while (name.startsWith('./', start)) for (start += 2; name[start] === '/'; ) start++;
  let end = name.length;
  while (end > start && name[end - 1] === '/') end--;
  return name.slice(start, end);
}

/** Files of an unknown type are regular, as for GNU tar. D, M and V are its folders in backups, continued files and labels. */
function kindOf(type: string, name: string): TarKind {
  if (type === '5' || ('0\0'.includes(type) && name.endsWith('/'))) return 'directory';
  if (type === '2') return 'link';
  if (type === '1') return 'hard-link';
  if ('346'.includes(type)) return 'special';
  return 'DMV'.includes(type) ? 'other' : 'regular';
}

/** The largest size in octal digits. */
const MAX_OCTAL_SIZE = 8 ** 11;

const ENCODER = new TextEncoder();

/** What all new headers have in common. */
const OWNED_BY_ROOT = new Uint8Array(BLOCK);
OWNED_BY_ROOT.set(ENCODER.encode('0000000\x000000000'), FIELD.UID[0]);
OWNED_BY_ROOT.set(ENCODER.encode('ustar\x0000'), FIELD.MAGIC[0]);

/** A new header. Names of dumps are short. */
export function newHeader(
  name: string,
  mode: number,
  sizeBytes: number,
  mtimeSeconds: number,
  type = '0',
  target = '',
): Uint8Array {
  const block = OWNED_BY_ROOT.slice();
  if (!putText(block, FIELD.NAME, name) || (target !== '' && !putText(block, FIELD.LINK, target))) {
    throw new DumpError('LIMIT', `expected a name of at most ${FIELD.NAME[1]} bytes for an archive`, { file: name });
  }
  putOctal(block, FIELD.MODE, mode);
  putOctal(block, FIELD.MTIME, mtimeSeconds);
  block[FIELD.TYPE[0]] = type.charCodeAt(0);
  return setSize(block, sizeBytes);
}

/** Returns whether the field is long enough. */
const putText = (block: Uint8Array, [at, length]: Field, text: string): boolean =>
  ENCODER.encodeInto(text, block.subarray(at, at + length)).read === text.length;

/** Fills all of a field but its last byte with digits. Strings would take a quarter of the time of a small file. */
function putOctal(block: Uint8Array, [at, length]: Field, value: number): void {
  for (let i = at + length - 2, rest = value; i >= at; i--, rest = Math.floor(rest / 8)) block[i] = 0x30 + (rest % 8);
}

/**
 * A member's header with another size. Times, owner and attributes stay. PAX records about the size are dropped, and a sparse
 * file becomes an ordinary one. Sizes that are too large for octal digits are in base 256.
 */
export function resized(header: Uint8Array, sizeBytes: number): Uint8Array {
  const parts: Uint8Array[] = [];
  let at = 0;
  while (EXTENSIONS.includes(typeOf(header, at))) {
    const dataBytes = number(header.subarray(at), FIELD.SIZE);
    const end = at + BLOCK + paddedBytes(dataBytes);
    const isPax = 'xX'.includes(typeOf(header, at));
    parts.push(isPax ? withoutSize(header.subarray(at, end), dataBytes) : header.subarray(at, end));
    at = end;
  }
  const block = header.slice(at, at + BLOCK);
  if (typeOf(block) === 'S') {
    block[FIELD.TYPE[0]] = 0x30;
    block.fill(0, 386, BLOCK);
  }
  return concatBytes([...parts, setSize(block, sizeBytes)]);
}

/** A PAX extension without records about sizes; nothing if it has no others. */
function withoutSize(extension: Uint8Array, dataBytes: number): Uint8Array {
  const records = readPax(extension.subarray(BLOCK, BLOCK + dataBytes), 'header', 0);
  const kept = [...records].filter(([key]) => key !== 'size' && !key.startsWith('GNU.sparse.'));
  if (kept.length === records.size) return extension;
  // The real name of a sparse file is in a separate record.
  const name = records.get('GNU.sparse.name');
  if (name) kept.push(['path', name]);
  if (kept.length === 0) return new Uint8Array(0);
  const data = writePax(kept);
  const padded = new Uint8Array(paddedBytes(data.length));
  padded.set(data);
  return concatBytes([setSize(extension.slice(0, BLOCK), data.length), padded]);
}

/** Sets the size in a block, and the checksum of it. */
function setSize(block: Uint8Array, sizeBytes: number): Uint8Array {
  const [at, length] = FIELD.SIZE;
  block.fill(0, at, at + length);
  if (sizeBytes < MAX_OCTAL_SIZE) {
    putOctal(block, FIELD.SIZE, sizeBytes);
  } else {
    for (let i = length - 1, rest = sizeBytes; i > 0; i--, rest = Math.floor(rest / 256)) block[at + i] = rest % 256;
    block[at] = 0x80;
  }
  const [sumAt] = FIELD.CHECKSUM;
  putOctal(block, [sumAt, 7], checksum(block));
  block[sumAt + 6] = 0;
  block[sumAt + 7] = 0x20;
  return block;
}
