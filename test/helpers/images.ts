/** Images of any type: those of the fixtures, others made by hand, and what they are in JSON. */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { DumpError } from '../../src/errors.js';
import { type DecodeOptions, ImageDecoder } from '../../src/image/decoder.js';
import { IMG_COMMON_MAGIC, IMG_SERVICE_MAGIC, type ImageType, MAGIC, typeOfName } from '../../src/image/magic.js';
import { JsonImageReader } from '../../src/json/from-json.js';
import { JsonImageWriter, type JsonOptions } from '../../src/json/to-json.js';
import { Message } from './dump-writer.js';
import { fixture } from './temp.js';

/** Sizes of chunks that every decoder must give the same result for. */
export const CHUNKINGS = [1, 2, 3, 5, 4095, 4096] as const;

export interface FixtureImage {
  /** Name of the dump, `zdtm/ns-msgque`, and of the image in it. */
  dump: string;
  name: string;
  path: string;
  type: ImageType;
  /** What `crit decode` and `crit decode --pretty` print; undefined where crit cannot read the image. */
  json: string | undefined;
  pretty: string | undefined;
}

const textOf = (path: string): string | undefined => (existsSync(path) ? readFileSync(path, 'utf8') : undefined);

/** Folders below `fixtures/` that are dumps. */
export function fixtureDumps(): string[] {
  const zdtm = readdirSync(fixture('zdtm')).map((name) => `zdtm/${name}`);
  const chains = ['mprotect00', 'socket_queues'].flatMap((name) => [1, 2, 3].map((n) => `chain/${name}/${n}`));
  return [...zdtm, ...chains, 'mosaic-criu-4.1.1', 'mosaic-criu-4.2.1', 'family-criu-4.2.1'];
}

/** All images of all fixtures, but raw ones. */
export function fixtureImages(): FixtureImage[] {
  return fixtureDumps().flatMap((dump) => {
    const folder = fixture(dump);
    const crit = dump.startsWith('zdtm/') ? join(folder, 'crit') : fixture(`crit-4.2.1-json/${dump}`);
    return readdirSync(folder).flatMap((name) => {
      const type = typeOfName(name);
      if (!type) return [];
      const json = textOf(join(crit, `${name}.json`));
      const pretty = textOf(join(crit, `${name}.pretty.json`));
      return [{ dump, name, path: join(folder, name), type, json, pretty }];
    });
  });
}

/** One of each: many dumps have the same images, for which crit prints the same. */
export function distinct(images: readonly FixtureImage[]): FixtureImage[] {
  const keyOf = ({ path, type, json = '', pretty = '' }: FixtureImage) =>
    createHash('sha1').update(type).update(readFileSync(path)).update(json).update(pretty).digest('hex');
  return [...new Map(images.map((image) => [keyOf(image), image])).values()];
}

export const readImage = (dump: string, name: string): Uint8Array => readFileSync(join(fixture(dump), name));

/** The pieces of some bytes. */
export function* chunksOf(bytes: Uint8Array, chunkBytes = Math.max(bytes.length, 1)): Generator<Uint8Array> {
  // Copies: what is held of a chunk beyond the call shows.
  for (let at = 0; at < bytes.length; at += chunkBytes) yield new Uint8Array(bytes.subarray(at, at + chunkBytes));
}

/** Collects bytes that are overwritten after each call. */
export function collector(): { emit(bytes: Uint8Array): void; bytes(): Buffer } {
  const pieces: Buffer[] = [];
  return { emit: (bytes) => void pieces.push(Buffer.from(bytes)), bytes: () => Buffer.concat(pieces) };
}

export interface ToJsonOptions extends JsonOptions, DecodeOptions {
  chunkBytes?: number | undefined;
}

/** An image as JSON. Each chunk is overwritten as soon as it was taken. */
export function toJson(image: Uint8Array, { chunkBytes, ...options }: ToJsonOptions = {}): string {
  const { emit, bytes } = collector();
  const decoder = new ImageDecoder(new JsonImageWriter(emit, options), options);
  for (const chunk of chunksOf(image, chunkBytes)) {
    decoder.push(chunk);
    chunk.fill(0xee);
  }
  decoder.end();
  return bytes().toString();
}

/** The image of some JSON, and the warnings on the way. */
export function fromJson(
  json: string | Uint8Array,
  { chunkBytes, file = 'x.json' }: { chunkBytes?: number | undefined; file?: string } = {},
): { image: Buffer; warnings: string[] } {
  const { emit, bytes } = collector();
  const warnings: string[] = [];
  const reader = new JsonImageReader(emit, { file, warn: (message) => warnings.push(message) });
  for (const chunk of chunksOf(Buffer.from(json), chunkBytes)) {
    reader.push(chunk);
    chunk.fill(0xee);
  }
  reader.end();
  return { image: bytes(), warnings };
}

/** The image of some JSON that must not need a warning. */
export function imageOfJson(json: string | Uint8Array, chunkBytes?: number): Buffer {
  const { image, warnings } = fromJson(json, { chunkBytes });
  if (warnings.length > 0) throw new Error(`unexpected warnings: ${warnings.join('; ')}`);
  return image;
}

/** JSON with the keys of all objects sorted, as `jq -S` prints it. Numbers keep their digits. */
export function sortKeys(json: string): string {
  const sorted = (value: unknown): unknown => {
    if (Array.isArray(value)) return value.map(sorted);
    if (typeof value !== 'object' || value === null) return value;
    const entries = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries.map(([key, inner]) => [key, sorted(inner)]));
  };
  const text = JSON.stringify(sorted(parseExactly(json)));
  return text.replace(/"#(-?\d+)"/g, '$1');
}

/** JSON whose numbers come as text, `#12`: a double would round them. */
export const parseExactly = (json: string): unknown =>
  JSON.parse(json.replace(/"(?:[^"\\]|\\.)*"|-?\d+/g, (token) => (token.startsWith('"') ? token : `"#${token}"`)));

const u32 = (value: number): Buffer => {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
};

/** Magic numbers, entries with their sizes, and bytes as they are. */
export function imageOf(type: ImageType, ...parts: (Message | Uint8Array | string)[]): Buffer {
  const service = type === 'STATS' || type === 'IRMAP_CACHE';
  const first = type === 'INVENTORY' ? [] : [u32(service ? IMG_SERVICE_MAGIC : IMG_COMMON_MAGIC)];
  return Buffer.concat([...first, u32(MAGIC[type]), ...parts.map(partBytes)]);
}

/** An image of CRIU 1.x: the magic of the type alone. */
export const oldImageOf = (type: ImageType, ...parts: (Message | Uint8Array | string)[]): Buffer =>
  Buffer.concat([u32(MAGIC[type]), ...parts.map(partBytes)]);

/** A message with its size before it; anything else as it is. */
function partBytes(part: Message | Uint8Array | string): Uint8Array {
  if (typeof part === 'string') return Buffer.from(part);
  if (!(part instanceof Message)) return part;
  const body = part.finish();
  return Buffer.concat([u32(body.length), body]);
}

/** The {@link DumpError} that something must throw. */
export function dumpErrorOf(action: () => unknown): DumpError {
  let result: unknown;
  try {
    result = action();
  } catch (error) {
    if (error instanceof DumpError) return error;
    throw error;
  }
  throw new Error(`expected a DumpError, found ${String(result).slice(0, 200)}`);
}
