/** The areas in the mm image of a process. It is one message that may hold a million areas, so it is read as bytes. */

import type { RawMessage } from '../image/decoder.js';
import { type Field, NumberFields, type Word } from '../image/number-fields.js';
import { type Kind, kindOf, type MapFlags, VMA } from '../memory/vma.js';
import { type MessageName, messageDescriptor } from '../protobuf/descriptor.js';
import { WIRE_BYTES, WIRE_VARINT, WireReader } from '../protobuf/wire.js';
import type { Images } from './images.js';
import { mmName } from './names.js';

const AREA_FIELDS = ['start', 'end', 'pgoff', 'shmid', 'prot', 'flags', 'status', 'madv'] as const;

/** The area that was read last: fields of `vma_entry`. */
export type Area = Record<(typeof AREA_FIELDS)[number], Field>;

const fieldNumber = (message: MessageName, name: string): number =>
  messageDescriptor(message).byName.get(name)?.number ?? 0;

/** Takes the mm_entry of a process, for the time of the call. */
export const readMm = (images: Images, pid: number, take: (message: RawMessage) => void): void =>
  images.firstMessage(mmName(pid), 'mm_entry', take, 'pstree.img');

/** The file id of the program, in the bytes of an mm_entry. */
export function exeFileId(message: RawMessage): number {
  const mm = new NumberFields('mm_entry', ['exe_file_id']);
  mm.read(message);
  return mm.fields.exe_file_id.lo;
}

/**
 * The areas in the bytes of an mm_entry, in their order there: guards come last.
 * @param take is given the same object every time
 */
export function eachArea({ bytes, start, end }: RawMessage, take: (area: Area) => void): void {
  const vmas = fieldNumber('mm_entry', 'vmas');
  const area = new NumberFields('vma_entry', AREA_FIELDS);
  const reader = new WireReader().over(bytes, start, end);
  while (reader.nextTag()) {
    if (reader.number !== vmas || reader.wireType !== WIRE_BYTES) {
      reader.skip();
      continue;
    }
    const stop = reader.length();
    area.read({ bytes, start: reader.at, end: stop });
    reader.at = stop;
    take(area.fields);
  }
}

/** The numbers of a repeated field in the bytes of an mm_entry, packed or not; no more than `most` of them. */
export function repeatedNumbers({ bytes, start, end }: RawMessage, field: string, most: number): Word[] {
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

/** Whether an area has a file behind it; its `shmid` is then a file id. */
export const hasFile = (status: number): boolean => (status & (VMA.FILE_PRIVATE | VMA.FILE_SHARED)) !== 0;

/** What kind of memory an area is. A guard lies inside another area, and has no memory. */
export const kindOfArea = (flags: number, status: number, map: MapFlags): Kind | 'guard' =>
  status & VMA.GUARD ? 'guard' : kindOf(flags, status, map);
