/**
 * Page stream to frames, for chunks of any size. Lengths are checked before anything is held; payload is never held.
 */
import { concatBytes, plainBytes } from '../../bytes.js';
import { crc32 } from '../../crc.js';
import { DumpError, emptyInput } from '../../errors.js';
import {
  DATA_BYTES,
  FRAME,
  FRAME_HEADER_BYTES,
  MAX_BODY_BYTES,
  PROLOGUE_BYTES,
  STREAM_MAGIC,
  STREAM_VERSION,
} from './format.js';

/** For errors. */
export const FRAME_NAMES = Object.fromEntries(Object.entries(FRAME).map(([name, type]) => [type, name]));

/** Any frame but one of payload. */
export interface Frame {
  type: number;
  body: Uint8Array;
  /** Checksum of the frames before it. */
  crcBefore: number;
}

export class FrameReader {
  /** Bytes of announced payload that have not come yet: set by the reader of the frames. */
  payloadLeft = 0;
  /** Whether the last frame was seen: set by the reader of the frames. */
  ended = false;
  private offset = 0;
  /** Chunks of a frame that is not complete, and how many bytes it needs to go on. */
  private held: Uint8Array[] = [];
  private heldBytes = 0;
  private needBytes = 0;
  private started = false;
  private crc = 0;
  /** Bytes left of the current data frame. */
  private frameLeft = 0;

  /** @param file for errors */
  constructor(private readonly file: string) {}

  /**
   * The frames that end in `data`, and pieces of payload, all of which are views of it or of a copy.
   * @throws {DumpError} NOT_A_STREAM, STREAM_VERSION, LIMIT, STREAM_DAMAGED
   */
  *push(data: Uint8Array): Generator<Frame | Uint8Array> {
    const chunk = plainBytes(data);
    if (this.heldBytes + chunk.length < this.needBytes) {
      this.hold(chunk);
      return;
    }
    const bytes = this.heldBytes > 0 ? concatBytes([...this.held, chunk]) : chunk;
    this.held = [];
    this.heldBytes = 0;
    this.needBytes = 0;
    let at = 0;
    for (;;) {
      if (this.frameLeft > 0) {
        if (at === bytes.length) break;
        const piece = bytes.subarray(at, at + this.frameLeft);
        at += piece.length;
        this.passed(piece.length);
        yield piece;
        continue;
      }
      const used = this.started ? this.frameSize(bytes, at) : this.prologue(bytes, at);
      if (used === 0) break;
      if (this.started) yield* this.frame(bytes, at, used);
      this.started = true;
      at += used;
      this.offset += used;
    }
    if (at < bytes.length) this.hold(bytes.subarray(at));
  }

  /** Bytes of payload that come next in the input. */
  get payloadDue(): number {
    return this.heldBytes === 0 ? this.frameLeft : 0;
  }

  /** Says that payload bypassed the reader of frames. */
  passed(bytes: number): void {
    this.offset += bytes;
    this.frameLeft -= bytes;
    this.payloadLeft -= bytes;
  }

  /** The number of bytes that are needed next. Reading this many takes nothing of what follows. */
  get lackingBytes(): number {
    if (this.frameLeft > 0) return this.frameLeft;
    const need = this.needBytes || (this.started ? FRAME_HEADER_BYTES : PROLOGUE_BYTES);
    return need - this.heldBytes;
  }

  /** Keeps a copy: the chunk may be overwritten. */
  private hold(bytes: Uint8Array): void {
    this.held.push(bytes.slice());
    this.heldBytes += bytes.length;
  }

  /** Sets the number of bytes that are needed to continue. */
  private lacks(bytes: Uint8Array, at: number, need: number): boolean {
    const lacking = bytes.length - at < need;
    if (lacking) this.needBytes = need;
    return lacking;
  }

