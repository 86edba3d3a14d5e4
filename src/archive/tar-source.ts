/**
 * The members of a tar archive as files of a dump.
 *
 * Container engines put the images under `checkpoint/`, beside what else makes the container; `tar -C DUMP` puts them at the
 * top. The first image that comes says which it is; what came before it waits until then.
 */
import { posix } from 'node:path';
import { DumpError } from '../errors.js';
import { typeOfName } from '../image/magic.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import { BytesReader } from './bytes-reader.js';
import { FileBytes } from './file-bytes.js';
import { checkMemberName, type MemberEvent, OUTSIDE } from './members.js';
import { Spool, type SpoolBudget } from './spool.js';
import { type TarMember, TarReader } from './tar.js';

type Reader = BytesReader | FileBytes;

/** Holes of a sparse file become zeros in pieces of this size. */
const ZEROS = new Uint8Array(64 * 1024);
const PIECE_BYTES = 64 * 1024;

export interface TarSourceOptions {
  /** For errors. */
  name: string;
  budget: SpoolBudget;
}

/**
 * Files of the dump, and those beside it as `outside`.
 * @throws {DumpError} BAD_NAME, NOT_A_DUMP, TRUNCATED, MALFORMED, LIMIT
 */
export async function* readTar(
  chunks: AsyncIterable<Uint8Array> | FileBytes,
  { name: file, budget }: TarSourceOptions,
): AsyncGenerator<MemberEvent> {
  const reader = chunks instanceof FileBytes ? chunks : new BytesReader(chunks);
  const tar = new TarReader(reader, file);
  let root: string | undefined;
  const waiting: { member: TarMember; spool: Spool | undefined }[] = [];
  try {
    for (let member = await tar.next(); member; member = await tar.next()) {
      checkTarMember(member, file);
      if (root === undefined && isImage(member)) {
        root = folderOf(member.name);
        for (const { member: early, spool } of waiting) {
          yield* spool
            ? events(early, root, new BytesReader(payloadOf(spool)), file)
            : again(early, root, reader as FileBytes, file);
          spool?.close();
        }
      }
      if (root !== undefined) {
        yield* events(member, root, reader, file);
      } else {
        const spool = reader instanceof FileBytes ? undefined : new Spool(budget);
        waiting.push({ member, spool });
        if (reader instanceof FileBytes) reader.skip(dataBytes(member));
        else for await (const bytes of stored(reader, dataBytes(member), file)) spool?.push(bytes);
      }
      await tar.skipPadding(member.storedBytes);
    }
    if (root === undefined)
      throw new DumpError('NOT_A_DUMP', 'expected a dump, found no image in the archive', { file });
  } finally {
    for (const { spool } of waiting) spool?.close();
    await reader.close();
  }
}

/** Throws {@link DumpError} BAD_NAME for a name that leads outside. */
export function checkTarMember({ name, offset }: TarMember, file: string): void {
  if (name !== '' && name !== '.') checkMemberName(name, file, offset);
}

/** The folder of the images, with a slash behind it; undefined if there is no image. */
export function rootOf(members: readonly TarMember[]): string | undefined {
  const first = members.find(isImage);
  return first && folderOf(first.name);
}

/** Statistics are no sign of a dump: CRIU writes them into its work directory, and engines put them beside `checkpoint/`. */
function isImage({ name, kind }: TarMember): boolean {
  const type = kind === 'regular' ? typeOfName(posix.basename(name)) : undefined;
  return type !== undefined && type !== 'STATS';
}

/** With a slash behind it; nothing for the top. */
const folderOf = (name: string): string => (posix.dirname(name) === '.' ? '' : `${posix.dirname(name)}/`);

