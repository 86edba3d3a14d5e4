/**
 * The areas of mm images.
 *
 * A process may have a million areas, so they go straight into columns; the other fields of an mm_entry are passed over.
 */

import protobuf from 'protobufjs/light.js';
import { DumpError } from '../errors.js';
import { addressHex } from '../memory/runs.js';
import { type AreaTable, AreaTableBuilder } from '../memory/vma.js';
import { malformed, rawEntries } from './framing.js';

const { Reader } = protobuf;

/** Fields of mm_entry and vma_entry (proto/criu/memory.proto), as tags. */
const TAG = { VMAS: 0x72, START: 0x08, END: 0x10, FLAGS: 0x30, STATUS: 0x38 };

/**
 * Decodes the areas of an mm image that is in memory as a whole.
 * @throws {DumpError} TRUNCATED, MALFORMED, AREAS_OVERLAP
 */
export function decodeAreas(bytes: Uint8Array, pageSize: number, file: string): AreaTable {
  const areas = new AreaTableBuilder();
  const [mm] = rawEntries(bytes, 'MM', file);
  if (!mm) throw new DumpError('TRUNCATED', 'expected an mm_entry, found the end of the file', { file, offset: 8 });
  try {
    const reader = Reader.create(mm.body);
    while (reader.pos < reader.len) {
      const tag = reader.uint32();
      if (tag === TAG.VMAS) decodeArea(reader, pageSize, areas);
      else reader.skipType(tag & 7);
    }
  } catch (cause) {
    throw malformed('mm_entry', cause, file, mm.offset, mm.entry);
  }
  const hex = (pageNumber: number) => `0x${addressHex(pageNumber, pageSize)}`;
  return areas.finish(
    (start, end, nextStart, nextEnd) =>
      new DumpError(
        'AREAS_OVERLAP',
        `expected areas that do not overlap, found ${hex(nextStart)}-${hex(nextEnd)} after ${hex(start)}-${hex(end)}`,
        { file },
      ),
  );
}

function decodeArea(reader: protobuf.Reader, pageSize: number, areas: AreaTableBuilder): void {
  const stop = reader.uint32() + reader.pos;
  if (stop > reader.len) throw new RangeError('an area ends behind its message');
  let start = -1;
  let end = -1;
  let flags = -1;
  let status = -1;
  while (reader.pos < stop) {
    const tag = reader.uint32();
    if (tag === TAG.START) start = pageNumber(reader, pageSize);
    else if (tag === TAG.END) end = pageNumber(reader, pageSize);
    else if (tag === TAG.FLAGS) flags = reader.uint32();
    else if (tag === TAG.STATUS) status = reader.uint32();
    else reader.skipType(tag & 7);
  }
  if (start < 0 || end < 0 || flags < 0 || status < 0)
    throw new RangeError('an area without start, end, flags or status');
  if (start >= end) throw new RangeError(`an area of no pages at 0x${addressHex(start, pageSize)}`);
  areas.push(start, end, flags, status);
}

/** An address as a page number: it may be beyond 2^53 bytes. */
function pageNumber(reader: protobuf.Reader, pageSize: number): number {
  const address = reader.uint64() as number | { high: number; low: number };
  const high = typeof address === 'number' ? Math.floor(address / 2 ** 32) : address.high >>> 0;
  const low = typeof address === 'number' ? address % 2 ** 32 : address.low >>> 0;
  if (low % pageSize !== 0) {
    const hex = (BigInt(high) * 2n ** 32n + BigInt(low)).toString(16);
    throw new RangeError(`an area that is not aligned to ${pageSize} bytes, at 0x${hex}`);
  }
  return high * (2 ** 32 / pageSize) + low / pageSize;
}
