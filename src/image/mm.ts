/**
 * The areas of mm images.
 *
 * A process may have a million areas, so they go straight into columns; the other fields of an mm_entry are skipped.
 */
import { DumpError } from '../errors.js';
import { addressHex } from '../memory/runs.js';
import { type AreaTable, AreaTableBuilder } from '../memory/vma.js';
import { WIRE_BYTES, WIRE_VARINT, WireReader } from '../protobuf/wire.js';
import { malformed, rawEntries } from './framing.js';

/** Numbers of fields of mm_entry and vma_entry (proto/criu/memory.proto). */
const FIELD = { VMAS: 14, START: 1, END: 2, FLAGS: 6, STATUS: 7 };

/**
 * Decodes the areas of an mm image that is in memory as a whole.
 * @throws {DumpError} TRUNCATED, MALFORMED, AREAS_OVERLAP
 */
export function decodeAreas(bytes: Uint8Array, pageSize: number, file: string): AreaTable {
  const areas = new AreaTableBuilder();
  const [mm] = rawEntries(bytes, 'MM', file);
  if (!mm) throw new DumpError('TRUNCATED', 'expected an mm_entry, found the end of the file', { file, offset: 8 });
  try {
    const reader = new WireReader(mm.body);
    while (reader.nextTag()) {
      if (reader.number === FIELD.VMAS && reader.wireType === WIRE_BYTES) decodeArea(reader, pageSize, areas);
      else reader.skip();
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

function decodeArea(reader: WireReader, pageSize: number, areas: AreaTableBuilder): void {
  const { end: outer } = reader;
  reader.end = reader.length();
  let start = -1;
  let end = -1;
  let flags = -1;
  let status = -1;
  while (reader.nextTag()) {
    if (reader.wireType !== WIRE_VARINT) {
      reader.skip();
      continue;
    }
    reader.varint();
    if (reader.number === FIELD.START) start = pageNumber(reader, pageSize);
    else if (reader.number === FIELD.END) end = pageNumber(reader, pageSize);
    else if (reader.number === FIELD.FLAGS) flags = reader.lo;
    else if (reader.number === FIELD.STATUS) status = reader.lo;
  }
  reader.end = outer;
  if (start < 0 || end < 0 || flags < 0 || status < 0)
    throw new RangeError('an area without start, end, flags or status');
  if (start >= end) throw new RangeError(`an area of no pages at 0x${addressHex(start, pageSize)}`);
  areas.push(start, end, flags, status);
}

/** An address as a page number: it may be beyond 2^53 bytes. */
function pageNumber({ lo, hi }: WireReader, pageSize: number): number {
  if (lo % pageSize !== 0) {
    const hex = ((BigInt(hi) << 32n) | BigInt(lo)).toString(16);
    throw new RangeError(`an area that is not aligned to ${pageSize} bytes, at 0x${hex}`);
  }
  return hi * (2 ** 32 / pageSize) + lo / pageSize;
}