  /** Throws unless the stream is complete. */
  end(): void {
    if (this.ended) {
      if (this.heldBytes > 0) throw this.damaged(`the end of the stream, found ${this.heldBytes} more bytes`);
      return;
    }
    if (!this.started) {
      if (this.heldBytes === 0) throw emptyInput('NOT_A_STREAM', this.file, 'a page stream');
      throw new DumpError('NOT_A_STREAM', `expected a page stream, found only ${this.heldBytes} bytes`, {
        file: this.file,
        offset: 0,
      });
    }
    const missing = this.frameLeft > 0 ? `${this.frameLeft} more bytes of payload` : 'more frames and an end';
    throw new DumpError('STREAM_DAMAGED', `expected ${missing}, found the end of the input: the stream was cut`, {
      file: this.file,
      offset: this.offset + this.heldBytes,
    });
  }

  /** Size of the prologue once it is complete; 0 before. */
  private prologue(bytes: Uint8Array, at: number): number {
    const have = Math.min(bytes.length - at, STREAM_MAGIC.length);
    if (STREAM_MAGIC.subarray(0, have).some((byte, i) => byte !== bytes[at + i])) {
      throw new DumpError('NOT_A_STREAM', 'expected a page stream (PAGEPIPE), found something else', {
        file: this.file,
        offset: 0,
        hint: 'pagepipe read DUMP makes one',
      });
    }
    if (this.lacks(bytes, at, PROLOGUE_BYTES)) return 0;
    const version = viewOf(bytes).getUint32(at + 8, true);
    if (version !== STREAM_VERSION) {
      throw new DumpError('STREAM_VERSION', `expected page stream version ${STREAM_VERSION}, found ${version}`, {
        file: this.file,
        offset: 8,
      });
    }
    return PROLOGUE_BYTES;
  }

  /** Size of the frame at `at` once the part that must be held has arrived; 0 before. Payload is not held. */
  private frameSize(bytes: Uint8Array, at: number): number {
    if (bytes.length === at) return 0;
    if (this.ended) throw this.damaged('the end of the stream, found more bytes');
    if (this.lacks(bytes, at, FRAME_HEADER_BYTES)) return 0;
    const view = viewOf(bytes);
    const type = view.getUint32(at, true);
    const length = view.getUint32(at + 4, true);
    if (!(type in FRAME_NAMES)) throw this.damaged(`a frame, found type ${type}`);
    if (type === FRAME.DATA) {
      const expected = Math.min(DATA_BYTES, this.payloadLeft);
      if (length !== expected || expected === 0) {
        throw this.damaged(
          expected === 0 ? 'no payload here, found a data frame' : `a data frame of ${expected} bytes, found ${length}`,
        );
      }
      return FRAME_HEADER_BYTES;
    }
    if (length > MAX_BODY_BYTES) {
      throw new DumpError('LIMIT', `expected a frame of at most ${MAX_BODY_BYTES} bytes, found ${length}`, {
        file: this.file,
        offset: this.offset,
      });
    }
    return this.lacks(bytes, at, FRAME_HEADER_BYTES + length) ? 0 : FRAME_HEADER_BYTES + length;
  }

  /** The frame, unless it is the beginning of payload. */
  private *frame(bytes: Uint8Array, at: number, size: number): Generator<Frame> {
    const type = viewOf(bytes).getUint32(at, true);
    const crcBefore = this.crc;
    this.crc = crc32(bytes.subarray(at, at + size), this.crc);
    if (type === FRAME.DATA) {
      this.frameLeft = viewOf(bytes).getUint32(at + 4, true);
      return;
    }
    if (this.payloadLeft > 0) {
      throw this.damaged(`${this.payloadLeft} more bytes of payload, found ${FRAME_NAMES[type]}`);
    }
    yield { type, body: bytes.subarray(at + FRAME_HEADER_BYTES, at + size), crcBefore };
  }

  /** An error at the current frame. */
  damaged(expected: string, cause?: unknown): DumpError {
    return new DumpError('STREAM_DAMAGED', `expected ${expected}`, { file: this.file, offset: this.offset, cause });
  }

  badName(name: string, expected: string): DumpError {
    const found = JSON.stringify(name);
    return new DumpError('BAD_NAME', `expected ${expected}, found ${found}`, { file: this.file, offset: this.offset });
  }
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
