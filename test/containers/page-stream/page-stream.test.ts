/** The page stream: what goes in comes out, however it is cut, through stream-chain as well. */

import { readdirSync } from 'node:fs';
import { dirname } from 'node:path';
import { type Duplex, PassThrough, Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import fc from 'fast-check';
import chain from 'stream-chain';
import { describe, expect, it } from 'vitest';
import { DirectoryFiles } from '../../../src/containers/directory/files.js';
import { DirectorySink } from '../../../src/containers/directory/write.js';
import { PageStreamDecoder } from '../../../src/containers/page-stream/decoder.js';
import { PageStreamEncoder } from '../../../src/containers/page-stream/encoder.js';
import { decodePageStream, encodePageStream, sinkStream } from '../../../src/containers/page-stream/stream.js';
import { Dump } from '../../../src/dump/dump.js';
import { pump } from '../../../src/dump/pump.js';
import type { DumpRecord, Space } from '../../../src/dump/records.js';
import {
  CONTINUES,
  COUNT_IN_FIELD_2,
  HAS_FLAGS,
  PE_PRESENT,
  type RunBatch,
  RunBuilder,
  runPayloadBytes,
} from '../../../src/memory/runs.js';
import { classify } from '../../../src/stages/classify.js';
import { DROP_LAZY, filter } from '../../../src/stages/filter.js';
import { rebuild } from '../../../src/stages/rebuild.js';
import { describeTree, FIXTURES, fixture, tempDir } from '../../helpers/temp.js';

type Writable = Exclude<DumpRecord, { type: 'extents' }>;

const SPACE: Space = {
  index: 0,
  kind: 'task',
  pid: 5,
  pagemap: 'pagemap-5.img',
  pagesId: 1,
  head: Uint8Array.of(8, 1),
  pagemapMode: 0o640,
  pagesMode: 0o600,
};

function encode(records: Writable[]): Buffer {
  const parts: Uint8Array[] = [];
  const encoder = new PageStreamEncoder((bytes) => parts.push(bytes.slice()));
  for (const record of records) encoder.write(record);
  return Buffer.concat(parts);
}

/** Decodes in chunks, in one buffer that is overwritten, as a pipe is read. */
function decode(bytes: Buffer, chunkBytes: number): DumpRecord[] {
  const decoder = new PageStreamDecoder();
  const records: DumpRecord[] = [];
  /** Payload that belongs together, in as many pieces as it came. */
  let pieces: Uint8Array[] = [];
  const join = () => {
    if (pieces.length > 0) records.push({ type: 'bytes', bytes: Uint8Array.from(Buffer.concat(pieces)) });
    pieces = [];
  };
  const buffer = Buffer.alloc(chunkBytes);
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const chunk = buffer.subarray(0, bytes.copy(buffer, 0, at, at + chunkBytes));
    for (const record of decoder.push(chunk)) {
      if (record.type === 'bytes') pieces.push(record.bytes.slice());
      else {
        join();
        records.push(record);
      }
    }
    buffer.fill(0xee);
  }
  decoder.end();
  join();
  return records;
}

