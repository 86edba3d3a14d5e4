/** Where a dump is: a directory, an archive, shards or a page stream; found out from what is there, not from its name. */
import { closeSync, fstatSync, openSync, statSync } from 'node:fs';
import { DumpError, onFile } from '../errors.js';
import { word } from '../image/wire.js';
import type { RecordSource } from '../pump.js';
import { FdReader } from '../stream/fd.js';
import { STREAM_MAGIC } from '../stream/format.js';
import { decodeChunks } from '../stream/stream.js';
import { type Compression, compressionOf, decompress } from './compression.js';
import { FileBytes } from './file-bytes.js';
import { ImageIndex } from './image-index.js';
import { MAX_MARKER_BYTES } from './marker.js';
import type { MemberSource } from './members.js';
import { SequentialDump } from './sequential.js';
import { readShards } from './shards.js';
import type { SpoolBudget } from './spool.js';
import { BLOCK, isTarHeader } from './tar.js';
import { readTar } from './tar-source.js';

export const SOURCE_KINDS = ['directory', 'tar', 'stream', 'shards'] as const;
export type SourceKind = (typeof SOURCE_KINDS)[number];

export interface OpenOptions {
  /** What it must be. */
  from?: SourceKind | undefined;
  /** Descriptors or files of shards. */
  shards?: readonly (number | string)[];
  /** Bytes, where the dump does not say. */
  pageSize?: number;
  /** Whether pages are classified by their areas. */
  areas: boolean;
  budget: SpoolBudget;
  /** Most plain bytes of a compressed archive. */
  maxBytes: number;
  stdinFd: number;
  signal: AbortSignal;
}

export interface OpenSource {
  kind: Exclude<SourceKind, 'directory'>;
  compression: Compression | undefined;
  /** Of the source, for errors. */
  name: string;
  records: RecordSource;
  /** The same as files, instead of the records; of a page stream there are none. */
  members: MemberSource | undefined;
  /** What is known of the dump when all of it has come; of a page stream nothing. */
  dump: SequentialDump | undefined;
  close(): void;
}

/** What a path is; `-` is stdin. Throws {@link DumpError} for what can't be told. */
export function sourceKind(path: string, from?: SourceKind): SourceKind | 'file' {
  if (from) return from;
  if (path === '-') return 'file';
  return onFile(path, () => statSync(path)).isDirectory() ? 'directory' : 'file';
}

/** Opens what is no directory. Throws {@link DumpError} NOT_A_DUMP for what is none of the kinds. */
export async function openSource(path: string, options: OpenOptions): Promise<OpenSource> {
  if (options.shards) {
    const { members, name, close } = openShards(options.shards, options);
    const dump = new SequentialDump({ name, ...options });
    return { kind: 'shards', compression: undefined, name, records: dump.records(members), members, dump, close };
  }
  const opened = await openChunks(path, options);
  const { kind, compression, chunks, name, close } = opened;
  if (kind === 'stream' && !(chunks instanceof FileBytes)) {
    return { kind, compression, name, records: decodeChunks(chunks, name), members: undefined, dump: undefined, close };
  }
  const dump = new SequentialDump({ name, ...options });
  const members = membersOf(opened, options);
  return { kind, compression, name, records: dump.records(members), members, dump, close };
}

/** All images but the pages of what is no directory; a plain archive is read in place. */
export async function openImages(path: string, options: OpenOptions): Promise<ImageIndex> {
  if (options.shards) {
    const { members, close } = openShards(options.shards, options);
    return ImageIndex.ofMembers(path, members).finally(close);
  }
  const index = path === '-' ? undefined : await ImageIndex.ofTar(path);
  if (index) return index;
  const opened = await openChunks(path, options);
  const { kind, name, close } = opened;
  try {
    if (kind === 'stream') {
      throw new DumpError('UNSUPPORTED', 'expected a dump, found a page stream: write makes one of it', { file: name });
    }
    return await ImageIndex.ofMembers(path, membersOf(opened, options));
  } finally {
    close();
  }
}

/** Bytes, and what they are. */
interface OpenChunks {
  kind: Exclude<SourceKind, 'directory'>;
  compression: Compression | undefined;
  chunks: AsyncIterable<Uint8Array> | FileBytes;
  name: string;
  close(): void;
}

