/** Page streams by hand, frame by frame: also such as no encoder would make. Uses nothing of the code under test. */
import { crc32 } from 'node:zlib';
import { Message } from './dump-writer.js';

/** A page that is there, in the form of CRIU 4.2: PRESENT, with flags and field 5. */
export const RUN_PRESENT = 4 | (1 << 11) | (1 << 12);
/** A page to be fetched lazily, in the same form. */
export const RUN_HOLE = 2 | (1 << 11) | (1 << 12);

/** The run is a further piece of the entry before; it was taken out; it has a detail. */
export const RUN_CONTINUES = 1 << 3;
export const RUN_TAKEN = 1 << 4;
export const RUN_DETAIL = 1 << 5;
/** Its payload begins at a page boundary of the pages file. */
export const RUN_ALIGNED = 1 << 13;

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

const u64s = (values: readonly number[]): Uint8Array =>
  Buffer.concat(
    values.map((value) => {
      const bytes = Buffer.alloc(8);
      bytes.writeBigUInt64LE(BigInt(value));
      return bytes;
    }),
  );

/** What a run has beside its columns. */
export interface RunDetailSpec {
  /** Index in its frame. */
  run: number;
  verbatim?: Uint8Array;
  blocks?: readonly number[];
  /** 1 if it is left out and there are blocks. */
  pagesPerBlock?: number | 'none';
}

/** Bytes of payload that runs announce. */
export function payloadOf(
  runs: readonly (readonly [pageNumber: number, pages: number, bits: number])[],
  details: readonly RunDetailSpec[] = [],
): number {
  let bytes = 0;
  for (const [i, [, pages, bits]] of runs.entries()) {
    if ((bits & (RUN_TAKEN | 4)) !== 4) continue;
    const blocks = details.find(({ run }) => run === i)?.blocks;
    bytes += blocks ? blocks.reduce((sum, block) => sum + block, 0) : pages * 4096;
  }
  return bytes;
}

/** Collects a stream; counts and sums up for its end. */
export class StreamWriter {
  private readonly parts: Uint8Array[] = [Buffer.from('PAGEPIPE'), u32(2)];
  private crc = 0;
  private files = 0;
  private spaces = 0;
  private runCount = 0;
  private payloadBytes = 0;

  header(pageSize = 4096): this {
    return this.frame(1, new Message().int(1, pageSize).int(3, 0o755).finish());
  }

  /** A regular file, with its content. */
  file(name: string, content: string | Uint8Array): this {
    this.files++;
    const bytes = Buffer.from(content);
    this.frame(2, new Message().field(1, name).int(2, 1).int(3, 0o644).int(4, bytes.length).finish());
    return bytes.length > 0 ? this.payload(bytes) : this;
  }

  link(name: string, target: string): this {
    this.files++;
    return this.frame(2, new Message().field(1, name).int(2, 2).int(3, 0o777).field(5, target).finish());
  }

  folder(name: string): this {
    this.files++;
    return this.frame(2, new Message().field(1, name).int(2, 3).int(3, 0o755).finish());
  }

  space(index: number, pagemap: string, pagesId: number): this {
    this.spaces++;
    const head = new Message().int(1, pagesId);
    return this.frame(
      3,
      new Message().int(1, index).field(2, pagemap).int(3, pagesId).field(4, head).int(5, 0o600).int(6, 0o600).finish(),
    );
  }

  /** Areas of private anonymous memory, by page numbers. */
  areas(space: number, areas: readonly (readonly [start: number, end: number])[]): this {
    const words = (value: number) => Buffer.concat(areas.map(() => u32(value)));
    return this.frame(
      4,
      new Message()
        .int(1, space)
        .field(2, u64s(areas.map(([start]) => start)))
        .field(3, u64s(areas.map(([, end]) => end)))
        .field(4, words(0x22))
        .field(5, words(0x201))
        .finish(),
    );
  }

  /** Runs, without their payload. */
  runs(
    space: number,
    runs: readonly (readonly [pageNumber: number, pages: number, bits: number])[],
    details: readonly RunDetailSpec[] = [],
  ): this {
    this.runCount += runs.length;
    this.payloadBytes += payloadOf(runs, details);
    const message = new Message()
      .int(1, space)
      .field(2, u64s(runs.map(([pageNumber]) => pageNumber)))
      .field(3, u64s(runs.map(([, pages]) => pages)))
      .field(4, Buffer.concat(runs.map(([, , bits]) => u32(bits))));
    for (const { run, verbatim, blocks, pagesPerBlock } of details) {
      const detail = new Message().int(1, run);
      if (verbatim) detail.field(2, verbatim);
      if (blocks) detail.field(3, Message.packed(blocks));
      const count = pagesPerBlock ?? (blocks ? 1 : 'none');
      if (count !== 'none') detail.int(4, count);
      message.field(5, detail);
    }
    return this.frame(5, message.finish());
  }

  /** A data frame and its check. */
  payload(bytes: Uint8Array): this {
    return this.data(bytes).check(crc32(bytes));
  }

  data(bytes: Uint8Array): this {
    this.frameHeader(6, bytes.length);
    this.parts.push(bytes);
    return this;
  }

  check(crc: number): this {
    return this.frame(7, new Message().fixed32(1, crc).finish());
  }

  /** Any frame. */
  frame(type: number, body: Uint8Array): this {
    this.frameHeader(type, body.length);
    this.crc = crc32(body, this.crc);
    this.parts.push(body);
    return this;
  }

  /** Bytes as they are; no checksum knows of them. */
  raw(...bytes: Uint8Array[]): this {
    this.parts.push(...bytes);
    return this;
  }

  /** The whole stream, with an end that is right but for what is said here. */
  end(lies: { files?: number; payloadBytes?: number; crc32?: number } = {}): Buffer {
    const body = new Message()
      .int(1, lies.files ?? this.files)
      .int(2, this.spaces)
      .int(3, this.runCount)
      .int(4, lies.payloadBytes ?? this.payloadBytes)
      .fixed32(5, lies.crc32 ?? this.crc)
      .finish();
    return Buffer.concat([...this.parts, u32(8), u32(body.length), body]);
  }

  /** What there is so far. */
  bytes(): Buffer {
    return Buffer.concat(this.parts);
  }

  private frameHeader(type: number, length: number): void {
    const header = Buffer.concat([u32(type), u32(length)]);
    this.crc = crc32(header, this.crc);
    this.parts.push(header);
  }
}
