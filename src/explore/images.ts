/**
 * The images of a dump by name, as far as they are there: exploring needs less than a restore, and works on what others
 * have left of a dump.
 */
import { DumpError, isErrno } from '../errors.js';
import type { Messages } from '../generated/entries.js';
import { canonicalMessage } from '../image/canonical.js';
import { ImageDecoder, type ImageHandler, type RawMessage, type TakeMessage } from '../image/decoder.js';
import { headerBytes, type ImageType } from '../image/magic.js';
import { type MessageDescriptor, type MessageName, messageDescriptor } from '../image/message.js';
import { readObject } from '../image/object.js';

/** Images other than pagemaps are read as a whole; the largest mm known is a few MiB. */
const MAX_METADATA_BYTES = 256 * 1024 * 1024;

/** A pagemap is read in pieces of this size. */
const CHUNK_BYTES = 256 * 1024;

/** `core_entry.tc.task_state` of a process that is dead and has not been waited for: it has no more than a core. */
const ZOMBIE_STATES = [2, 6];

/** What is needed of a directory; `FilePool` has it. */
export interface Files {
  /** Opens a file, if it is not open yet. */
  descriptor(name: string): number;
  readAll(name: string, limit: number): Uint8Array;
  readSome(name: string, buffer: Uint8Array, position: number): number;
}

/** A process, as `pstree.img` has it. */
export type Task = Messages['pstree_entry'];

/** Reads the images of one dump. All methods throw {@link DumpError}: MISSING_IMAGE, WRONG_MAGIC, MALFORMED and others. */
export class Images {
  constructor(private readonly files: Files) {}

  /** Whether there is such a file. */
  has(name: string): boolean {
    try {
      this.files.descriptor(name);
      return true;
    } catch (error) {
      if (error instanceof DumpError && isErrno(error.cause, 'ENOENT')) return false;
      throw error;
    }
  }

  /**
   * All messages of an image, as they stand there; the head of a pagemap, too.
   * @param by the image that named it, for the error if it is missing
   */
  messages(name: string, type: ImageType, by: string, take: TakeMessage): void {
    if (!this.has(name)) throw missingImage(name, by);
    const decoder = new ImageDecoder(new MessageHandler(take), { file: name, type });
    if (type !== 'PAGEMAP') {
      decoder.push(this.files.readAll(name, MAX_METADATA_BYTES));
    } else {
      const chunk = new Uint8Array(CHUNK_BYTES);
      for (let position = 0, count = 0; ; position += count) {
        count = this.files.readSome(name, chunk, position);
        if (count === 0) break;
        decoder.push(chunk.subarray(0, count));
      }
    }
    decoder.end();
  }

  /** All entries of an image, one after the other. */
  each<M extends MessageName>(
    name: string,
    type: ImageType,
    message: M,
    by: string,
    take: (entry: Messages[M]) => void,
  ): void {
    const descriptor = messageDescriptor(message);
    this.messages(name, type, by, ({ bytes, start, end }) => {
      const canonical = canonicalMessage(descriptor, bytes, start, end);
      take(readObject(descriptor, canonical.bytes, canonical.start, canonical.end) as unknown as Messages[M]);
    });
  }

  /** The first entry of an image, which has but one. */
  first<M extends MessageName>(name: string, type: ImageType, message: M, by: string): Messages[M] {
    let first: Messages[M] | undefined;
    this.each(name, type, message, by, (entry) => {
      first ??= entry;
    });
    if (!first) throw noEntry(name, type, message);
    return first;
  }

  /** The message of the first entry of an image, for the time of a call. */
  firstMessage(name: string, type: ImageType, message: MessageName, by: string, take: TakeMessage): void {
    let found = false;
    this.messages(name, type, by, (message) => {
      if (!found) take(message);
      found = true;
    });
    if (!found) throw noEntry(name, type, message);
  }

  /** The processes of the dump, in the order in which they stand there. */
  tasks(): Task[] {
    if (!this.has('pstree.img')) {
      throw new DumpError('MISSING_IMAGE', 'expected this image, which every dump of processes has, found none', {
        file: 'pstree.img',
        hint: 'a pre-dump holds memory alone: explore the last dump of its chain',
      });
    }
    const tasks: Task[] = [];
    this.each('pstree.img', 'PSTREE', 'pstree_entry', '', (task) => tasks.push(task));
    if (tasks.length > 0) return tasks;
    throw new DumpError('MALFORMED', 'expected at least one pstree_entry, found none', { file: 'pstree.img' });
  }

  /** The core of a process. */
  core(pid: number): Messages['core_entry'] {
    return this.first(`core-${pid}.img`, 'CORE', 'core_entry', 'pstree.img');
  }

  /** Whether a process lacks an image because it is a zombie; where it must have it, that is an error. */
  lacksAsZombie(pid: number, name: string): boolean {
    if (this.has(name)) return false;
    if (this.has(`core-${pid}.img`) && isZombie(this.core(pid))) return true;
    throw missingImage(name, 'pstree.img');
  }
}

/** Whether a core is that of a zombie. */
export const isZombie = ({ tc }: Messages['core_entry']): boolean =>
  tc !== undefined && ZOMBIE_STATES.includes(tc.task_state);

/** Hands on messages, all in one object: a pagemap has millions of them. */
class MessageHandler implements ImageHandler {
  private last: RawMessage | undefined;

  constructor(private readonly take: TakeMessage) {}

  entry(descriptor: MessageDescriptor, bytes: Uint8Array, start: number, end: number): void {
    this.last ??= { bytes, start, end, descriptor };
    this.last.bytes = bytes;
    this.last.start = start;
    this.last.end = end;
    this.last.descriptor = descriptor;
    this.take(this.last);
  }

  image(): void {}
  message(): void {}
  payload(): void {}
  bytes(): void {}
  payloadEnd(): void {}
  end(): void {}
}

const missingImage = (file: string, by: string) =>
  new DumpError('MISSING_IMAGE', `expected this image, named by ${by}, found none`, { file });

const noEntry = (file: string, type: ImageType, message: MessageName) =>
  new DumpError('TRUNCATED', `expected a ${message}, found the end of the file`, { file, offset: headerBytes(type) });
