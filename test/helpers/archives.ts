/** Archives by GNU tar or by hand, and shards as criu-image-streamer writes them, made without the code under test. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { lstatSync, readdirSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { Message } from './dump-writer.js';

/** Runs GNU tar in a folder. */
export const tar = (folder: string, ...words: string[]): Buffer =>
  execFileSync('tar', ['-C', folder, ...words], { stdio: ['ignore', 'pipe', 'pipe'], maxBuffer: 2 ** 28 });

/** A file of shards: what one marker says, and the bytes behind it. */
export function marker(seq: number, body: { name: string } | { data: Uint8Array } | 'fileEnd' | 'imageEnd'): Buffer {
  const message = new Message();
  if (seq > 0) message.int(1, seq);
  if (body === 'fileEnd') message.int(4, true);
  else if (body === 'imageEnd') message.int(5, true);
  else if ('name' in body) message.field(2, body.name);
  else message.int(3, body.data.length);
  const bytes = message.finish();
  const size = Buffer.alloc(4);
  size.writeUInt32LE(bytes.length);
  return Buffer.concat([size, bytes, typeof body === 'object' && 'data' in body ? body.data : new Uint8Array(0)]);
}

export interface ShardOptions {
  /** Which of so many things comes next. */
  pick?: (count: number) => number;
  /** Bytes of the next piece of data, at most. */
  piece?: () => number;
  shards?: number;
}

/** Files as shards. Which file goes on, in which pieces, and in which shard, is picked. */
export function writeShards(
  files: Iterable<readonly [name: string, bytes: Uint8Array]>,
  { pick = () => 0, piece = () => 64 * 1024, shards = 1 }: ShardOptions = {},
): Buffer[] {
  const out: Buffer[][] = Array.from({ length: shards }, () => []);
  let seq = 0;
  const put = (body: Parameters<typeof marker>[1]) => out[pick(shards)]?.push(marker(seq++, body));
  const open = [...files].map(([name, bytes]) => ({ name, bytes, at: 0 }));
  let current: string | undefined;
  while (open.length > 0) {
    const index = pick(open.length);
    const file = open[index] as (typeof open)[number];
    if (current !== file.name) put({ name: file.name });
    current = file.name;
    if (file.at < file.bytes.length) {
      const end = Math.min(file.bytes.length, file.at + Math.max(1, piece()));
      put({ data: file.bytes.subarray(file.at, end) });
      file.at = end;
    } else {
      put('fileEnd');
      open.splice(index, 1);
    }
  }
  put('imageEnd');
  return out.map((parts) => Buffer.concat(parts));
}

/** The regular files of a folder, by name. */
export const filesOf = (folder: string): Map<string, Buffer> =>
  new Map(
    readdirSync(folder, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => [name, readFileSync(join(folder, name))]),
  );

/** Lines of `sha256sum`, by name. */
export const sha256Of = (files: ReadonlyMap<string, Uint8Array>): string[] =>
  [...files].map(([name, bytes]) => `${createHash('sha256').update(bytes).digest('hex')}  ${name}`).sort();

/** Writes buffers as files; returns their paths. */
export function putAll(folder: string, prefix: string, parts: readonly Uint8Array[]): string[] {
  return parts.map((bytes, i) => {
    const path = join(folder, `${prefix}${i}`);
    writeFileSync(path, bytes);
    return path;
  });
}

/** A member of an archive: its header blocks as they are, its name, and its data. */
export interface RawMember {
  name: string;
  header: Buffer;
  data: Buffer;
}

const BLOCK = 512;

/** Takes an archive apart by its blocks; long names and PAX records belong to the member behind them. */
export function rawMembers(archive: Buffer): RawMember[] {
  const members: RawMember[] = [];
  let start = 0;
  let longName: string | undefined;
  for (let at = 0; at + BLOCK <= archive.length && archive[at] !== 0; ) {
    const block = archive.subarray(at, at + BLOCK);
    const type = String.fromCharCode(block[156] as number);
    const text = (from: number, length: number) => block.toString('latin1', from, from + length).replace(/\0.*$/s, '');
    const size = '12'.includes(type) ? 0 : Number.parseInt(text(124, 12), 8);
    let end = at + BLOCK;
    for (let more = type === 'S' && block[482] !== 0; more; end += BLOCK) more = archive[end + 504] !== 0;
    const padded = end + Math.ceil(size / BLOCK) * BLOCK;
    const data = archive.subarray(end, end + size);
    if ('xgLK'.includes(type)) {
      const path = /\d+ (?:GNU\.sparse\.name|path)=(.*)\n/.exec(data.toString('latin1'))?.[1];
      if (type === 'L') longName = data.toString('latin1').replace(/\0$/, '');
      else if (type === 'x' && path !== undefined) longName = path;
    } else {
      const prefix = text(257, 6) === 'ustar' ? text(345, 155) : '';
      const name = longName ?? (prefix === '' ? text(0, 100) : `${prefix}/${text(0, 100)}`);
      members.push({ name, header: archive.subarray(start, end), data });
      longName = undefined;
      start = padded;
    }
    at = padded;
  }
  return members;
}

const isMemory = ({ name }: RawMember) => /(^|\/)(pages-\d+|pagemap-.*)\.img$/.test(name);

/** All but pagemaps and pages: header blocks and what the data is, in order. */
export const others = (archive: Buffer) =>
  rawMembers(archive)
    .filter((one) => !isMemory(one))
    .map(({ name, header: blocks, data }) => ({
      name,
      header: blocks.toString('hex'),
      data: createHash('sha1').update(data).digest('hex'),
    }));

