/**
 * The bodies of area and run frames, both ways. They are protobuf messages whose columns are packed fixed-width numbers,
 * written and read as a whole.
 *
 * Input is hostile: all of it is checked before it is passed on.
 */
import {
  blocksComplaint,
  CLASS_MASK,
  CONTINUES,
  COUNT_IN_FIELD_2,
  type CompressedBlocks,
  DETAIL,
  HAS_FIELD_5,
  HAS_FLAGS,
  HAS_IN_PARENT,
  IN_PARENT_TRUE,
  KIND_MASK,
  KIND_SHIFT,
  KNOWN_BITS,
  MAX_COUNT_IN_FIELD_2,
  MAX_ENTRY_BLOCKS,
  PAYLOAD_ALIGNED,
  PE_MASK,
  PE_PARENT,
  PE_PRESENT,
  pageNumberLimit,
  type RunBatch,
  RunBuilder,
  type RunDetail,
  TAKEN,
} from '../../memory/runs.js';
import { type AreaTable, KINDS } from '../../memory/vma.js';
import { ByteWriter, WireError, WireReader } from '../../protobuf/wire.js';
import { packFixed32, packFixed64, unpackFixed32, unpackFixed64 } from './format.js';

/** What was expected of a frame and is not so. */
export class Damage extends Error {}

/** The body of a frame of areas `[from, to)`; `space` is its index. */
export function encodeAreas(space: number, areas: AreaTable, from: number, to: number): Uint8Array {
  const writer = new ByteWriter();
  putNumber(writer, 0x08, space);
  putBytes(writer, 0x12, packFixed64(areas.starts.subarray(from, to)));
  putBytes(writer, 0x1a, packFixed64(areas.ends.subarray(from, to)));
  putBytes(writer, 0x22, packFixed32(areas.flags.subarray(from, to)));
  putBytes(writer, 0x2a, packFixed32(areas.status.subarray(from, to)));
  return writer.view();
}

/** The body of a frame of runs; `space` is its index. */
export function encodeRuns(space: number, runs: RunBatch): Uint8Array {
  const writer = new ByteWriter();
  putNumber(writer, 0x08, space);
  putBytes(writer, 0x12, packFixed64(runs.pageNumbers));
  putBytes(writer, 0x1a, packFixed64(runs.pages));
  putBytes(writer, 0x22, packFixed32(runs.bits));
  for (const [run, detail] of runs.details ?? []) putBytes(writer, 0x2a, encodeDetail(run, detail));
  return writer.view();
}

function encodeDetail(run: number, { verbatim, compressed }: RunDetail): Uint8Array {
  const writer = new ByteWriter();
  putNumber(writer, 0x08, run);
  if (verbatim) putBytes(writer, 0x12, verbatim);
  if (compressed) {
    const blocks = new ByteWriter();
    for (const bytes of compressed.blockBytes) blocks.varint(bytes);
    putBytes(writer, 0x1a, blocks.view());
    putNumber(writer, 0x20, compressed.pagesPerBlock);
  }
  return writer.view();
}

function putNumber(writer: ByteWriter, tag: number, value: number): void {
  writer.byte(tag);
  writer.varint(value);
}

function putBytes(writer: ByteWriter, tag: number, bytes: Uint8Array): void {
  writer.byte(tag);
  writer.varint(bytes.length);
  writer.raw(bytes);
}

/**
 * Areas of a frame.
 * @param endOf page number where the last area of a space so far ends
 * @param limit of page numbers
 */
export function decodeAreas(
  body: Uint8Array,
  endOf: (space: number) => number,
  limit: number,
): { space: number; areas: AreaTable; end: number } {
  const { space, wide, narrow } = readColumns(body, [0x22, 0x2a]);
  const areas: AreaTable = {
    starts: unpackFixed64(wide[0]),
    ends: unpackFixed64(wide[1]),
    flags: unpackFixed32(narrow[0] as Uint8Array),
    status: unpackFixed32(narrow[1] as Uint8Array),
  };
  let end = endOf(space);
  for (let i = 0; i < areas.starts.length; i++) {
    const start = areas.starts[i] as number;
    if (!(start >= end && (areas.ends[i] as number) > start)) throw new Damage('ascending areas');
    end = areas.ends[i] as number;
  }
  if (end > limit) throw new Damage('areas inside the address space');
  return { space, areas, end };
}

/**
 * Runs of a frame.
 * @param endOf page number where the last run of a space so far ends
 */
export function decodeRuns(
  body: Uint8Array,
  endOf: (space: number) => number,
  pageSize: number,
): { space: number; runs: RunBatch; end: number } {
  const { space, wide, narrow, details } = readColumns(body, [0x22]);
  const pageNumbers = unpackFixed64(wide[0]);
  const pages = unpackFixed64(wide[1]);
  const bits = unpackFixed32(narrow[0] as Uint8Array);
  const limit = pageNumberLimit(pageSize);
  const runs = new RunBuilder(pageSize, Math.max(1, bits.length));
  let end = endOf(space);
  for (let i = 0; i < bits.length; i++) {
    const first = pageNumbers[i] as number;
    const count = pages[i] as number;
    const word = bits[i] as number;
    if (!(first >= end && count >= 1 && first + count <= limit)) throw new Damage('ascending runs');
    checkBits(word);
    checkShape(word, count);
    const detail = details.get(i);
    details.delete(i);
    if ((detail !== undefined) !== ((word & DETAIL) !== 0)) throw new Damage('a detail where a run announces one');
    if (detail?.compressed) checkBlocks(detail.compressed, word, count, pageSize);
    end = first + count;
    runs.push(first, count, word, detail);
  }
  if (details.size > 0) throw new Damage('details of these runs alone');
  return { space, runs: runs.finish(), end };
}