/** A batch with every kind of detail. */
const anyRuns = fc
  .array(
    fc.record({
      gap: fc.integer({ min: 0, max: 9 }),
      pages: fc.integer({ min: 1, max: 4 }),
      detail: fc.constantFrom(undefined, 'verbatim', 'compressed'),
      continues: fc.boolean(),
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map((specs): RunBatch => {
    const runs = new RunBuilder(4096, 1);
    let next = 2 ** 40;
    for (const { gap, pages, detail, continues } of specs) {
      next += gap;
      const bits = PE_PRESENT | COUNT_IN_FIELD_2 | HAS_FLAGS | (continues ? CONTINUES : 0);
      const blockBytes = Uint32Array.from({ length: Math.ceil(pages / 2) }, (_, i) => i * 300);
      runs.push(
        next,
        pages,
        bits,
        {
          undefined: undefined,
          verbatim: { verbatim: Uint8Array.of(1, 2, 3) },
          compressed: { verbatim: Uint8Array.of(4), compressed: { blockBytes, pagesPerBlock: 2 } },
        }[String(detail) as 'undefined'],
      );
      next += pages;
    }
    return runs.finish();
  });

const frame = (runs: RunBatch): Writable[] => [
  { type: 'header', pageSize: 4096, march: 1, directoryMode: 0o750, payloadBytes: 7 },
  { type: 'file', kind: 'directory', name: 'sub', mode: 0o700, size: 0, checked: false },
  { type: 'file', kind: 'regular', name: 'sub/empty', mode: 0o600, size: 0, checked: false },
  { type: 'file', kind: 'link', name: 'parent', mode: 0o777, size: 0, target: Buffer.from('../1'), checked: false },
  { type: 'space', space: SPACE },
  { type: 'runs', space: SPACE, runs, checked: false },
  ...(runs.payloadBytes > 0 ? [{ type: 'bytes', bytes: Buffer.alloc(runs.payloadBytes, 'pages') } as const] : []),
  { type: 'end' },
];

describe('the page stream', () => {
  it('gives back every record, for every chunking', () => {
    fc.assert(
      fc.property(anyRuns, fc.constantFrom(1, 2, 3, 5, 4095, 4096, 1 << 20), (runs, chunkBytes) => {
        const records = frame(runs);
        const decoded = decode(encode(records), chunkBytes);
        const withoutChecks = decoded.filter((record) => record.type !== 'check');
        expect(withoutChecks.map((record) => record.type)).toEqual(records.map((record) => record.type));
        const found = withoutChecks.find((record) => record.type === 'runs');
        expect(found?.type === 'runs' && { ...found.runs }).toEqual({ ...runs });
        expect(encode(decoded as Writable[]).equals(encode(records))).toBe(true);
      }),
      { numRuns: 25 },
    );
  });

  it('needs no bytes behind a frame to see that it is whole', () => {
    const runs = new RunBuilder(4096, 1);
    for (let i = 0; i < 100; i++) runs.push(2 * i, 1, COUNT_IN_FIELD_2 | HAS_FLAGS);
    const pieces: Uint8Array[] = [];
    const encoder = new PageStreamEncoder((bytes) => pieces.push(bytes.slice()));
    for (const record of frame(runs.finish())) encoder.write(record);
    const decoder = new PageStreamDecoder();
    // The encoder hands out headers and bodies by turns: a large frame, then a small one that ends the stream.
    const types = pieces.flatMap((piece) => [...decoder.push(piece)].map((record) => record.type));
    decoder.end();
    expect(types).toEqual(['header', 'file', 'file', 'file', 'space', 'runs', 'end']);
  });

  it('carries a batch of any size in frames of bounded size, each with its own payload', () => {
    const runs = new RunBuilder(4096, 1);
    const count = 40_000;
    for (let i = 0; i < count; i++)
      runs.push(2 * i, 1, COUNT_IN_FIELD_2 | HAS_FLAGS | (i % 1000 === 0 ? PE_PRESENT : 0));
    const batch = runs.finish();
    const decoded = decode(encode(frame(batch)), 65536);
    const frames = decoded.filter((record) => record.type === 'runs');
    expect(frames.length).toBe(3);
    expect(frames.flatMap(({ runs: part }) => [...part.pageNumbers])).toEqual([...batch.pageNumbers]);
    const payload = Buffer.concat(decoded.flatMap((record) => (record.type === 'bytes' ? [record.bytes] : [])));
    expect(payload.equals(Buffer.alloc(batch.payloadBytes, 'pages'))).toBe(true);
    let sum = 0;
    for (let i = 0; i < count; i++) sum += runPayloadBytes(batch, i, 4096);
    expect(sum).toBe(batch.payloadBytes);
  });

  it('finds a flipped bit in the payload at the one who uses it', async () => {
    const runs = new RunBuilder(4096, 1);
    runs.push(1, 1, PE_PRESENT | COUNT_IN_FIELD_2);
    const bytes = encode(frame(runs.finish()));
    const at = bytes.indexOf('pagespages');
    bytes[at] = (bytes[at] as number) ^ 1;
    const out = `${tempDir()}/out`;
    await expect(pump(decode(bytes, 4096), [], new DirectorySink(out))).rejects.toThrow(
      'pages-1.img: the payload does not match its checksum',
    );
  });
});

describe('as stages of stream-chain', () => {
  it.each(FIXTURES)('make of %s what pump makes of it', async (name) => {
    const dir = tempDir();
    const dump = await Dump.open(new DirectoryFiles(fixture(name)));
    await pump(dump.records(), [classify(), filter(DROP_LAZY), rebuild()], new DirectorySink(`${dir}/pumped`));

    const bytes = new PassThrough();
    const sending = pipeline(Readable.from(dump.records()), chain([encodePageStream()]), bytes);
    const records = chain([decodePageStream(), classify(), filter(DROP_LAZY), rebuild()]);
    const receiving = pipeline(bytes, records as Duplex, sinkStream(new DirectorySink(`${dir}/chained`)));
    await Promise.all([sending, receiving]);
    dump.close();
    expect(describeTree(`${dir}/chained`)).toEqual(describeTree(`${dir}/pumped`));
  });

  it('say so when the stream is cut', async () => {
    const dump = await Dump.open(new DirectoryFiles(fixture('mosaic-criu-4.2.1')));
    const parts: Uint8Array[] = [];
    const encoded = Readable.from(dump.records()).pipe(chain([encodePageStream()]) as Duplex);
    for await (const part of encoded) parts.push(part as Uint8Array);
    dump.close();
    const bytes = Buffer.concat(parts);
    const out = `${tempDir()}/out`;
    const sink = sinkStream(new DirectorySink(out));
    const cut = pipeline(
      Readable.from([bytes.subarray(0, bytes.length - 1)]),
      chain([decodePageStream()]) as Duplex,
      sink,
    );
    await expect(cut).rejects.toThrow(
      'stream@0xccce1: expected more frames and an end, found the end of the input: the stream was cut',
    );
    if (!sink.closed) await new Promise((resolve) => sink.once('close', resolve));
    expect(readdirSync(dirname(out))).toEqual([]);
  });
});
