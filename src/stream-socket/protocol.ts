/**
 * What `criu dump --stream` and `criu restore --stream` say to the image streamer over a unix socket in the images directory:
 *
 *     session := request*                       the end of the connection is the end of the session
 *     request := size:u32le, message[size]      img_streamer_request_entry: filename:string = 1, a bare file name
 *     dump    := (request, byte 0 with the read end of a pipe)*
 *     restore := (request, reply, (byte 0 with the write end of a pipe, if the reply is "exists"))*
 *     reply   := size:u32le, message[size]      img_streamer_reply_entry: exists:bool = 1
 *
 * The bytes of a file go through its pipe, whose end is the end of the file. Nothing else says that a dump is complete: CRIU
 * sends `inventory.img` last.
 *
 * Source: dumps and restores of CRIU 4.1 to 4.3, and its proto2 description of the two messages.
 */
import { checkFileName } from '../dump/names.js';
import { DumpError } from '../errors.js';
import { decodeText } from '../protobuf/object.js';
import { WIRE_BYTES, WireError, WireReader, word } from '../protobuf/wire.js';

/** The sockets at which CRIU looks for a streamer. */
export const CAPTURE_SOCKET = 'streamer-capture.sock';
export const SERVE_SOCKET = 'streamer-serve.sock';

/** The image that CRIU writes last. */
export const LAST_IMAGE = 'inventory.img';

/** Where requests come from, for errors. */
const PEER = 'criu';
const SIZE_BYTES = 4;
/** A request holds a file name, which has at most 255 bytes. */
const MAX_REQUEST_BYTES = 4096;

const FIELD_FILENAME = 1;

/** Requests in pieces of any size. */
export class RequestDecoder {
  /** Of the request that is arriving; one more byte than it has so far may be needed to know its size. */
  private readonly bytes = new Uint8Array(SIZE_BYTES + MAX_REQUEST_BYTES);
  private filled = 0;
  /** The file whose descriptor comes with the next byte. */
  private awaited: string | undefined;

  /** @param wants told of each request; whether a descriptor follows it */
  constructor(private readonly wants: (name: string) => boolean) {}

  /** Whether nothing is incomplete. */
  get isBetweenRequests(): boolean {
    return this.filled === 0 && this.awaited === undefined;
  }

  /**
   * Takes the next bytes.
   * @returns the files whose descriptors came with these bytes
   * @throws {DumpError} LIMIT, MALFORMED, BAD_NAME, PROTOCOL
   */
  push(bytes: Uint8Array): string[] {
    const names: string[] = [];
    for (const byte of bytes) {
      if (this.awaited !== undefined) {
        if (byte !== 0) throw new DumpError('PROTOCOL', `expected a byte 0, found ${byte}`, { file: PEER });
        names.push(this.awaited);
        this.awaited = undefined;
        continue;
      }
      this.bytes[this.filled++] = byte;
      if (this.filled < SIZE_BYTES || this.filled < SIZE_BYTES + this.size()) continue;
      const name = fileNameOf(this.bytes.subarray(SIZE_BYTES, this.filled));
      this.filled = 0;
      if (this.wants(name)) this.awaited = name;
    }
    return names;
  }

  private size(): number {
    const size = word(this.bytes, 0);
    if (size <= MAX_REQUEST_BYTES) return size;
    throw new DumpError(
      'LIMIT',
      `expected a request of at most ${MAX_REQUEST_BYTES} bytes, found a length of ${size}`,
      {
        file: PEER,
      },
    );
  }
}

function fileNameOf(message: Uint8Array): string {
  let name: string | undefined;
  try {
    const reader = new WireReader(message);
    while (reader.nextTag()) {
      if (reader.number !== FIELD_FILENAME || reader.wireType !== WIRE_BYTES) {
        throw new WireError(`expected a file name, found a field ${reader.number}`, 0);
      }
      const end = reader.length();
      name = decodeText(message.subarray(reader.at, end));
      reader.at = end;
    }
    if (name === undefined) throw new WireError('expected a file name, found an empty message', 0);
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    throw new DumpError('MALFORMED', error.message, { file: PEER });
  }
  checkFileName(name, PEER);
  if (!name.includes('/')) return name;
  throw new DumpError('BAD_NAME', `expected the name of a file, found ${JSON.stringify(name)}`, { file: PEER });
}

/** The answer to a request of a restore. */
export const encodeReply = (exists: boolean): Uint8Array => Uint8Array.of(2, 0, 0, 0, 8, exists ? 1 : 0);