/** The bytes of an archive, decompressed if need be. */
export const plain = (archive: string): Buffer => {
  const bytes = readFileSync(archive);
  if (bytes[0] === 0x1f) return execFileSync('gzip', ['-dc', archive], { maxBuffer: 2 ** 28 });
  if (bytes[0] === 0x28) return execFileSync('zstd', ['-dqc', archive], { maxBuffer: 2 ** 28 });
  return bytes;
};

interface MemberOptions {
  type?: string;
  target?: string;
  mode?: number;
}

/** A ustar header by hand. `size` may be the twelve bytes themselves. */
export function header(
  name: string,
  size: number | Uint8Array,
  { type = '0', target = '', mode = 0o600 }: MemberOptions = {},
): Buffer {
  const block = Buffer.alloc(BLOCK);
  block.write(name, 0, 100);
  block.write(`${mode.toString(8).padStart(7, '0')}\0`, 100);
  block.write('0000000\0', 108);
  block.write('0000000\0', 116);
  if (typeof size === 'number') block.write(`${size.toString(8).padStart(11, '0')}\0`, 124);
  else block.set(size, 124);
  block.write('00000000000\0', 136);
  block.write('        ', 148);
  block.write(type, 156);
  block.write(target, 157, 100);
  block.write('ustar\0' + '00', 257);
  let sum = 0;
  for (let i = 0; i < BLOCK; i++) sum += block[i] as number;
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}

/** A member by hand, padded. */
export const member = (name: string, data: Uint8Array, more: MemberOptions = {}): Buffer =>
  Buffer.concat([header(name, data.length, more), data, Buffer.alloc((BLOCK - (data.length % BLOCK)) % BLOCK)]);

/** The end of an archive. */
export const END = Buffer.alloc(2 * BLOCK);

/** An archive of a folder by hand, in the order of names. No process is started, which takes as long as much of a test. */
export function packed(folder: string, prefix = './'): Buffer {
  const members: Buffer[] = [];
  const add = (path: string, name: string) => {
    const stats = lstatSync(path);
    const mode = stats.mode & 0o7777;
    if (name.length >= 100) throw new Error(`${name}: too long for a header`);
    if (stats.isSymbolicLink()) members.push(header(name, 0, { type: '2', target: readlinkSync(path) }));
    else if (stats.isFile()) members.push(member(name, readFileSync(path), { mode }));
    else if (stats.isDirectory()) {
      members.push(header(name, 0, { type: '5', mode }));
      for (const entry of readdirSync(path).sort())
        add(join(path, entry), name + entry + (isFolder(join(path, entry)) ? '/' : ''));
    } else throw new Error(`${path}: it is not for an archive`);
  };
  add(folder, prefix);
  return Buffer.concat([...members, END]);
}

const isFolder = (path: string): boolean => lstatSync(path).isDirectory();

/** Writes an archive of a dump, members in the order of their names; returns its path. */
export function archiveOf(dump: string, path: string, ...words: string[]): string {
  if (words.every((word) => ['--format=ustar', '--gzip', '-z'].includes(word))) {
    const plain = packed(dump, `${basename(dump)}/`);
    writeFileSync(path, words.some((word) => word !== '--format=ustar') ? gzipSync(plain, { level: 1 }) : plain);
  } else {
    tar(dirname(dump), '-cf', path, '--sort=name', ...words, basename(dump));
  }
  return path;
}

/** Writes shards of a dump; returns their paths. */
export function shardsOf(dump: string, dir: string, shards: number): string[] {
  let turn = 0;
  return putAll(dir, `${shards}-shard`, writeShards(filesOf(dump), { shards, pick: (count) => turn++ % count }));
}

/** A dump in all forms but a directory: the words that name it. */
export const forms = (dump: string, dir: string): Record<string, string[]> => ({
  ustar: [archiveOf(dump, join(dir, 'ustar.tar'), '--format=ustar')],
  pax: [archiveOf(dump, join(dir, 'pax.tar'), '--format=pax', `--transform=s,^${basename(dump)},checkpoint,`)],
  gzip: [archiveOf(dump, join(dir, 'dump.tar.gz'), '--gzip')],
  zstd: [archiveOf(dump, join(dir, 'dump.tar.zst'), '--zstd')],
  shard: shardsOf(dump, dir, 1),
  shards: [shardsOf(dump, dir, 3).join(','), '--from', 'shards'],
});

/** An archive of an OCI image whose only layer this is. */
export function ociArchive(
  layer: Uint8Array,
  { annotations = {} }: { annotations?: Record<string, string> } = {},
): Buffer {
  const blobs: Buffer[] = [];
  const blob = (content: Uint8Array | object) => {
    const bytes = content instanceof Uint8Array ? content : Buffer.from(JSON.stringify(content));
    const hex = createHash('sha256').update(bytes).digest('hex');
    blobs.push(member(`blobs/sha256/${hex}`, bytes));
    return { digest: `sha256:${hex}`, size: bytes.length };
  };
  const config = blob({ architecture: 'amd64', os: 'linux', rootfs: { type: 'layers', diff_ids: [] } });
  const manifest = blob({ schemaVersion: 2, config, layers: [blob(layer)], annotations });
  const index = Buffer.from(JSON.stringify({ schemaVersion: 2, manifests: [manifest] }));
  return Buffer.concat([...blobs, member('index.json', index), END]);
}
