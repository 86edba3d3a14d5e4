/** A dump that passes by as a page stream: who is in it, and how large it is, is known at its end. */
import { DumpError } from '../errors.js';
import type { DumpRecord } from '../records.js';
import { SizeSink } from '../sink/size.js';
import { MIN_PAGE_BYTES, readTasks, type Task } from '../source/tasks.js';
import { rebuild } from '../stages/rebuild.js';
import { KeptImages } from './kept-images.js';

/** Images that say who is in the dump. */
const TASKS = /^(inventory|pstree|core-\d+)\.img$/;

/** What is known of a dump when all of it has come. */
export interface KnownDump {
  /** Bytes. */
  readonly pageSize: number;
  /** `core_entry.march`. */
  readonly march: number | undefined;
  readonly tasks: readonly Task[];
  /** Of all files. */
  readonly bytes: number;
}

export class StreamedDump implements KnownDump {
  /** Bytes. */
  pageSize = MIN_PAGE_BYTES;
  march: number | undefined;
  private readonly names = new Set<string>();
  private readonly images = new KeptImages();
  private readonly size = new SizeSink();
  private readonly rebuilt = rebuild();
  /** The image that payload belongs to, if it is kept. */
  private image: string | undefined;

  /** @param name of the stream, for errors */
  constructor(private readonly name: string) {}

  /** Hands all records on. */
  async *records(stream: AsyncIterable<Iterable<DumpRecord>>): AsyncGenerator<Iterable<DumpRecord>> {
    for await (const batch of stream) yield this.seen(batch);
    this.size.finish();
  }

  /** None of what is no whole dump: a stream may be any part of one. */
  get tasks(): Task[] {
    const { names, images } = this;
    try {
      return readTasks({ has: (name) => names.has(name), read: (name) => images.read(name) }, this.name).tasks;
    } catch (error) {
      if (error instanceof DumpError) return [];
      throw error;
    }
  }

  get bytes(): number {
    return this.size.bytes;
  }

  private *seen(batch: Iterable<DumpRecord>): Generator<DumpRecord> {
    for (const record of batch) {
      if (record.type === 'bytes') {
        if (this.image !== undefined) this.images.push(this.image, record.bytes);
      } else {
        this.see(record);
      }
      yield record;
    }
  }

  private see(record: DumpRecord): void {
    if (record.type !== 'check') this.endImage();
    if (record.type === 'header') ({ pageSize: this.pageSize, march: this.march } = record);
    else if (record.type === 'space') this.names.add(record.space.pagemap);
    else if (record.type === 'file') {
      this.names.add(record.name);
      this.image = TASKS.test(record.name) ? record.name : undefined;
    }
    this.size.write(this.rebuilt(record) as DumpRecord);
  }

  private endImage(): void {
    if (this.image !== undefined) this.images.end(this.image);
    this.image = undefined;
  }
}
