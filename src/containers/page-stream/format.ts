/**
 * The page stream: how the records of a dump cross a pipe. docs/page-stream.md is its specification.
 *
 * stream := magic[8], version:u32le, frame*
 * frame  := type:u32le, length:u32le, body[length]
 *
 * Bodies are protobuf messages of proto/pagepipe/page-stream.proto, but for data frames, whose body is payload. Payload
 * is cut into data frames of exactly DATA_BYTES but for the last, so that a stage may pass it on as it arrives.
 */

/** "PAGEPIPE". */
export const STREAM_MAGIC = Uint8Array.from([0x50, 0x41, 0x47, 0x45, 0x50, 0x49, 0x50, 0x45]);
export const STREAM_VERSION = 2;
export const PROLOGUE_BYTES = 12;
export const FRAME_HEADER_BYTES = 8;

export const FRAME = { HEADER: 1, FILE: 2, SPACE: 3, AREAS: 4, RUNS: 5, DATA: 6, CHECK: 7, END: 8 } as const;

/** Largest body of a data frame. */
export const DATA_BYTES = 1024 * 1024;
/** Largest body of any other frame. */
export const MAX_BODY_BYTES = 1024 * 1024;

/** 20 bytes a run: without details, a frame of these is far below MAX_BODY_BYTES. */
export const RUNS_PER_FRAME = 16 * 1024;
/** A frame's details; one of them may be as large as an entry, verbatim and its blocks. */
export const DETAIL_BYTES_PER_FRAME = 128 * 1024;
/** 24 bytes an area. */
export const AREAS_PER_FRAME = 16 * 1024;

/** Longest file name, with its folders: Linux' PATH_MAX. */
export const MAX_NAME_BYTES = 4096;
export const MAX_LINK_BYTES = 4096;

const TWO_32 = 2 ** 32;

/** Numbers up to 2^53 as u64 little endian. */
export function packFixed64(values: Float64Array): Uint8Array {
  const words = new Uint32Array(values.length * 2);
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number;
    words[2 * i] = value % TWO_32;
    words[2 * i + 1] = value / TWO_32;
  }
  return littleEndian(words);
}

/** Inverse of {@link packFixed64}; values beyond 2^53 stay beyond it. */
export function unpackFixed64(bytes: Uint8Array): Float64Array {
  const words = unpackFixed32(bytes);
  const values = new Float64Array(words.length >>> 1);
  for (let i = 0; i < values.length; i++) {
    values[i] = (words[2 * i + 1] as number) * TWO_32 + (words[2 * i] as number);
  }
  return values;
}

export const packFixed32 = (values: Uint32Array): Uint8Array => littleEndian(values);

/** A copy: `bytes` may be unaligned, and be overwritten. */
export function unpackFixed32(bytes: Uint8Array): Uint32Array {
  const copy = bytes.slice();
  if (BIG_ENDIAN) swap(copy);
  return new Uint32Array(copy.buffer, 0, copy.length >>> 2);
}

const BIG_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 0;

function littleEndian(words: Uint32Array): Uint8Array {
  const bytes = new Uint8Array(words.buffer, words.byteOffset, words.byteLength);
  if (!BIG_ENDIAN) return bytes;
  const copy = bytes.slice();
  swap(copy);
  return copy;
}

function swap(bytes: Uint8Array): void {
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).swap32();
}