function checkBits(word: number): void {
  const unknown =
    (word & ~KNOWN_BITS) !== 0 ||
    (word & CLASS_MASK) === CLASS_MASK ||
    (word & KIND_MASK) >>> KIND_SHIFT >= KINDS.length;
  if (unknown) throw new Damage(`known bits in a run, found 0x${word.toString(16)}`);
  if (word & TAKEN && !(word & PE_PRESENT)) throw new Damage('only present pages taken out');
  if (word & PAYLOAD_ALIGNED && (!(word & PE_PRESENT) || word & CONTINUES)) {
    throw new Damage('only the first of present pages aligned');
  }
}

/** An entry of this shape must be able to express the run. */
function checkShape(word: number, pages: number): void {
  const counts = (word & (COUNT_IN_FIELD_2 | HAS_FIELD_5)) !== 0;
  if (!counts || (word & COUNT_IN_FIELD_2 && pages > MAX_COUNT_IN_FIELD_2)) {
    throw new Damage(`a shape that holds the number of pages, found 0x${word.toString(16)}`);
  }
  const inParent = (word & IN_PARENT_TRUE) !== 0;
  const state = word & PE_MASK;
  const isSaid = word & HAS_FLAGS ? !inParent || state & PE_PARENT : state === (inParent ? PE_PARENT : PE_PRESENT);
  if (!isSaid || (inParent && !(word & HAS_IN_PARENT))) {
    throw new Damage(`a shape that says what its pages are, found 0x${word.toString(16)}`);
  }
  if (word & PAYLOAD_ALIGNED && !(word & HAS_FLAGS)) throw new Damage('a shape that says that payload is aligned');
}

function checkBlocks(blocks: CompressedBlocks, word: number, pages: number, pageSize: number): void {
  if (!(word & PE_PRESENT)) throw new Damage('compressed blocks of pages that are present');
  if (blocks.blockBytes.length > MAX_ENTRY_BLOCKS) throw new Damage(`at most ${MAX_ENTRY_BLOCKS} blocks in a run`);
  const complaint = blocksComplaint(blocks, pages, pageSize);
  if (complaint) throw new Damage(complaint);
}

/**
 * The fields of both messages: space, two columns of u64, then those of u32, and details in what is left.
 * @param narrowTags tags of the columns of u32
 */
function readColumns(body: Uint8Array, narrowTags: readonly number[]) {
  const reader = new WireReader(body);
  const columns = new Map<number, Uint8Array>();
  const details = new Map<number, RunDetail>();
  let space = -1;
  while (reader.at < reader.end) {
    const tag = readNumber(reader);
    if (tag === 0x08 && space < 0) space = readNumber(reader);
    else if ([0x12, 0x1a, ...narrowTags].includes(tag) && !columns.has(tag)) columns.set(tag, readBytes(reader));
    else if (tag === 0x2a && !narrowTags.includes(tag)) readDetail(readBytes(reader), details);
    else throw new Damage(`each known field once, found tag ${tag}`);
  }
  const column = (tag: number) => columns.get(tag) ?? new Uint8Array(0);
  const wide = [column(0x12), column(0x1a)] as const;
  const narrow = narrowTags.map(column);
  const rows = wide[0].length / 8;
  if (!Number.isInteger(rows) || wide[1].length !== 8 * rows || narrow.some((bytes) => bytes.length !== 4 * rows)) {
    throw new Damage('columns of equal length');
  }
  return { space, wide, narrow, details };
}

function readDetail(body: Uint8Array, details: Map<number, RunDetail>): void {
  const reader = new WireReader(body);
  const detail: RunDetail = {};
  let run = -1;
  let blocks: number[] | undefined;
  let pagesPerBlock: number | undefined;
  while (reader.at < reader.end) {
    const tag = readNumber(reader);
    if (tag === 0x08) run = readNumber(reader);
    else if (tag === 0x12) detail.verbatim = readBytes(reader).slice();
    else if (tag === 0x1a) blocks = readNumbers(readBytes(reader));
    else if (tag === 0x20) pagesPerBlock = readNumber(reader);
    else throw new Damage(`known fields in a detail, found tag ${tag}`);
  }
  if ((blocks === undefined) !== (pagesPerBlock === undefined)) throw new Damage('blocks with their pages_per_block');
  if (blocks && pagesPerBlock !== undefined)
    detail.compressed = { blockBytes: Uint32Array.from(blocks), pagesPerBlock };
  if (details.has(run)) throw new Damage('one detail for a run');
  details.set(run, detail);
}

function readNumber(reader: WireReader): number {
  const { at } = reader;
  reader.varint();
  if (reader.hi !== 0) throw new WireError('expected a number of 32 bits, found a larger one', at);
  return reader.lo;
}

function readNumbers(packed: Uint8Array): number[] {
  const reader = new WireReader(packed);
  const numbers: number[] = [];
  while (reader.at < reader.end) numbers.push(readNumber(reader));
  return numbers;
}

/** A view of the bytes of a field. */
function readBytes(reader: WireReader): Uint8Array {
  const end = reader.length();
  const bytes = reader.bytes.subarray(reader.at, end);
  reader.at = end;
  return bytes;
}