/** What a member is to the dump under `root`; the folder itself and the top of the archive are beside it. */
async function* events(member: TarMember, root: string, reader: Reader, file: string): AsyncGenerator<MemberEvent> {
  const inside = isInside(member, root, file);
  const name = inside ? member.name.slice(root.length) : member.name === '' ? '.' : member.name;
  yield {
    type: 'member',
    name: inside ? name : `${OUTSIDE}${name}`,
    // Only an archive takes hard links and devices, as they are.
    kind: member.kind === 'link' || member.kind === 'directory' ? member.kind : 'regular',
    mode: member.mode,
    // Beside the dump a file stays as it is stored.
    size: inside ? member.size : dataBytes(member),
    tar: member,
    ...(member.target === undefined ? {} : { target: member.target }),
    ...(inside ? {} : { outside: true }),
  };
  const fullName = inside ? name : `${OUTSIDE}${name}`;
  const bytes = dataBytes(member);
  if (reader instanceof FileBytes && bytes > PIECE_BYTES && !(inside && member.sparse)) {
    const position = reader.offset;
    reader.skip(bytes);
    yield { type: 'extent', name: fullName, file: reader.payload, position, bytes };
  } else {
    const data = inside ? content(member, reader, file) : stored(reader, bytes, file);
    for await (const piece of data) {
      yield { type: 'data', name: fullName, bytes: piece, hole: piece.buffer === ZEROS.buffer };
    }
  }
  yield { type: 'memberEnd', name: fullName };
}

/** What of an archive that is a file was passed over. */
async function* again(member: TarMember, root: string, reader: FileBytes, file: string): AsyncGenerator<MemberEvent> {
  const { offset } = reader;
  reader.offset = member.offset;
  yield* events(member, root, reader, file);
  reader.offset = offset;
}

/** Whether a member is of the dump. Throws {@link DumpError} BAD_NAME, UNSUPPORTED for what a dump cannot hold. */
export function isInside(member: TarMember, root: string, file: string): boolean {
  const { name, kind } = member;
  if (!name.startsWith(root) || name === '' || name === '.' || kind === 'other') return false;
  checkInside(member, file);
  return true;
}

/** Throws {@link DumpError} BAD_NAME, UNSUPPORTED for what a dump cannot hold. */
function checkInside({ name, kind, offset }: TarMember, file: string): void {
  // What was no UTF-8.
  if (name.includes('\uFFFD')) {
    throw new DumpError('BAD_NAME', `expected file names in UTF-8, found ${JSON.stringify(name)}`, { file, offset });
  }
  if (kind !== 'special') return;
  throw new DumpError('UNSUPPORTED', `expected files in the dump, found a hard link, device or fifo: ${name}`, {
    file,
    offset,
    hint: 'tar --hard-dereference makes files of hard links',
  });
}

/** Bytes behind the header, whose last blocks may be the map of a sparse file. */
export const dataBytes = ({ storedBytes, sparse }: TarMember): number => storedBytes - (sparse?.mapBytes ?? 0);

async function* payloadOf(spool: Spool): AsyncGenerator<Uint8Array> {
  const extents = new ExtentReader(FILE_PIECE_BYTES);
  while (spool.size > 0) {
    for (const record of spool.take(FILE_PIECE_BYTES)) {
      if (record.type === 'bytes') yield record.bytes;
      else yield* extents.read(record);
    }
  }
}

/** The bytes of a file, the holes of a sparse one as zeros. */
async function* content(member: TarMember, reader: Reader, file: string): AsyncGenerator<Uint8Array> {
  const { sparse, storedBytes } = member;
  if (!sparse) {
    yield* stored(reader, storedBytes, file);
    return;
  }
  let at = 0;
  for (let i = 0; i < sparse.extents.length; i += 2) {
    const [offset, length] = [sparse.extents[i] as number, sparse.extents[i + 1] as number];
    yield* zeros(offset - at);
    yield* stored(reader, length, file);
    at = offset + length;
  }
  yield* zeros(sparse.size - at);
}

async function* stored(reader: Reader, bytes: number, file: string): AsyncGenerator<Uint8Array> {
  for (let left = bytes; left > 0; ) {
    let piece = reader.atHand(Math.min(left, PIECE_BYTES));
    if (piece.length === 0) piece = await reader.some(Math.min(left, PIECE_BYTES));
    if (piece.length === 0) {
      throw new DumpError('TRUNCATED', `expected ${left} more bytes of a file, found the end of the archive`, {
        file,
        offset: reader.offset,
      });
    }
    left -= piece.length;
    yield piece;
  }
}

function* zeros(bytes: number): Generator<Uint8Array> {
  for (let left = bytes; left > 0; left -= ZEROS.length) yield ZEROS.subarray(0, left);
}
