// Makes dumps that cannot be had here otherwise of one that was: the kernel may not track memory, and the CRIU of a
// release may be too old to compress, or built without LZ4.
//
//   node variants.mjs chain DUMP OUT       OUT/3, whose pages are partly in its parent OUT/2, and partly in that one's, OUT/1
//   node variants.mjs compress DUMP OUT    the pages in blocks as CRIU 4.3 has them, of one page in some entries and of 64 in others
import {
  cpSync,
  createReadStream,
  createWriteStream,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { argv } from 'node:process';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { compressSync } from 'lz4-napi';
import chain from 'stream-chain';
import { decodeImage, encodeImage } from '../dist/images.js';
import { RUN_BITS } from '../dist/index.js';

const PAGE = 4096;
/** In a block of CRIU's usual size. */
const BLOCK_PAGES = 64;
/** PE_PAYLOAD_ALIGNED, as an image has it. */
const ALIGNED_FLAG = 8;

/** The parts of an image. */
const { PE_PARENT, PE_PRESENT } = RUN_BITS;
const readImage = (path) => chain([createReadStream(path), decodeImage()]).toArray();

const writeImage = (path, parts) => pipeline(Readable.from(parts), chain([encodeImage()]), createWriteStream(path));

/** The same image with other entries: `change` makes none, one or several of each. The head of a pagemap stays. */
async function rewrite(from, to, change) {
  const parts = await readImage(from);
  const rewritten = parts.flatMap((part) =>
    part.type === 'entry' && part.message !== 'pagemap_head'
      ? change(part.entry).map((entry) => ({ ...part, entry, raw: undefined }))
      : [part],
  );
  await writeImage(to, rewritten);
}

const pagesOf = ({ nr_pages, compat_nr_pages }) => Number(nr_pages ?? compat_nr_pages);
/** Counts are in another field since CRIU 4.2. */
const withPages = (entry, pages) =>
  entry.nr_pages === undefined ? { ...entry, compat_nr_pages: pages } : { ...entry, nr_pages: BigInt(pages) };

/** Rewrites all pagemaps of tasks, with their pages: `change` is given an entry and its pages, and makes entries and pages. */
async function rewriteMemory(dump, out, change) {
  for (const name of readdirSync(dump).filter((file) => /^pagemap-\d+\.img$/.test(file))) {
    const [, head] = await readImage(join(dump, name));
    const pagesFile = `pages-${head.entry.pages_id}.img`;
    const pages = readFileSync(join(dump, pagesFile));
    const parts = [];
    let at = 0;
    await rewrite(join(dump, name), join(out, name), (entry) => {
      const size = entry.flags & PE_PRESENT ? pagesOf(entry) * PAGE : 0;
      at += size;
      const changed = change(entry, pages.subarray(at - size, at), name);
      parts.push(...changed.map(({ bytes }) => bytes));
      return changed.map((piece) => piece.entry);
    });
    writeFileSync(join(out, pagesFile), Buffer.concat(parts));
  }
}

/** Entries whose pages are of three kinds by turns: here, in the parent, in the parent's parent. */
async function makeChain(dump, out) {
  for (const level of [1, 2, 3]) {
    const directory = join(out, String(level));
    mkdirSync(directory, { recursive: true });
    // A parent is a pre-dump: it holds memory and an inventory.
    if (level === 3) cpSync(dump, directory, { recursive: true });
    else cpSync(join(dump, 'inventory.img'), join(directory, 'inventory.img'));
    if (level > 1) symlinkSync(`../${level - 1}`, join(directory, 'parent'));
    await rewriteMemory(dump, directory, (entry, pages) => {
      const pieces = [];
      for (let i = 0; i < pagesOf(entry); i++) {
        const vaddr = BigInt(entry.vaddr) + BigInt(i * PAGE);
        // Some runs of several pages, some of one.
        const home = 1 + (Number((vaddr / BigInt(PAGE)) % 7n) % 3);
        if (home > level) continue;
        const flags = home === level ? entry.flags : PE_PARENT;
        const bytes = home === level ? pages.subarray(i * PAGE, (i + 1) * PAGE) : new Uint8Array(0);
        const last = pieces.at(-1);
        const end = last && last.entry.vaddr + BigInt(pagesOf(last.entry) * PAGE);
        if (end === vaddr && last.entry.flags === flags) {
          last.entry = withPages(last.entry, pagesOf(last.entry) + 1);
          last.bytes = Buffer.concat([last.bytes, bytes]);
        } else {
          pieces.push({ entry: withPages({ ...entry, vaddr, flags }, 1), bytes });
        }
      }
      return pieces;
    });
  }
}

async function compress(dump, out) {
  cpSync(dump, out, { recursive: true });
  const count = { lz4: 0, raw: 0, zero: 0, padding: 0 };
  let entries = 0;
  let end = 0;
  let pagemap;
  await rewriteMemory(dump, out, (entry, pages, name) => {
    if (name !== pagemap) end = 0;
    pagemap = name;
    if (!(entry.flags & PE_PRESENT)) return [{ entry, bytes: pages }];
    const pagesPerBlock = entries++ % 2 ? 1 : BLOCK_PAGES;
    const blocks = [];
    let first;
    for (let at = 0; at < pages.length; at += pagesPerBlock * PAGE) {
      const plain = pages.subarray(at, at + pagesPerBlock * PAGE);
      // The library puts the plain size before the block. Where it is not worth it, CRIU stores a block as it is.
      const packed = compressSync(plain).subarray(4);
      const kind = plain.every((byte) => byte === 0) ? 'zero' : packed.length < (plain.length * 7) / 8 ? 'lz4' : 'raw';
      count[kind]++;
      if (kind !== 'zero') first ??= kind;
      blocks.push({ zero: new Uint8Array(0), lz4: packed, raw: plain }[kind]);
    }
    const isAligned = first === 'raw';
    const padding = new Uint8Array(isAligned ? -end & (PAGE - 1) : 0);
    const payload = Buffer.concat(blocks);
    end += padding.length + payload.length;
    count.padding += padding.length;
    return [
      {
        entry: {
          vaddr: entry.vaddr,
          compat_nr_pages: 0,
          flags: entry.flags | (isAligned ? ALIGNED_FLAG : 0),
          nr_pages: BigInt(pagesOf(entry)),
          blocks: {
            block_sizes: blocks.map((block) => block.length),
            total_payload_size: BigInt(payload.length),
            pages_per_block: pagesPerBlock,
          },
        },
        bytes: Buffer.concat([padding, payload]),
      },
    ];
  });
  await rewrite(join(dump, 'inventory.img'), join(out, 'inventory.img'), (entry) => [
    { ...entry, img_version: 3, compress: 1, compress_block_size: BLOCK_PAGES * PAGE },
  ]);
  console.log('blocks:', JSON.stringify(count));
}

const [, , how, dump, out] = argv;
await { chain: makeChain, compress }[how](dump, out);
