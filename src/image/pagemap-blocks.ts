/**
 * Field 6 of a pagemap entry: the blocks that its pages are compressed in, since CRIU 4.3.
 *
 * pagemap_blocks := field 1 block_sizes* (packed), field 2 total_payload_size, field 3 pages_per_block
 *
 * Before 4.3 the field held the sizes alone, and the rest was in fields 7 and 8 of the entry. No release of CRIU had that.
 */
import { blockPagesComplaint, blockSum, blocksComplaint, type CompressedBlocks } from '../memory/runs.js';
import { WIRE_BYTES, WIRE_VARINT, WireError, WireReader } from '../protobuf/wire.js';
import { approximate, decimal, type Word } from './number-fields.js';

/** Why an entry is refused. */
export interface Complaint {
  code: 'MALFORMED' | 'UNSUPPORTED';
  message: string;
}

export const malformed = (expected: string): Complaint => ({ code: 'MALFORMED', message: `expected ${expected}` });
export const unsupported = (expected: string): Complaint => ({ code: 'UNSUPPORTED', message: `expected ${expected}` });

/** For a field that only the layout before CRIU 4.3 has. */
export const unreleased = (field: string): Complaint =>
  unsupported(
    `compressed pages in the layout of CRIU 4.3, found ${field} of an earlier one, which no release of CRIU had`,
  );

export const noVarint = ({ number, wireType, at }: WireReader): WireError =>
  new WireError(`expected a varint in field ${number}, found wire type ${wireType}`, at);

const BLOCK_SIZES = 1;
const TOTAL_BYTES = 2;
const PAGES_PER_BLOCK = 3;

/**
 * Reads the message in `bytes[start, end)` and checks it, also against the number of pages.
 * @param pageSize bytes
 * @throws {WireError} for what is no message
 */
export function readBlocks(
  bytes: Uint8Array,
  start: number,
  end: number,
  pages: number,
  pageSize: number,
): CompressedBlocks | Complaint {
  const reader = new WireReader().over(bytes, start, end);
  const sizes: number[] = [];
  let totalBytes: Word | undefined;
  let pagesPerBlock: number | undefined;
  while (reader.nextTag()) {
    const { number } = reader;
    if (number > PAGES_PER_BLOCK) {
      return unsupported(
        `known fields of pagemap_blocks only (1 to 3), found field ${number}, which may move the pages`,
      );
    }
    if (number === BLOCK_SIZES) {
      readSizes(reader, sizes);
      continue;
    }
    if (reader.wireType !== WIRE_VARINT) throw noVarint(reader);
    reader.varint();
    if (number === TOTAL_BYTES) totalBytes = { lo: reader.lo, hi: reader.hi };
    else if (reader.hi === 0) pagesPerBlock = reader.lo;
    else return malformed(blockPagesComplaint(decimal(reader), pageSize));
  }
  if (totalBytes === undefined) return malformed('total_payload_size in pagemap_blocks');
  if (pagesPerBlock === undefined) return malformed('pages_per_block in pagemap_blocks');
  const blocks = { blockBytes: Uint32Array.from(sizes), pagesPerBlock };
  const complaint = blocksComplaint(blocks, pages, pageSize);
  if (complaint) return malformed(complaint);
  const sum = blockSum(blocks);
  return sum === approximate(totalBytes)
    ? blocks
    : malformed(`total_payload_size ${sum}, the sum of the blocks, found ${decimal(totalBytes)}`);
}

/** Sizes of blocks: packed, or one of them. */
function readSizes(reader: WireReader, sizes: number[]): void {
  let stop = reader.at + 1;
  if (reader.wireType === WIRE_BYTES) stop = reader.length();
  else if (reader.wireType !== WIRE_VARINT) throw noVarint(reader);
  while (reader.at < stop) {
    reader.varint();
    if (reader.hi !== 0) throw new WireError('expected a block of less than 4 GiB', reader.at);
    sizes.push(reader.lo);
  }
  if (reader.at > stop && reader.wireType === WIRE_BYTES) {
    throw new WireError('expected a varint, found the end of its field', stop);
  }
}
