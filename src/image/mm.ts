/**
 * The mm image of a process: one message that may hold a million areas. So it is read as bytes, without an object for each
 * area.
 */
import { DumpError } from '../errors.js';
import { addressHex } from '../memory/runs.js';
import { type AreaTable, AreaTableBuilder } from '../memory/vma.js';
import { type MessageName, messageDescriptor } from '../protobuf/descriptor.js';
import { WIRE_BYTES, WIRE_VARINT, WireReader } from '../protobuf/wire.js';
import type { RawMessage } from './decoder.js';
import { malformed, rawEntries } from './framing.js';
import { type Field, hex, NumberFields, type Word } from './number-fields.js';

const AREA_FIELDS = ['start', 'end', 'pgoff', 'shmid', 'prot', 'flags', 'status', 'madv'] as const;
const TABLE_FIELDS = ['start', 'end', 'flags', 'status'] as const;

/** The area that was read last: fields of `vma_entry`. */
export type Area = Record<(typeof AREA_FIELDS)[number], Field>;

type MessageBytes = Pick<RawMessage, 'bytes' | 'start' | 'end'>;

const fieldNumber = (message: MessageName, name: string): number =>
  messageDescriptor(message).byName.get(name)?.number ?? 0;

/** The file id of the program, in the bytes of an mm_entry. */
export function exeFileId(message: MessageBytes): number {
  const mm = new NumberFields('mm_entry', ['exe_file_id']);
  mm.read(message);
  return mm.fields.exe_file_id.lo;
}

/**
 * The areas in the bytes of an mm_entry, in their order there: guards come last.
 * @param take is given the same object every time
 */
export const eachArea = (message: MessageBytes, take: (area: Area) => void): void =>
  eachWith(message, AREA_FIELDS, take);

/** The same with only some of the fields, of which those that `vma_entry` requires must be there. */
function eachWith<Name extends string>(
  { bytes, start, end }: MessageBytes,
  names: readonly Name[],
  take: (area: Record<Name, Field>) => void,
): void {
  const vmas = fieldNumber('mm_entry', 'vmas');
  const area = new NumberFields('vma_entry', names);
  const message = { bytes, start, end };
  const reader = new WireReader().over(bytes, start, end);
  while (reader.nextTag()) {
    if (reader.number !== vmas || reader.wireType !== WIRE_BYTES) {
      reader.skip();
      continue;
    }
    message.end = reader.length();
    message.start = reader.at;
    area.read(message);
    reader.at = message.end;
    take(area.fields);
  }
}

/**
 * Decodes the areas of an mm image that is in memory as a whole.
 * @throws {DumpError} TRUNCATED, MALFORMED, AREAS_OVERLAP
 */
export function decodeAreas(bytes: Uint8Array, pageSize: number, file: string): AreaTable {
  const [mm] = rawEntries(bytes, 'MM', file);
  if (!mm) throw new DumpError('TRUNCATED', 'expected an mm_entry, found the end of the file', { file, offset: 8 });
  const areas = new AreaTableBuilder();
  const message = { bytes: mm.body, start: 0, end: mm.body.length };
  try {
    eachWith(message, TABLE_FIELDS, ({ start, end, flags, status }) => {
      const from = pageNumber(start, pageSize);
      const to = pageNumber(end, pageSize);
      if (from >= to) throw new RangeError(`an area of no pages at 0x${hex(start)}`);
      areas.push(from, to, flags.lo, status.lo);
    });
  } catch (cause) {
    throw malformed('mm_entry', cause, file, mm.offset, mm.entry);
  }
  const address = (page: number) => `0x${addressHex(page, pageSize)}`;
  return areas.finish(
    (start, end, nextStart, nextEnd) =>
      new DumpError(
        'AREAS_OVERLAP',
        `expected areas that do not overlap, found ${address(nextStart)}-${address(nextEnd)} after ${address(start)}-${address(end)}`,
        { file },
      ),
  );
}

/** An address as a page number: it may be beyond 2^53 bytes. Throws RangeError inside of a page. */
export function pageNumber(address: Word, pageSize: number): number {
  if (address.lo % pageSize !== 0) {
    throw new RangeError(`an area that is not aligned to ${pageSize} bytes, at 0x${hex(address)}`);
  }
  return address.hi * (2 ** 32 / pageSize) + address.lo / pageSize;
}

/** The numbers of a repeated field in the bytes of an mm_entry, packed or not; no more than `most` of them. */
export function repeatedNumbers({ bytes, start, end }: MessageBytes, field: string, most: number): Word[] {
  const wanted = fieldNumber('mm_entry', field);
  const numbers: Word[] = [];
  const reader = new WireReader().over(bytes, start, end);
  while (reader.nextTag() && numbers.length < most) {
    const isPacked = reader.wireType === WIRE_BYTES;
    if (reader.number !== wanted || (!isPacked && reader.wireType !== WIRE_VARINT)) {
      reader.skip();
      continue;
    }
    const stop = isPacked ? reader.length() : reader.at + 1;
    while (reader.at < stop && numbers.length < most) {
      reader.varint();
      numbers.push({ lo: reader.lo, hi: reader.hi });
    }
  }
  return numbers;
}
