// A dump as criu-image-streamer captures it from CRIU: the pages of a task far ahead of the entries that describe them, and
// its mm image behind both. A shard is a file or, as -, stdout.
//
//   node bench/capture.mjs DUMP SHARD...
import { closeSync, fstatSync, openSync, readdirSync, readSync, writeSync } from 'node:fs';
import { join } from 'node:path';

/** What a pipe of CRIU's holds. */
const PIECE_BYTES = 64 * 1024;
/** CRIU writes a pagemap in pieces of this size. */
const PAGEMAP_PIECE_BYTES = 4096;
/** How far pages were before their entries in real captures. */
const AHEAD_BYTES = 250 * 2 ** 20;
/** Magics and the size of the head, and then its only field, the number in the name of the pages file. */
const PAGES_ID_AT = 13;
/** What comes when all tasks have been dumped. */
const LAST = ['pstree.img', 'files.img', 'inventory.img', 'seccomp.img'];
/** Tags of a marker's fields. */
const TAG = { SEQ: 0x08, NAME: 0x12, DATA: 0x18, FILE_END: 0x20, IMAGE_END: 0x28 };

const [dump, ...places] = process.argv.slice(2);
const shards = places.map((place) => (place === '-' ? 1 : openSync(place, 'wx', 0o600)));
const piece = Buffer.alloc(PIECE_BYTES);
let seq = 0;
let current;

const names = new Set(readdirSync(dump));
const pagemaps = [...names].filter((name) => name.startsWith('pagemap-'));
for (const name of pagemaps) {
  const pagemap = open(name);
  const pages = open(`pages-${pagesIdOf(pagemap)}.img`);
  while (send(pages, AHEAD_BYTES, PIECE_BYTES)) send(pagemap, PAGEMAP_PIECE_BYTES, PAGEMAP_PIECE_BYTES);
  finish(pages);
  while (send(pagemap, PAGEMAP_PIECE_BYTES, PAGEMAP_PIECE_BYTES));
  finish(pagemap);
  for (const kind of ['mm', 'ids', 'core', 'fs']) whole(name.replace('pagemap', kind));
}
for (const name of [...names].filter((other) => !LAST.includes(other))) whole(name);
for (const name of LAST) whole(name);
put(TAG.IMAGE_END, 1);

function open(name) {
  names.delete(name);
  return { name, fd: openSync(join(dump, name), 'r'), at: 0 };
}

function finish({ name, fd }) {
  makeCurrent(name);
  put(TAG.FILE_END, 1);
  closeSync(fd);
}

function whole(name) {
  if (!names.has(name)) return;
  const file = open(name);
  send(file, fstatSync(file.fd).size, PIECE_BYTES);
  finish(file);
}

/** Sends up to this many bytes of a file; returns whether there were any. */
function send(file, most, pieceBytes) {
  let left = most;
  for (let count = 1; left > 0 && count > 0; left -= count) {
    count = readSync(file.fd, piece, 0, Math.min(pieceBytes, left), file.at);
    file.at += count;
    if (count === 0) break;
    makeCurrent(file.name);
    put(TAG.DATA, count, piece.subarray(0, count));
  }
  return left < most;
}

function pagesIdOf({ fd }) {
  const id = Buffer.alloc(1);
  readSync(fd, id, 0, 1, PAGES_ID_AT);
  return id[0];
}

function makeCurrent(name) {
  if (name !== current) put(TAG.NAME, name.length, undefined, Buffer.from(name));
  current = name;
}

/** A marker and the bytes after it, to one shard after the other. */
function put(tag, value, data, text = Buffer.alloc(0)) {
  const message = Buffer.concat([
    Buffer.from([...(seq > 0 ? [TAG.SEQ, ...varint(seq)] : []), tag, ...varint(value)]),
    text,
  ]);
  const size = Buffer.alloc(4);
  size.writeUInt32LE(message.length);
  let rest = Buffer.concat(data ? [size, message, data] : [size, message]);
  const fd = shards[seq++ % shards.length];
  while (rest.length > 0) rest = rest.subarray(writeSync(fd, rest));
}

function varint(value) {
  const bytes = [];
  let rest = value;
  for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 128);
  return [...bytes, rest];
}
