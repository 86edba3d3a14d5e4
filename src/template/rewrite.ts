/**
 * Images with other areas and other files. Only the fields that are given change; everything else stays the same, byte for
 * byte, fields that the schema does not know included.
 */
import { checkMagic, malformed, rawEntries } from '../image/framing.js';
import { NumberFields } from '../image/number-fields.js';
import { messageDescriptor } from '../protobuf/descriptor.js';
import { ByteWriter, WIRE_BYTES, WIRE_VARINT, WireReader } from '../protobuf/wire.js';
import { encodeObject } from '../protobuf/write-object.js';

/** An mm image, and files.img, are held as a whole; this many bytes of each. */
export const MAX_HELD_BYTES = 256 * 1024 * 1024;

const numberOf = (name: string): number => messageDescriptor('vma_entry').byName.get(name)?.number as number;
const VMAS = messageDescriptor('mm_entry').byName.get('vmas')?.number as number;
const FD_FLAGS = numberOf('fdflags');

/** Changes the areas of an mm image. @param change gives the new bytes of a `vma_entry`, or undefined to keep it */
export function rewriteAreas(
  image: Uint8Array,
  file: string,
  change: (area: Uint8Array) => Uint8Array | undefined,
): Uint8Array {
  const out = new ByteWriter();
  out.raw(image.subarray(0, checkMagic(image, 'MM', file)));
  for (const { body, offset, entry } of rawEntries(image, 'MM', file)) {
    const start = out.at;
    out.u32(0);
    if (entry > 0) out.raw(body);
    else {
      try {
        rewriteMm(body, change, out);
      } catch (cause) {
        throw malformed('mm_entry', cause, file, offset, entry);
      }
    }
    out.setU32(start, out.at - start - 4);
  }
  return out.view().slice();
}

function rewriteMm(mm: Uint8Array, change: (area: Uint8Array) => Uint8Array | undefined, out: ByteWriter): void {
  const reader = new WireReader(mm);
  for (let from = 0; reader.nextTag(); from = reader.at) {
    const afterTag = reader.at;
    reader.skip();
    if (reader.number === VMAS && reader.wireType === WIRE_BYTES) {
      const end = reader.at;
      reader.at = afterTag;
      reader.length();
      const changed = change(mm.subarray(reader.at, end));
      reader.at = end;
      if (changed) {
        out.raw(mm.subarray(from, afterTag));
        out.varint(changed.length);
        out.raw(changed);
        continue;
      }
    }
    out.raw(mm.subarray(from, reader.at));
  }
}

/** What changes in an area. */
export interface AreaChange {
  flags: number;
  status: number;
  /** Id of the file; 0 for none. */
  shmid: number;
  /** Bytes into the file. */
  pgoff: number;
  /** Whether the field is there: it is for areas that have a file. */
  hasFdflags: boolean;
}

const TWO_32 = 2 ** 32;

/** A `vma_entry` with other values. */
export function changeArea(area: Uint8Array, { hasFdflags, ...values }: AreaChange): Uint8Array {
  const byNumber = new Map(Object.entries(values).map(([name, value]) => [numberOf(name), value]));
  const out = new ByteWriter();
  const reader = new WireReader(area);
  for (let from = 0; reader.nextTag(); from = reader.at) {
    const afterTag = reader.at;
    const { number, wireType } = reader;
    reader.skip();
    const value = wireType === WIRE_VARINT ? byNumber.get(number) : undefined;
    if (wireType === WIRE_VARINT && number === FD_FLAGS) continue;
    if (value === undefined) {
      out.raw(area.subarray(from, reader.at));
    } else {
      out.raw(area.subarray(from, afterTag));
      out.varint(value % TWO_32, Math.floor(value / TWO_32));
    }
  }
  if (hasFdflags) {
    out.varint(FD_FLAGS << 3);
    out.varint(0);
  }
  return out.view().slice();
}

/** A regular file that areas map. */
export interface MappedName {
  id: number;
  /** As the tasks see it. */
  name: string;
  /** Bytes. */
  size: number;
  /** With the type of the file. */
  mode: number;
}

/** `files.img` with entries at its end for files that nobody has open. */
export function addFiles(image: Uint8Array, files: readonly MappedName[]): Uint8Array {
  const out = new ByteWriter();
  out.raw(image);
  for (const { id, name, size, mode } of files) {
    const fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 };
    const reg = { id, flags: 0, pos: 0n, fown, name, size: BigInt(size), mode };
    const message = encodeObject(messageDescriptor('file_entry'), { type: 'REG', id, reg });
    out.u32(message.length);
    out.raw(message);
  }
  return out.view().slice();
}

/** `files.img` without the entries of some ids. */
export function removeFiles(image: Uint8Array, file: string, ids: ReadonlySet<number>): Uint8Array {
  const out = new ByteWriter();
  out.raw(image.subarray(0, checkMagic(image, 'FILES', file)));
  const entry = new NumberFields('file_entry', ['id']);
  for (const { body } of rawEntries(image, 'FILES', file)) {
    entry.read({ bytes: body, start: 0, end: body.length });
    if (ids.has(entry.fields.id.lo)) continue;
    out.u32(body.length);
    out.raw(body);
  }
  return out.view().slice();
}
