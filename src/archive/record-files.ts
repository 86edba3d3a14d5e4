/** Records as files: those of the dump as they are, and those that its spaces stand for, pagemaps and pages. */
import { invariant } from '../errors.js';
import { type DumpRecord, type FileRecord, pagesName, type RunsRecord, type Space } from '../records.js';
import { PagemapWriter } from '../sink/pagemap-writer.js';
import { rebuild } from '../stages/rebuild.js';
import { PayloadCheck } from '../stream/payload-check.js';

/** Where files go whose bytes arrive in pieces. */
export interface FileTaker {
  begin(name: string, file: Pick<FileRecord, 'kind' | 'mode' | 'target'>): void;
  /** Must be done with the bytes when it returns. */
  push(name: string, bytes: Uint8Array): void;
}

export class RecordFiles {
  /** Bytes, once the header has come. */
  pageSize = 0;
  /** Of runs that nobody has rebuilt; on others it changes nothing. */
  private readonly rebuilt = rebuild();
  private readonly check = new PayloadCheck();
  /** The file that payload belongs to. */
  private target = '';
  /** Spaces whose pagemap has not been begun. */
  private readonly waiting = new Map<number, Space>();
  private current: { space: Space; pagemap: PagemapWriter } | undefined;

  constructor(private readonly files: FileTaker) {}

  /**
   * Takes the next record; payload must be in it.
   * @throws {DumpError} STREAM_DAMAGED for payload that does not match its checksum
   */
  take(record: DumpRecord): void {
    switch (record.type) {
      case 'header':
        this.pageSize = record.pageSize;
        this.rebuilt(record);
        break;
      case 'file':
        this.files.begin(record.name, record);
        this.startPayload(record.name);
        break;
      case 'space':
        this.begin(record.space);
        break;
      case 'areas':
        break;
      case 'runs':
        this.runs(this.rebuilt(record) as RunsRecord);
        break;
      case 'bytes':
        this.check.add(record.bytes);
        this.files.push(this.target, record.bytes);
        break;
      case 'extents':
        invariant(false, 'payload that is referred to need not be held');
        break;
      case 'check':
        this.check.end(record, this.target);
        break;
      default:
        this.end();
    }
  }

  private begin(space: Space): void {
    this.files.begin(space.pagemap, { kind: 'regular', mode: space.pagemapMode });
    this.files.begin(pagesName(space), { kind: 'regular', mode: space.pagesMode });
    this.waiting.set(space.index, space);
  }

  private runs({ space, runs }: RunsRecord): void {
    if (this.current?.space.index !== space.index) {
      this.current?.pagemap.end();
      this.current = { space, pagemap: this.pagemapOf(space) };
    }
    this.current.pagemap.add(runs);
    this.startPayload(pagesName(space));
  }

  /** Spaces without runs have pagemaps as well. */
  private end(): void {
    this.current?.pagemap.end();
    for (const space of this.waiting.values()) this.pagemapOf(space);
  }

  private pagemapOf(space: Space): PagemapWriter {
    this.waiting.delete(space.index);
    return new PagemapWriter(space, this.pageSize, (bytes) => this.files.push(space.pagemap, bytes));
  }

  private startPayload(file: string): void {
    this.target = file;
    this.check.start();
  }
}
