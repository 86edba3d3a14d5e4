/** The files of an arriving archive. Files before the first image wait until the folder of the dump is known. */
import type { FileBegin, FileEvent } from '../../dump/events.js';
import { isTaskImage, linkPlace, OUTSIDE } from '../../dump/names.js';
import { DumpError } from '../../errors.js';
import type { MemoryBudget } from '../../io/byte-queue.js';
import { BytesReader } from '../../io/bytes-reader.js';
import { HoldStore, type StoredFile } from '../../io/hold-store.js';
import { archiveHeader, dataBytes, type TarMember, TarReader } from './headers.js';
import { ImageLinks } from './links.js';
import { checkTarMember, entryKind, hardLinkPlace, nameInDump, RootFinder } from './root.js';

const PIECE_BYTES = 64 * 1024;

/** Holes of a sparse file become zeros in pieces of this size: a small archive may have a TiB of them. */
const ZEROS = new Uint8Array(1024 * 1024);

const NO_BYTES = new Uint8Array(0);

export interface TarArrival {
  /** Each may be overwritten when the next is asked for. */
  chunks: AsyncIterable<Uint8Array>;
  /** Of the archive, for errors. */
  name: string;
  budget: MemoryBudget;
}

/**
 * The files of an archive in its order, including those outside of the dump.
 * @throws {DumpError} BAD_NAME, NOT_A_DUMP, TRUNCATED, MALFORMED, LIMIT
 */
export async function* readTar({ chunks, name: file, budget }: TarArrival): AsyncGenerator<FileEvent> {
  const reader = new BytesReader(chunks);
  const tar = new TarReader(reader, file);
  const store = new HoldStore(budget);
  const finder = new RootFinder();
  const links = new ImageLinks();
  let root: string | undefined;
  /** Each stored with its header in front. */
  const waiting: WaitingMember[] = [];
  try {
    for (let member = await tar.next(); member; member = await tar.next()) {
      checkTarMember(member, file);
      if (root === undefined) {
        root = finder.take(member);
        if (root !== undefined) {
          yield* waitingEvents(waiting.splice(0), { root, links, file });
          store.close();
        }
      }
      if (root !== undefined) {
        yield* events(member, reader, { root, links, file });
      } else {
        const bytes = store.file();
        bytes.push(member.header);
        for await (const piece of stored(reader, dataBytes(member), file)) bytes.push(piece);
        waiting.push({ member: { ...member, header: NO_BYTES }, headerBytes: member.header.length, bytes });
      }
      await tar.skipPadding(member.storedBytes);
    }
    if (root === undefined) yield* waitingEvents(waiting, { root: finder.end(file), links, file });
    links.finish();
  } finally {
    store.close();
    await reader.close();
  }
}

interface WaitingMember {
  member: TarMember;
  headerBytes: number;
  bytes: StoredFile;
}

/** The dump in an archive. */
interface ArchivedDump {
  root: string;
  links: ImageLinks;
  /** Of the archive, for errors. */
  file: string;
}

async function* waitingEvents(waiting: readonly WaitingMember[], dump: ArchivedDump): AsyncGenerator<FileEvent> {
  for (const { member, headerBytes, bytes } of waiting) {
    const held = readerOf(bytes);
    const header = (await held.exactly(headerBytes)).slice();
    yield* events({ ...member, header }, held, dump);
  }
}

async function* events(
  member: TarMember,
  reader: BytesReader,
  { root, links, file }: ArchivedDump,
): AsyncGenerator<FileEvent> {
  const name = nameInDump(member, root, file);
  const isOutside = name.startsWith(OUTSIDE);
  const place = isOutside ? undefined : linkedFile(member, name, root);
  if (place !== undefined) {
    yield* links.link(place, { name, kind: member.kind });
    return;
  }
  const begin: FileBegin = {
    type: 'file',
    name,
    kind: entryKind(member),
    mode: member.mode,
    // Outside the dump a file stays as it is stored.
    size: isOutside ? dataBytes(member) : member.size,
    header: archiveHeader(member),
    ...(member.kind === 'link' ? { target: Buffer.from(member.target ?? '') } : {}),
  };
  if (begin.kind === 'regular' && !isOutside) links.begin(begin);
  yield begin;
  const data = isOutside ? stored(reader, dataBytes(member), file) : content(member, reader, file);
  for await (const bytes of data) {
    links.data(name, bytes);
    yield { type: 'data', name, bytes };
  }
  yield { type: 'fileEnd', name };
  yield* links.end(name);
}

/** The file that takes the place of a link. A link that leads outside is refused where all links are checked. */
function linkedFile(member: TarMember, name: string, root: string): string | undefined {
  if (member.kind === 'hard-link') return hardLinkPlace(member, root);
  return member.kind === 'link' && isTaskImage(name) ? linkPlace(name, member.target ?? '') : undefined;
}

function readerOf(file: StoredFile): BytesReader {
  const piece = new Uint8Array(Math.min(PIECE_BYTES, file.size));
  async function* chunks(): AsyncGenerator<Uint8Array> {
    for (let position = 0; position < file.size; position += PIECE_BYTES) {
      yield piece.subarray(0, file.readSome(piece, position));
    }
  }
  return new BytesReader(chunks());
}

/** The bytes of a file, the holes of a sparse one as zeros. */
async function* content(member: TarMember, reader: BytesReader, file: string): AsyncGenerator<Uint8Array> {
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

/** Bytes of a member as they are stored. */
export async function* stored(reader: BytesReader, bytes: number, file: string): AsyncGenerator<Uint8Array> {
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
