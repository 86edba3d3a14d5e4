/**
 * The note that says which files are mapped where: a debugger reads code and constants from them.
 *
 *     data := count:word pageSize:word (start:word end:word offset:word)* name[with a NUL]*     offset in pages
 *
 * Memory that is only shared is not in it: a debugger would look for a file where there are zeros.
 */
import { DumpError } from '../errors.js';
import type { TaskMemory } from '../explore/task-memory.js';
import { encodeText } from '../protobuf/object.js';
import { type ElfClass, Fields, noteHead, padded } from './elf.js';
import { NT_FILE } from './notes.js';

const MAX_DATA_BYTES = 2 ** 32 - 1;
/** Mappings in a piece. */
const PIECE_MAPPINGS = 1024;

/** The note in pieces; nothing if no file is mapped. Throws {@link DumpError} LIMIT. */
export function* fileNote(elf: ElfClass, memory: TaskMemory): Generator<Uint8Array> {
  const { pageSize, areas } = memory;
  let count = 0;
  let bytes = 2 * elf.word;
  for (const { path } of mappings(memory)) {
    count++;
    bytes += 3 * elf.word + path.length + 1;
  }
  if (count === 0) return;
  if (bytes > MAX_DATA_BYTES) {
    throw new DumpError('LIMIT', `expected at most ${MAX_DATA_BYTES} bytes of names of mapped files, found ${bytes}`);
  }
  yield noteHead('CORE', NT_FILE, bytes);
  yield new Fields(2 * elf.word, elf.word).word(count).word(pageSize).bytes;
  let piece = new Fields(PIECE_MAPPINGS * 3 * elf.word, elf.word);
  const address = (page: number) => piece.wide(BigInt(page) * BigInt(pageSize));
  for (const { area } of mappings(memory)) {
    address(areas.starts[area] as number);
    address(areas.ends[area] as number);
    piece.word(areas.pageOffsets[area] as number);
    if (piece.at < piece.bytes.length) continue;
    yield piece.bytes;
    piece = new Fields(piece.bytes.length, elf.word);
  }
  yield piece.bytes.subarray(0, piece.at);
  for (const { path } of mappings(memory)) {
    yield path;
    yield new Uint8Array(1);
  }
  yield new Uint8Array(padded(bytes) - bytes);
}

function* mappings(memory: TaskMemory): Generator<{ area: number; path: Uint8Array }> {
  const paths = new Map<number, Uint8Array>();
  const { areas } = memory;
  for (let area = 0; area < areas.length; area++) {
    if (!areas.isOfFile(area)) continue;
    const id = areas.ids[area] as number;
    const path = paths.get(id) ?? encodeText(memory.area(area).file?.path ?? '') ?? new Uint8Array(0);
    paths.set(id, path);
    if (path.length > 0) yield { area, path };
  }
}