async function openChunks(path: string, options: OpenOptions): Promise<OpenChunks> {
  const name = path === '-' ? 'stdin' : path;
  const fd = path === '-' ? options.stdinFd : onFile(path, () => openSync(path, 'r'));
  const fds = path === '-' ? [] : [fd];
  let peeked: Peeked | undefined;
  const close = () => {
    // Who has not come to the end of it leaves a program running that nobody reads.
    peeked?.close().catch(() => {});
    for (const own of fds.splice(0)) closeSync(own);
  };
  try {
    const isFile = path !== '-' && fstatSync(fd).isFile();
    const outer = await peek(new FdReader(fd, options.signal, name).chunks());
    const compression = options.from === 'stream' ? undefined : compressionOf(outer.start);
    // For a program, which reads a file itself: from its beginning.
    if (isFile && compression) fds.push(onFile(path, () => openSync(path, 'r')));
    const input = { chunks: outer.chunks, fd: fds[1], name };
    const plain = compression ? await peek(decompress(input, compression, options.maxBytes)) : outer;
    peeked = plain;
    const kind = options.from === undefined || options.from === 'directory' ? guess(plain.start) : options.from;
    if (!kind) {
      throw new DumpError('NOT_A_DUMP', 'expected a dump directory, tar, shards or a page stream, found none of them', {
        file: name,
      });
    }
    if (kind === 'tar' && !compression && isFile) {
      return { kind, compression, chunks: new FileBytes(fd, name), name, close };
    }
    return { kind, compression, chunks: plain.chunks, name, close };
  } catch (error) {
    close();
    throw error;
  }
}

function openShards(shards: readonly (number | string)[], options: OpenOptions) {
  const fds: number[] = [];
  const close = () => {
    for (const [i, fd] of fds.entries()) if (typeof shards[i] === 'string') closeSync(fd);
  };
  try {
    for (const shard of shards) fds.push(typeof shard === 'number' ? shard : onFile(shard, () => openSync(shard, 'r')));
  } catch (error) {
    close();
    throw error;
  }
  const inputs = fds.map((fd, i) => {
    const name = typeof shards[i] === 'number' ? `shard ${fd}` : String(shards[i]);
    return { name, chunks: new FdReader(fd, options.signal, name).chunks() };
  });
  return { members: readShards(inputs), name: inputs[0]?.name ?? 'shards', close };
}

function membersOf({ kind, chunks, name }: OpenChunks, { budget }: OpenOptions): MemberSource {
  if (kind === 'tar' || chunks instanceof FileBytes) return readTar(chunks, { name, budget });
  return readShards([{ name, chunks }]);
}

/** The first bytes, and all of them. */
interface Peeked {
  start: Uint8Array;
  chunks: AsyncIterable<Uint8Array>;
  close(): Promise<void>;
}

async function peek(chunks: AsyncIterable<Uint8Array>): Promise<Peeked> {
  const iterator = chunks[Symbol.asyncIterator]();
  const held: Uint8Array[] = [];
  let bytes = 0;
  while (bytes < BLOCK) {
    const { value, done } = await iterator.next();
    if (done) break;
    held.push((value as Uint8Array).slice());
    bytes += (value as Uint8Array).length;
  }
  async function* all(): AsyncGenerator<Uint8Array> {
    try {
      yield* held;
      held.length = 0;
      for (;;) {
        const { value, done } = await iterator.next();
        if (done) return;
        yield value as Uint8Array;
      }
    } finally {
      await iterator.return?.();
    }
  }
  return {
    start: Buffer.concat(held),
    chunks: all(),
    close: async () => {
      await iterator.return?.();
    },
  };
}

/** A page stream has a magic, tar a checksum; a shard begins with a small size and a marker. */
function guess(start: Uint8Array): Exclude<SourceKind, 'directory'> | undefined {
  if (Buffer.compare(start.subarray(0, STREAM_MAGIC.length), STREAM_MAGIC) === 0) return 'stream';
  if (isTarHeader(start.subarray(0, BLOCK))) return 'tar';
  const size = start.length > 5 ? word(start, 0) : 0;
  // The first marker of all, whose number is 0 and left out, or one of another shard.
  return size > 1 && size < MAX_MARKER_BYTES && [0x08, 0x12].includes(start[4] as number) ? 'shards' : undefined;
}
