/** The pagemap codec: against protobufjs, for every chunking, and for encodings that nobody writes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DumpError } from '../../src/errors.js';
import { encodePagemapStart, PagemapDecoder, PagemapEncoder } from '../../src/image/pagemap.js';
import { detailOf, PAYLOAD_ALIGNED, PE_MASK, type RunBatch } from '../../src/memory/runs.js';
import { image, Message, PE, pagemapBlocks } from '../helpers/dump-writer.js';
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

/** An entry of CRIU 4.2 on. */
const present = (pages: number | bigint, flags: number = PE.PRESENT): Message =>
  new Message().int(1, 4096).int(2, 0).int(4, flags).int(5, pages);

/** Blocks whose numbers need not fit each other. */
const blocks = (sizes: readonly number[], total: number | bigint, pagesPerBlock: number | bigint): Message =>
  new Message().field(1, Message.packed(sizes)).int(2, total).int(3, pagesPerBlock);

const unreleased = (what: string): string =>
  `expected compressed pages in the layout of CRIU 4.3, found ${what} of an earlier one, which no release of CRIU had`;

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
      flags: fc.option(fc.integer({ min: 0, max: 15 })),
      counts: fc.constantFrom('old', 'new', 'both', 'odd'),
      shuffle: fc.boolean(),
      twice: fc.boolean(),
      blocks: fc.option(fc.record({ pagesPerBlock: fc.integer({ min: 1, max: 5 }), size: fc.nat(4096) })),
    }),
    { minLength: 1, maxLength: 30 },
  )
  .map((specs) => {
    let page = 0;
    return specs.map(({ pages, gap, inParent, flags: any, counts, shuffle, twice, blocks }) => {
      page += gap;
      // Only what is present can be aligned.
      const flags = any !== null && any & PE.PRESENT ? any : any && any & PE_MASK;
      const fields: [number, number | bigint | boolean][] = [[1, BigInt(page) * 4096n]];
      page += pages;
      fields.push([2, counts === 'new' ? 0 : counts === 'odd' ? pages + 1 : pages]);
      if (inParent !== null) fields.push([3, inParent]);
      if (flags !== null) fields.push([4, flags]);
      if (counts !== 'old') fields.push([5, pages]);
      if (shuffle) fields.reverse();
      if (twice) fields.push(fields[0] as (typeof fields)[0]);
      const message = fields.reduce((so, [field, value]) => so.int(field, value), new Message());
      // All of a size that fits a short last block, too.
      const sizes = blocks && Array<number>(Math.ceil(pages / blocks.pagesPerBlock)).fill(blocks.size);
      return blocks && sizes && (flags ?? (inParent ? 0 : PE.PRESENT)) & PE.PRESENT
        ? message.field(6, pagemapBlocks(sizes, blocks.pagesPerBlock))
        : message;
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
          const { vaddr, compat_nr_pages, in_parent, flags, nr_pages, blocks } = entryType.toObject(decoded, {
            longs: String,
          }) as {
            vaddr: string;
            compat_nr_pages: number;
            in_parent?: boolean;
            flags?: number;
            nr_pages?: string;
            blocks?: { block_sizes: number[]; pages_per_block: number };
          };
          expect(BigInt(runs.pageNumbers[i] as number) * 4096n).toBe(BigInt(vaddr));
          expect(runs.pages[i]).toBe(Number(nr_pages ?? compat_nr_pages));
          const bits = runs.bits[i] as number;
          expect(bits & PE_MASK).toBe((in_parent ? (flags ?? 0) | PE.PARENT : (flags ?? PE.PRESENT)) & PE_MASK);
          expect((bits & PAYLOAD_ALIGNED) !== 0).toBe(((flags ?? 0) & PE.PAYLOAD_ALIGNED) !== 0);
          const found = detailOf(runs, i)?.compressed;
          expect(found && [[...found.blockBytes], found.pagesPerBlock]).toEqual(
            blocks && [blocks.block_sizes, blocks.pages_per_block],
          );
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
    [
      'an unknown field',
      new Message().int(1, 4096).int(2, 1).int(9, 1),
      'UNSUPPORTED',
      'expected known fields only (1 to 6), found field 9, which may move the pages',
    ],
    [
      'an unknown flag',
      present(1, 20),
      'UNSUPPORTED',
      'expected known flags only (PARENT 1, LAZY 2, PRESENT 4, PAYLOAD_ALIGNED 8), found 0x14',
    ],
    [
      'PAYLOAD_ALIGNED of pages that are elsewhere',
      present(1, 10),
      'MALFORMED',
      'expected PAYLOAD_ALIGNED only in an entry that is PRESENT',
    ],
    ['no address', new Message().int(2, 1), 'MALFORMED', 'expected field 1 (vaddr)'],
    ['no count', new Message().int(1, 4096).int(5, 1), 'MALFORMED', 'expected field 2 (nr_pages)'],
    ['no pages', new Message().int(1, 4096).int(2, 0), 'MALFORMED', 'expected at least one page, found 0'],
    [
      '2^53 + 1 pages',
      present(2n ** 53n + 1n),
      'MALFORMED',
      'expected at most 4503599627370496 pages, found 9007199254740993',
    ],
    [
      '2^64 - 1 pages',
      present(2n ** 64n - 1n),
      'MALFORMED',
      'expected at most 4503599627370496 pages, found 18446744073709551615',
    ],
    [
      'an unaligned address',
      new Message().int(1, 4097).int(2, 1),
      'MALFORMED',
      'expected an address aligned to 4096 bytes, found 0x1001',
    ],
    [
      'a varint that does not end',
      Uint8Array.of(0x08, 0xff),
      'MALFORMED',
      'expected a varint, found the end of the message',
    ],
    [
      'another wire type',
      new Message().int(1, 4096).int(2, 1).field(4, 'x'),
      'MALFORMED',
      'expected a varint in field 4, found wire type 2',
    ],
    [
      'fewer blocks than pages',
      present(2).field(6, pagemapBlocks([4096], 1)),
      'MALFORMED',
      'expected 2 compressed blocks for 2 pages, found 1',
    ],
    [
      'no blocks',
      present(1).field(6, pagemapBlocks([], 1)),
      'MALFORMED',
      'expected 1 compressed blocks for 1 pages, found 0',
    ],
    [
      'more blocks than pages',
      present(2).field(6, pagemapBlocks([1, 1, 1], 1)),
      'MALFORMED',
      'expected 2 compressed blocks for 2 pages, found 3',
    ],
    [
      'a wrong sum of blocks',
      present(1).field(6, blocks([40], 41, 1)),
      'MALFORMED',
      'expected total_payload_size 40, the sum of the blocks, found 41',
    ],
    [
      'a sum of 2^64 - 1',
      present(1).field(6, blocks([40], 2n ** 64n - 1n, 1)),
      'MALFORMED',
      'expected total_payload_size 40, the sum of the blocks, found 18446744073709551615',
    ],
    [
      'a sum of 2^53 + 1',
      present(1).field(6, blocks([40], 2n ** 53n + 1n, 1)),
      'MALFORMED',
      'expected total_payload_size 40, the sum of the blocks, found 9007199254740993',
    ],
    [
      'no sum',
      present(1).field(6, new Message().int(1, 40).int(3, 1)),
      'MALFORMED',
      'expected total_payload_size in pagemap_blocks',
    ],
    [
      'no size',
      present(1).field(6, new Message().int(1, 40).int(2, 40)),
      'MALFORMED',
      'expected pages_per_block in pagemap_blocks',
    ],
    [
      'a block that is longer than its pages',
      present(1).field(6, pagemapBlocks([4097], 1)),
      'MALFORMED',
      'expected at most 4096 bytes in block 0, found 4097',
    ],
    [
      'a last block that is longer than its page',
      present(5).field(6, pagemapBlocks([1, 4097], 4)),
      'MALFORMED',
      'expected at most 4096 bytes in block 1, found 4097',
    ],
    [
      'a block of 2^32 + 1 bytes',
      present(1).field(6, blocks([2 ** 32 + 1], 1, 1)),
      'MALFORMED',
      'expected a block of less than 4 GiB',
    ],
    [
      'blocks of 8 MiB',
      present(1).field(6, pagemapBlocks([0], 2048)),
      'MALFORMED',
      'expected blocks of 1 to 1024 pages, found 2048',
    ],
    [
      'blocks of no pages',
      present(1).field(6, pagemapBlocks([0], 0)),
      'MALFORMED',
      'expected blocks of 1 to 1024 pages, found 0',
    ],
    [
      'blocks of 2^64 - 1 pages',
      present(1).field(6, blocks([0], 0, 2n ** 64n - 1n)),
      'MALFORMED',
      'expected blocks of 1 to 1024 pages, found 18446744073709551615',
    ],
    [
      'blocks of 2^53 + 1 pages',
      present(1).field(6, blocks([0], 0, 2n ** 53n + 1n)),
      'MALFORMED',
      'expected blocks of 1 to 1024 pages, found 9007199254740993',
    ],
    [
      'blocks of pages in the parent',
      present(1, 1).field(6, pagemapBlocks([9], 1)),
      'MALFORMED',
      'expected compressed blocks only in an entry that is PRESENT',
    ],
    [
      'blocks twice',
      present(1)
        .field(6, pagemapBlocks([9], 1))
        .field(6, pagemapBlocks([9], 1)),
      'MALFORMED',
      'expected field 6 (blocks) once',
    ],
    [
      'blocks that end in the middle',
      present(1).field(6, Uint8Array.of(0x0a, 5, 1)),
      'MALFORMED',
      'expected a field of at most 1 bytes, found a length of 5',
    ],
    [
      'sizes that end in the middle',
      present(1).field(6, Uint8Array.of(0x0a, 1, 0x80, 0x10, 0)),
      'MALFORMED',
      'expected a varint, found the end of its field',
    ],
    [
      'an unknown field of blocks',
      present(1).field(6, pagemapBlocks([9], 1).int(4, 1)),
      'UNSUPPORTED',
      'expected known fields of pagemap_blocks only (1 to 3), found field 4, which may move the pages',
    ],
    [
      'the layout before 4.3',
      present(2)
        .field(6, Message.packed([0, 100]))
        .int(7, 100),
      'UNSUPPORTED',
      unreleased('field 7'),
    ],
    [
      'the same with field 8',
      present(2)
        .field(6, Message.packed([100]))
        .int(7, 100)
        .int(8, 2),
      'UNSUPPORTED',
      unreleased('field 7'),
    ],
    [
      'the same that is not packed',
      present(2).int(6, 0).int(6, 100).int(7, 100),
      'UNSUPPORTED',
      unreleased('a compressed_size'),
    ],
    ['its field 7 alone', present(2).int(7, 100), 'UNSUPPORTED', unreleased('field 7')],
  ] as [string, Message | Uint8Array, string, string][])('refuses %s', (_, entry, code, text) => {
    const error = errorOf(() => decodeAll(image('PAGEMAP', [HEAD, entry])));
    expect(error.code).toBe(code);
    expect(error.message).toBe(`pagemap-1.img@0x12 entry 0: ${text}`);
    expect(error).toMatchObject({ file: 'pagemap-1.img', entry: 0, offset: 18 });
  });

  it('keeps compressed entries as they are, packed or not and in any order', () => {
    const packed = present(2).field(6, pagemapBlocks([0, 100], 1));
    const single = new Message().field(6, new Message().int(3, 1).int(1, 4096).int(2, 4103).int(1, 7));
    single.int(5, 2).int(4, 12).int(2, 0).int(1, 65536);
    const bytes = image('PAGEMAP', [HEAD, packed, single]);
    const { decoder, batches } = decodeAll(bytes);
    expect(batches[0]?.payloadBytes).toBe(4203);
    expect(encodeAll(decoder.head as Uint8Array, batches).equals(bytes)).toBe(true);
  });

  it('reads what CRIU 4.3 writes, and writes it the same way', () => {
    for (const layout of ['raw', 'page', 'region64k-aligned', 'region256k']) {
      const bytes = readFileSync(fixture(`compressed-criu-4.3/${layout}/pagemap-1001.img`));
      const { decoder, batches } = decodeAll(bytes, 7);
      // Without what was read, the encoder has the columns alone.
      const columns = batches.map((runs) => ({
        ...runs,
        details: new Map([...(runs.details ?? [])].map(([i, { compressed }]) => [i, compressed ? { compressed } : {}])),
      }));
      expect(encodeAll(decoder.head as Uint8Array, columns).equals(bytes), layout).toBe(true);
    }
  });
});
