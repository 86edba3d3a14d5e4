/**
 * Records into shards, as criu-image-streamer writes them; the format is in archive/marker.ts. Nothing has to be held: pages
 * and pagemap of a space come in turn, and each piece goes to the shard that has the least.
 */
import { encodeMarker, type Marker } from '../archive/marker.js';
import type { Emit } from '../bytes.js';
import { crc32 } from '../crc.js';
import { DumpError, invariant } from '../errors.js';
import type { RecordSink } from '../pump.js';
import { type DumpRecord, type FileRecord, type PayloadRecord, pagesName, type Space } from '../records.js';
import { rebuild } from '../stages/rebuild.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import { countHolePages } from './holes.js';
import { PagemapWriter } from './pagemap-writer.js';

/** Most data behind one marker: what a pipe holds, and what criu-image-streamer writes at a time. */
const MAX_PIECE_BYTES = 64 * 1024;

/** Where one shard goes. */
export interface ShardOutput {
  write: Emit;
  /** Passes on what was gathered: who reads several shards waits for the next marker, in whichever it is. */
  flush(): void;
  commit(): void;
  discard(): void;
}

export interface ShardSinkOptions {
  /** Told of the bytes of each piece of payload. */
  progress?: (bytes: number) => void;
}

type Body = { kind: 'filename'; name: string } | { kind: 'data'; bytes: number } | { kind: 'fileEnd' | 'imageEnd' };

/** One shard, and how much it has. */
class Shard {
  bytes = 0;

  constructor(readonly output: ShardOutput) {}

  write(bytes: Uint8Array): void {
    this.output.write(bytes);
    this.bytes += bytes.length;
  }
}

export class ShardSink implements RecordSink {
  /** Bytes of all files of the dump. */
  bytes = 0;
  /** Pages that stand in a pagemap as lazy, and nowhere else. */
  holePages = 0;
  private readonly shards: Shard[];
  private last: Shard | undefined;
  private seq = 0;
  /** The file that the last name made current. */
  private named: string | undefined;
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly joinRebuilt = rebuild();
  private pageSize = 0;
  /** Where payload goes. */
  private target: string | undefined;
  private file: FileRecord | undefined;
  private readonly waiting: Space[] = [];
  private current: { space: Space; entries: PagemapWriter } | undefined;
  private crc: number | undefined;

  constructor(
    outputs: readonly ShardOutput[],
    private readonly options: ShardSinkOptions = {},
  ) {
    this.shards = outputs.map((output) => new Shard(output));
  }

  write(record: DumpRecord): void {
    if (record.type === 'bytes') this.payload(record.bytes);
    else if (record.type === 'extents') for (const bytes of this.extents.read(record)) this.payload(bytes);
    else this.writeOther(record);
  }

  private writeOther(record: Exclude<DumpRecord, PayloadRecord>): void {
    switch (record.type) {
      case 'header':
        this.pageSize = record.pageSize;
        this.joinRebuilt(record);
        break;
      case 'file':
        this.finishFile();
        this.startFile(record);
        break;
      case 'space':
        this.finishFile();
        this.waiting.push(record.space);
        break;
      case 'areas':
        break;
      case 'runs': {
        this.finishFile();
        this.turnTo(record.space);
        const { runs } = this.joinRebuilt(record) as typeof record;
        this.holePages += countHolePages(runs);
        this.current?.entries.add(runs);
        this.target = pagesName(record.space);
        this.crc = record.checked && runs.payloadBytes > 0 ? 0 : undefined;
        break;
      }
      case 'check':
        if (this.crc !== undefined && this.crc !== record.crc32) {
          throw new DumpError('STREAM_DAMAGED', 'the payload does not match its checksum', { file: this.target ?? '' });
        }
        break;
      default:
        this.finishFile();
        this.turnTo(undefined);
        this.put({ kind: 'imageEnd' });
    }
  }

  /** Puts the shards in their places, the one with the end of all last: without it a set is refused. */
  finish(): void {
    for (const shard of this.shards) if (shard !== this.last) shard.output.commit();
    this.last?.output.commit();
  }

  discard(): void {
    for (const { output } of this.shards) output.discard();
  }

  /** Shards hold files alone, and none in folders. */
  private startFile(record: FileRecord): void {
    const { kind, name, size, checked } = record;
    if (kind !== 'regular' || name.includes('/')) {
      const found = kind === 'regular' ? 'one in a folder' : `a ${kind === 'directory' ? 'folder' : kind}`;
      throw new DumpError('UNSUPPORTED', `expected a file, which is all that shards can hold, found ${found}`, {
        file: name,
      });
    }
    this.file = record;
    this.target = name;
    this.crc = checked && size > 0 ? 0 : undefined;
  }

  private finishFile(): void {
    if (this.file) this.end(this.file.name);
    this.file = undefined;
  }

  private payload(bytes: Uint8Array): void {
    invariant(this.target !== undefined, 'payload follows a file or runs');
    if (this.crc !== undefined) this.crc = crc32(bytes, this.crc);
    this.data(this.target, bytes);
    this.options.progress?.(bytes.length);
  }

  private data(name: string, bytes: Uint8Array): void {
    this.bytes += bytes.length;
    for (let at = 0; at < bytes.length; at += MAX_PIECE_BYTES) {
      this.makeCurrent(name);
      const piece = bytes.subarray(at, at + MAX_PIECE_BYTES);
      this.put({ kind: 'data', bytes: piece.length }, piece);
    }
  }

  private end(name: string): void {
    this.makeCurrent(name);
    this.put({ kind: 'fileEnd' });
    this.named = undefined;
  }

  private makeCurrent(name: string): void {
    if (this.named !== name) this.put({ kind: 'filename', name });
    this.named = name;
  }

  /** A marker, and the bytes behind it. */
  private put(body: Body, data?: Uint8Array): void {
    const shard = this.shards.reduce((least, other) => (other.bytes < least.bytes ? other : least));
    if (this.last !== shard) this.last?.output.flush();
    this.last = shard;
    shard.write(encodeMarker({ ...body, seq: this.seq++ } as Marker));
    if (data) shard.write(data);
  }

  /** Finishes the spaces before this one: those without runs get their empty images. */
  private turnTo(space: Space | undefined): void {
    if (space && this.current?.space.index === space.index) return;
    this.finishSpace();
    while (this.waiting.length > 0) {
      const next = this.waiting.shift() as Space;
      this.current = {
        space: next,
        entries: new PagemapWriter(next, this.pageSize, (bytes) => this.data(next.pagemap, bytes)),
      };
      if (next.index === space?.index) return;
      this.finishSpace();
    }
    invariant(!space, 'runs follow their space');
  }

  private finishSpace(): void {
    if (!this.current) return;
    const { space, entries } = this.current;
    entries.end();
    this.end(space.pagemap);
    this.end(pagesName(space));
    this.current = undefined;
  }
}
