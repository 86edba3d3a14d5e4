/**
 * The images of a dump by name. All code that looks for entries uses this reader. It streams, so an image with a gigabyte of
 * payload needs no more memory than a small one. The caller decides which images must exist.
 */
import { DumpError } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { ImageDecoder, type ImageHandler, type RawMessage } from '../image/decoder.js';
import { headerBytes, typeOfName } from '../image/magic.js';
import { withArticle } from '../protobuf/builder.js';
import { type MessageDescriptor, type MessageName, messageDescriptor } from '../protobuf/descriptor.js';
import { readAnyObject } from '../protobuf/object.js';
import { pieces, type ReadableFiles, requireImage } from './files.js';
import { mmName } from './names.js';

/** An image is read in pieces of this many bytes. */
const PIECE_BYTES = 256 * 1024;

/** @param index of the entry, where the head of a pagemap counts */
export type TakeMessage = (message: RawMessage, index: number) => void;

/** All methods throw {@link DumpError}: MISSING_IMAGE, WRONG_MAGIC, MALFORMED and others. */
export class Images {
  constructor(readonly files: ReadableFiles) {}

  /** Whether there is such a file. */
  has(name: string): boolean {
    return this.files.stat(name) !== undefined;
  }

  /**
   * Decodes a whole image.
   * @param by the image that refers to it, for the error if it is missing
   */
  decode(name: string, handler: ImageHandler, by?: string): void {
    for (const _ of this.decodeSteps(name, handler, by)) {
      // Nothing waits in between.
    }
  }

  /** The same in short steps. */
  *decodeSteps(name: string, handler: ImageHandler, by?: string): Generator<undefined> {
    const { size } = requireImage(this.files, name, by);
    const decoder = new ImageDecoder(handler, { file: name, type: typeOfName(name) });
    for (const piece of pieces(this.files, name, PIECE_BYTES, size)) {
      decoder.push(piece);
      yield;
    }
    decoder.end();
  }

  /** All entries of an image as bytes, including the head of a pagemap. The message is the same object each time. */
  messages(name: string, take: TakeMessage, by?: string): void {
    this.decode(name, new MessageHandler(take), by);
  }

  /** The same in short steps. */
  messageSteps(name: string, take: TakeMessage): Generator<undefined> {
    return this.decodeSteps(name, new MessageHandler(take));
  }

  /**
   * All entries of one type in an image.
   * @param only the names of the fields that they get; all without it
   */
  each<M extends MessageName>(
    name: string,
    message: M,
    take: (entry: Messages[M], index: number) => void,
    by?: string,
    only?: readonly (keyof Messages[M] & string)[],
  ): void {
    const wanted = messageDescriptor(message);
    this.messages(
      name,
      ({ descriptor, bytes, start, end }, index) => {
        if (descriptor !== wanted) return;
        take(readAnyObject(descriptor, bytes, start, end, only) as unknown as Messages[M], index);
      },
      by,
    );
  }

  /**
   * The first entry of an image that should have only one. Throws {@link DumpError} TRUNCATED if there is none.
   * @param only as in {@link each}
   */
  first<M extends MessageName>(
    name: string,
    message: M,
    by?: string,
    only?: readonly (keyof Messages[M] & string)[],
  ): Messages[M] {
    let first: Messages[M] | undefined;
    this.each(
      name,
      message,
      (entry) => {
        first ??= entry;
      },
      by,
      only,
    );
    if (!first) throw noEntry(name, message);
    return first;
  }

  /** The same as bytes, valid only during the call. */
  firstMessage(name: string, message: MessageName, take: (message: RawMessage) => void, by?: string): void {
    let found = false;
    this.messages(
      name,
      (raw) => {
        if (!found) take(raw);
        found = true;
      },
      by,
    );
    if (!found) throw noEntry(name, message);
  }
}

/** Takes the mm_entry of a process, for the time of the call. */
export const readMm = (images: Images, pid: number, take: (message: RawMessage) => void): void =>
  images.firstMessage(mmName(pid), 'mm_entry', take, 'pstree.img');

/** Passes on entries in one object that is reused: a pagemap has millions of them. */
class MessageHandler implements ImageHandler {
  private last: RawMessage | undefined;
  private index = 0;

  constructor(private readonly take: TakeMessage) {}

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.last ??= { bytes, start, end, descriptor };
    this.last.bytes = bytes;
    this.last.start = start;
    this.last.end = end;
    this.last.descriptor = descriptor;
    this.take(this.last, this.index++);
  }
}

function noEntry(file: string, message: MessageName): DumpError {
  const type = typeOfName(file);
  return new DumpError('TRUNCATED', `expected ${withArticle(message)}, found the end of the file`, {
    file,
    ...(type ? { offset: headerBytes(type) } : {}),
  });
}
