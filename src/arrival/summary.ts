/** Tasks and size of a dump that passes as a page stream, known at its end. */
import { Images } from '../dump/images.js';
import { MIN_PAGE_BYTES } from '../dump/page-size.js';
import type { DumpRecord } from '../dump/records.js';
import { SizeSink } from '../dump/size.js';
import { readTasks, type Task } from '../dump/tasks.js';
import { DumpError } from '../errors.js';
import { rebuild } from '../stages/rebuild.js';
import { MetadataCache } from './metadata-cache.js';

/** The images of tasks. */
const TASKS = /^(inventory|pstree|core-\d+)\.img$/;

/** What is known about a dump when all of it has arrived. */
export interface KnownDump {
  /** Bytes. */
  readonly pageSize: number;
  /** `core_entry.mtype`. */
  readonly march: number | undefined;
  readonly tasks: readonly Task[];
  /** Bytes of all files. */
  readonly bytes: number;
}

export class PassingSummary implements KnownDump {
  /** Bytes. */
  pageSize = MIN_PAGE_BYTES;
  march: number | undefined;
  private readonly metadata = new MetadataCache();
  private readonly size = new SizeSink();
  private readonly rebuilt = rebuild();
  /** The image that payload belongs to, if it is kept. */
  private image: string | undefined;

  /** @param name of the stream, for errors */
  constructor(private readonly name: string) {}

  /** Passes on all records. */
  async *records(stream: AsyncIterable<Iterable<DumpRecord>>): AsyncGenerator<Iterable<DumpRecord>> {
    for await (const batch of stream) yield this.seen(batch);
    this.size.finish();
  }

  /** Empty for an incomplete dump: a stream may have any part of one. */
  get tasks(): readonly Task[] {
    try {
      return readTasks(new Images(this.metadata), this.name, this.metadata.names, true).tasks;
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
        if (this.image !== undefined) this.metadata.push(this.image, record.bytes);
      } else {
        this.see(record);
      }
      yield record;
    }
  }

  private see(record: DumpRecord): void {
    if (record.type !== 'check') this.endImage();
    if (record.type === 'header') ({ pageSize: this.pageSize, march: this.march } = record);
    else if (record.type === 'space') this.metadata.note(record.space.pagemap);
    else if (record.type === 'file') {
      this.metadata.note(record.name);
      this.image = TASKS.test(record.name) ? record.name : undefined;
    }
    this.size.write(this.rebuilt(record) as DumpRecord);
  }

  private endImage(): void {
    if (this.image !== undefined) this.metadata.end(this.image);
    this.image = undefined;
  }
}
