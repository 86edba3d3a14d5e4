/** The pagemap codec: against protobufjs, for every chunking, and for encodings that nobody writes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { encodePagemapStart, PagemapDecoder, PagemapEncoder } from '../../src/image/pagemap.js';
import { PE_MASK, type RunBatch } from '../../src/memory/runs.js';
import { image, Message } from '../helpers/dump-writer.js';
import { messageType } from '../helpers/message-type.js';
import { FIXTURES, fixture } from '../helpers/temp.js';

const entryType = messageType('criu.pagemap_entry');
const HEAD = new Message().int(1, 1);

function decodeAll(bytes: Uint8Array, chunkBytes = bytes.length): { decoder: PagemapDecoder; batches: RunBatch[] } {
  const decoder = new PagemapDecoder(4096, 'pagemap-1.img');
  const batches: RunBatch[] = [];
  for (let at = 0; at < bytes.length; at += chunkBytes) {
    const runs = decoder.push(bytes.subarray(at, at + chunkBytes));
    if (runs) batches.push(runs);
  }
  decoder.end();
  return { decoder, batches };
}

function encodeAll(head: Uint8Array, batches: RunBatch[]): Buffer {
  const encoder = new PagemapEncoder(4096);
  return Buffer.concat([encodePagemapStart(head), ...batches.map((runs) => Buffer.from(encoder.encode(runs)))]);
}

const errorOf = (action: () => unknown): DumpError => {
  try {
    action();
  } catch (error) {
    if (error instanceof DumpError) return error;
    throw error;
  }
  throw new Error('expected a DumpError');
};

/** Entries as any writer might encode them: all fields may be absent, in any order, more than once. */
const anyEntries = fc
  .array(
    fc.record({
      pages: fc.integer({ min: 1, max: 300 }),
      gap: fc.integer({ min: 0, max: 2 ** 30 }),
      inParent: fc.option(fc.boolean()),
      flags: fc.option(fc.integer({ min: 0, max: 7 })),
      counts: fc.constantFrom('old', 'new', 'both', 'odd'),
      shuffle: fc.boolean(),
      twice: fc.boolean(),
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map((specs) => {
    let page = 0;
    return specs.map(({ pages, gap, inParent, flags, counts, shuffle, twice }) => {
      page += gap;
      const fields: [number, number | bigint | boolean][] = [[1, BigInt(page) * 4096n]];
      page += pages;
      fields.push([2, counts === 'new' ? 0 : counts === 'odd' ? pages + 1 : pages]);
      if (inParent !== null) fields.push([3, inParent]);
      if (flags !== null) fields.push([4, flags]);
      if (counts !== 'old') fields.push([5, pages]);
      if (shuffle) fields.reverse();
      if (twice) fields.push(fields[0] as (typeof fields)[0]);
      return fields.reduce((message, [field, value]) => message.int(field, value), new Message());
    });
  });

describe('the decoder', () => {
  it('reads what protobufjs reads, by the rule over all generations', () => {
    fc.assert(
      fc.property(anyEntries, (entries) => {
        const { batches } = decodeAll(image('PAGEMAP', [HEAD, ...entries]));
        const [runs] = batches as [RunBatch];
        entries.forEach((entry, i) => {
          const decoded = entryType.decode(entry.finish());
          const { vaddr, compat_nr_pages, in_parent, flags, nr_pages } = entryType.toObject(decoded, {
            longs: String,
          }) as {
            vaddr: string;
            compat_nr_pages: number;
            in_parent?: boolean;
            flags?: number;
            nr_pages?: string;
          };
          expect(BigInt(runs.pageNumbers[i] as number) * 4096n).toBe(BigInt(vaddr));
          expect(runs.pages[i]).toBe(Number(nr_pages ?? compat_nr_pages));
          expect((runs.bits[i] as number) & PE_MASK).toBe(in_parent ? (flags ?? 0) | 1 : (flags ?? 4));
        });
      }),
    );
  });

  it('gives back the same bytes, however they were encoded, for every chunking', () => {
    fc.assert(
      fc.property(anyEntries, fc.integer({ min: 1, max: 100 }), (entries, chunkBytes) => {
        const bytes = image('PAGEMAP', [HEAD, ...entries]);
        const { decoder, batches } = decodeAll(bytes, chunkBytes);
        expect(encodeAll(decoder.head as Uint8Array, batches).equals(bytes)).toBe(true);
      }),
    );
  });

  it.each(FIXTURES)('gives back the pagemaps of %s', (name) => {
    for (const file of ['pagemap-15.img', 'pagemap-19.img', 'pagemap-62.img']) {
      let bytes: Buffer;
      try {
        bytes = readFileSync(join(fixture(name), file));
      } catch {
        continue;
      }
      for (const chunkBytes of [1, 2, 3, 5, 4095, 4096]) {
        const { decoder, batches } = decodeAll(bytes, chunkBytes);
        expect(encodeAll(decoder.head as Uint8Array, batches).equals(bytes)).toBe(true);
      }
    }
  });

  it('reads addresses and counts up to the end of the address space', () => {
    const top = 0xffff_ffff_ffff_f000n;
    const { batches } = decodeAll(image('PAGEMAP', [HEAD, new Message().int(1, top).int(2, 0).int(4, 4).int(5, 1)]));
    expect(batches[0]?.pageNumbers[0]).toBe(2 ** 52 - 1);
    const beyond = image('PAGEMAP', [HEAD, new Message().int(1, top).int(2, 2)]);
    expect(errorOf(() => decodeAll(beyond)).code).toBe('MALFORMED');
  });

  it('rejects every cut inside an entry', () => {
    const bytes = image('PAGEMAP', [HEAD, new Message().int(1, 4096).int(2, 3).int(4, 4)]);
    const ends = [bytes.length, 8 + 4 + 2];
    for (let cut = 0; cut < bytes.length; cut++) {
      if (ends.includes(cut)) continue;
      expect(errorOf(() => decodeAll(bytes.subarray(0, cut), 7)).code, `cut at ${cut}`).toBe('TRUNCATED');
    }
  });

  it.each([
    ['an unknown field', new Message().int(1, 4096).int(2, 1).int(9, 1), 'UNSUPPORTED', /field 9/],
    ['PAYLOAD_ALIGNED', new Message().int(1, 4096).int(2, 1).int(4, 12), 'UNSUPPORTED', /PE_PAYLOAD_ALIGNED/],
    ['no address', new Message().int(2, 1), 'MALFORMED', /field 1 \(vaddr\)/],
    ['no count', new Message().int(1, 4096).int(5, 1), 'MALFORMED', /field 2/],
    ['no pages', new Message().int(1, 4096).int(2, 0), 'MALFORMED', /at least one page/],
    [
      '2^60 pages',
      new Message()
        .int(1, 0)
        .int(2, 0)
        .int(5, 2n ** 60n),
      'MALFORMED',
      /at most/,
    ],
    ['an unaligned address', new Message().int(1, 4097).int(2, 1), 'MALFORMED', /aligned to 4096/],
    ['a varint that does not end', Uint8Array.of(0x08, 0xff), 'MALFORMED', /varint/],
    ['another wire type', new Message().int(1, 4096).int(2, 1).field(4, 'x'), 'MALFORMED', /wire type 2/],
    [
      'fewer blocks than pages',
      new Message()
        .int(1, 4096)
        .int(2, 0)
        .int(4, 4)
        .int(5, 2)
        .field(6, Message.packed([4096]))
        .int(7, 4096),
      'MALFORMED',
      /2 compressed blocks/,
    ],
    [
      'a wrong sum of blocks',
      new Message()
        .int(1, 4096)
        .int(2, 0)
        .int(4, 4)
        .int(5, 1)
        .field(6, Message.packed([40]))
        .int(7, 41),
      'MALFORMED',
      /total_compressed_size 40/,
    ],
    [
      'a block that is longer than its pages',
      new Message()
        .int(1, 4096)
        .int(2, 0)
        .int(4, 4)
        .int(5, 1)
        .field(6, Message.packed([4097]))
        .int(7, 4097),
      'MALFORMED',
      /at most 4096/,
    ],
    [
      'blocks of 8 MiB',
      new Message()
        .int(1, 4096)
        .int(2, 0)
        .int(4, 4)
        .int(5, 1)
        .field(6, Message.packed([0]))
        .int(7, 0)
        .int(8, 2048),
      'MALFORMED',
      /at most 4194304/,
    ],
  ] as [string, Message | Uint8Array, string, RegExp][])('refuses %s', (_, entry, code, text) => {
    const error = errorOf(() => decodeAll(image('PAGEMAP', [HEAD, entry])));
    expect(error.code).toBe(code);
    expect(error.message).toMatch(text);
    expect(error).toMatchObject({ file: 'pagemap-1.img', entry: 0, offset: 18 });
  });

  it('keeps compressed entries as they are, packed or not', () => {
    const packed = new Message()
      .int(1, 4096)
      .int(2, 0)
      .int(4, 4)
      .int(5, 2)
      .field(6, Message.packed([0, 100]))
      .int(7, 100);
    const single = new Message().int(1, 65536).int(2, 0).int(4, 4).int(5, 2).int(6, 4096).int(6, 7).int(7, 4103);
    const bytes = image('PAGEMAP', [HEAD, packed, single]);
    const { decoder, batches } = decodeAll(bytes);
    expect(batches[0]?.payloadBytes).toBe(4203);
    expect(encodeAll(decoder.head as Uint8Array, batches).equals(bytes)).toBe(true);
  });
});
