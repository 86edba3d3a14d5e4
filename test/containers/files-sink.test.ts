/** What sinks have in common: records to files, and to their bytes. */
import { crc32 } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { FilesSink } from '../../src/containers/files-sink.js';
import { pagesName } from '../../src/dump/names.js';
import { pump } from '../../src/dump/pump.js';
import type { DumpRecord, FileRecord, Space } from '../../src/dump/records.js';
import { CONTINUES, COUNT_IN_FIELD_2, HAS_FLAGS, PE_LAZY, PE_PRESENT, RunBuilder } from '../../src/memory/runs.js';

const SHAPE = COUNT_IN_FIELD_2 | HAS_FLAGS;

/** Writes down what it is called with. */
class Recorder extends FilesSink {
  readonly calls: string[] = [];
  readonly files = new Map<string, number>();

  constructor() {
    super({ progress: (bytes) => this.calls.push(`progress ${bytes}`) });
  }

  finish(): void {
    this.calls.push('finish');
  }

  discard(): void {
    this.calls.push('discard');
  }

  protected startFile({ name, kind }: FileRecord): void {
    this.calls.push(`${kind} ${name}`);
  }

  protected fileBytes(bytes: Uint8Array, { name }: FileRecord): void {
    this.add(name, bytes);
  }

  protected endFile({ name }: FileRecord): void {
    this.calls.push(`end ${name}`);
  }

  protected startSpace({ pagemap }: Space): void {
    this.calls.push(`space ${pagemap}`);
  }

  protected pagemapBytes(bytes: Uint8Array, { pagemap }: Space): void {
    this.add(pagemap, bytes);
  }

  protected pagesBytes(bytes: Uint8Array, space: Space): void {
    this.add(pagesName(space), bytes);
  }

  protected endSpace({ pagemap }: Space): void {
    this.calls.push(`end ${pagemap}`);
  }

  protected end(): void {
    this.calls.push('end');
  }

  private add(name: string, bytes: Uint8Array): void {
    this.files.set(name, (this.files.get(name) ?? 0) + bytes.length);
  }
}

const spaceOf = (index: number): Space => ({
  index,
  kind: 'task',
  pid: index + 1,
  pagemap: `pagemap-${index + 1}.img`,
  pagesId: index + 1,
  head: Uint8Array.of(8, index + 1),
  pagemapMode: 0o600,
  pagesMode: 0o600,
});

function runsOf(
  space: Space,
  checked: boolean,
  ...runs: [pageNumber: number, pages: number, bits: number][]
): DumpRecord {
  const builder = new RunBuilder(4096);
  for (const [pageNumber, pages, bits] of runs) builder.push(pageNumber, pages, bits | SHAPE);
  return { type: 'runs', space, runs: builder.finish(), checked };
}

const HEADER: DumpRecord = { type: 'header', pageSize: 4096, directoryMode: 0o700 };
const END: DumpRecord = { type: 'end' };
const fileOf = (name: string, size: number): DumpRecord => ({
  type: 'file',
  kind: 'regular',
  name,
  mode: 0o600,
  size,
  checked: false,
});
const payload = (bytes: number): DumpRecord => ({ type: 'bytes', bytes: Buffer.alloc(bytes, 7) });

async function record(...records: DumpRecord[]): Promise<Recorder> {
  const sink = new Recorder();
  await pump(records, [], sink);
  return sink;
}

describe('records become', () => {
  it('files one after the other, and spaces in their order, those without runs empty', async () => {
    const [first, second, third] = [0, 1, 2].map(spaceOf) as [Space, Space, Space];
    const sink = await record(
      HEADER,
      fileOf('a', 3),
      payload(1),
      payload(2),
      { type: 'space', space: first },
      { type: 'space', space: second },
      { type: 'space', space: third },
      runsOf(second, false, [1, 1, PE_PRESENT]),
      payload(4096),
      fileOf('b', 0),
      runsOf(second, false, [5, 1, PE_PRESENT]),
      payload(4096),
      END,
    );
    expect(sink.calls).toEqual([
      ...['regular a', 'progress 1', 'progress 2', 'end a'],
      ...['space pagemap-1.img', 'end pagemap-1.img'],
      ...['space pagemap-2.img', 'progress 4096', 'regular b', 'end b', 'progress 4096', 'end pagemap-2.img'],
      ...['space pagemap-3.img', 'end pagemap-3.img'],
      ...['end', 'finish'],
    ]);
    const empty = 12 + first.head.length;
    expect(Object.fromEntries(sink.files)).toEqual({
      a: 3,
      'pagemap-1.img': empty,
      'pagemap-2.img': expect.any(Number),
      'pages-2.img': 8192,
      'pagemap-3.img': empty,
    });
  });

  it('pagemaps whose entries are whole, and holes that are counted', async () => {
    const space = spaceOf(0);
    const whole = await record(HEADER, { type: 'space', space }, runsOf(space, false, [1, 5, PE_LAZY]), END);
    const cut = await record(
      HEADER,
      { type: 'space', space },
      runsOf(space, false, [1, 2, PE_LAZY], [3, 1, PE_LAZY | CONTINUES]),
      runsOf(space, false, [4, 2, PE_LAZY | CONTINUES]),
      END,
    );
    expect(cut.files.get('pagemap-1.img')).toBe(whole.files.get('pagemap-1.img'));
    expect([whole.holePages, cut.holePages]).toEqual([5, 5]);
  });

  it('nothing, if the payload is not that of its checksum', async () => {
    const space = spaceOf(0);
    const pages = runsOf(space, true, [1, 1, PE_PRESENT]);
    const check = (crc: number): DumpRecord => ({ type: 'check', crc32: crc });
    const records = [HEADER, { type: 'space', space } as const, pages, payload(4096)];
    const right = crc32(Buffer.alloc(4096, 7));
    await expect(record(...records, check(right), END)).resolves.toBeInstanceOf(Recorder);
    const sink = new Recorder();
    const wrong = pump([...records, check(right ^ 1), END], [], sink);
    await expect(wrong).rejects.toThrow('pages-1.img: the payload does not match its checksum');
    expect(sink.calls.at(-1)).toBe('discard');
  });

  it('an error of ours, if they are in no order', async () => {
    const space = spaceOf(0);
    await expect(record(HEADER, payload(1))).rejects.toThrow('payload follows a file or runs');
    await expect(record(HEADER, fileOf('a', 2), payload(1), END)).rejects.toThrow(
      'payload is complete before the next record',
    );
    await expect(record(HEADER, runsOf(space, false, [1, 1, PE_LAZY]))).rejects.toThrow('runs follow their space');
    await expect(record({ type: 'space', space }, END)).rejects.toThrow('the header comes first');
  });
});
