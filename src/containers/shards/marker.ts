/**
 * The markers of criu-image-streamer. A shard is a sequence of them:
 *
 *     shard  := (size:u32le, marker[size], data?)*         data: as many bytes as a `file_data` marker says
 *     marker := seq:uint64 = 1, and one of: filename:string = 2, file_data:uint32 = 3, file_eof:bool = 4, image_eof:bool = 5
 *
 * `seq` counts the markers of all shards from 0, without gaps, and ascends in each shard. A filename makes a file current. The
 * markers after it, in any shard, are its data or its end. The image ends once, with the highest seq.
 *
 * Source: criu-image-streamer's own captures, and its proto3 description of a marker.
 */
import { DumpError } from '../../errors.js';
import { decodeText } from '../../protobuf/object.js';
import { ByteWriter, WIRE_BYTES, WIRE_VARINT, WireError, WireReader } from '../../protobuf/wire.js';

export type Marker = { seq: number } & (
  | { kind: 'filename'; name: string }
  | { kind: 'data'; bytes: number }
  | { kind: 'fileEnd' }
  | { kind: 'imageEnd' }
);

/** A marker holds a number and a file name. */
export const MAX_MARKER_BYTES = 4096;
/** Limit on the data after one marker. The streamer writes at most what a pipe holds; this leaves room to spare. */
const MAX_DATA_BYTES = 64 * 1024 * 1024;

const FIELD = { SEQ: 1, FILENAME: 2, DATA: 3, FILE_END: 4, IMAGE_END: 5 } as const;

/**
 * @param file of the shard, for errors
 * @param offset of the marker in it
 * @throws {DumpError} MALFORMED, LIMIT
 */
export function decodeMarker(bytes: Uint8Array, file: string, offset: number): Marker {
  try {
    return decode(bytes);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new DumpError('MALFORMED', error.message, { file, offset });
  }
}

function decode(bytes: Uint8Array): Marker {
  const reader = new WireReader(bytes);
  let seq = 0;
  let body: Marker | undefined;
  while (reader.nextTag()) {
    const { number } = reader;
    if (reader.wireType !== (number === FIELD.FILENAME ? WIRE_BYTES : WIRE_VARINT)) {
      throw new WireError('expected a marker, found another message', 0);
    }
    if (number === FIELD.FILENAME) {
      const end = reader.length();
      body = { seq, kind: 'filename', name: decodeText(bytes.subarray(reader.at, end)) };
      reader.at = end;
      continue;
    }
    reader.varint();
    const value = reader.hi * 2 ** 32 + reader.lo;
    if (number === FIELD.SEQ) seq = value;
    else if (number === FIELD.DATA) body = { seq, kind: 'data', bytes: checkData(value) };
    else if (number === FIELD.FILE_END) body = { seq, kind: 'fileEnd' };
    else if (number === FIELD.IMAGE_END) body = { seq, kind: 'imageEnd' };
    else throw new WireError(`expected a marker, found a field ${number}`, 0);
  }
  if (!body) throw new WireError('expected a marker, found an empty message', 0);
  return { ...body, seq };
}

function checkData(bytes: number): number {
  if (bytes <= MAX_DATA_BYTES) return bytes;
  throw new WireError(`expected at most ${MAX_DATA_BYTES} bytes of data, found a length of ${bytes}`, 0);
}

/** A marker, with its size before it. */
export function encodeMarker(marker: Marker): Uint8Array {
  const out = new ByteWriter();
  out.u32(0);
  // proto3 leaves out a number that is 0.
  if (marker.seq > 0) {
    out.varint((FIELD.SEQ << 3) | WIRE_VARINT);
    out.varint(marker.seq % 2 ** 32, Math.floor(marker.seq / 2 ** 32));
  }
  if (marker.kind === 'filename') {
    const name = new TextEncoder().encode(marker.name);
    out.varint((FIELD.FILENAME << 3) | WIRE_BYTES);
    out.varint(name.length);
    out.raw(name);
  } else {
    const [field, value] =
      marker.kind === 'data'
        ? [FIELD.DATA, marker.bytes]
        : [marker.kind === 'fileEnd' ? FIELD.FILE_END : FIELD.IMAGE_END, 1];
    out.varint((field << 3) | WIRE_VARINT);
    out.varint(value);
  }
  out.setU32(0, out.at - 4);
  return out.view().slice();
}
