/** PAX records, and the maps of sparse files in the four forms that GNU tar has written. */
import { concatBytes } from '../../bytes.js';
import { DumpError } from '../../errors.js';
import type { BytesReader } from '../../io/bytes-reader.js';
import { BLOCK, number } from './block.js';
import { MAX_EXTENTS } from './limits.js';

/** The stored parts of a sparse file; the rest is zeros. */
export interface SparseMap {
  /** Pairs of offset and length in bytes, ascending. */
  extents: number[];
  /** Bytes of the file. */
  size: number;
  /** Bytes of the map itself, in front of the data. */
  mapBytes: number;
}

/** The oldest form of sparse maps repeats these keys, once for each extent. */
const REPEATED_KEYS = new Set(['GNU.sparse.offset', 'GNU.sparse.numbytes']);

/** Records `length key=value\n`; values are bytes, those of a repeated key joined by commas. Throws {@link DumpError} MALFORMED. */
export function readPax(data: Uint8Array, file: string, offset: number): Map<string, Uint8Array> {
  const records = new Map<string, Uint8Array>();
  const repeated = new Map<string, Uint8Array[]>();
  for (let at = 0; at < data.length; ) {
    const space = data.indexOf(0x20, at);
    const length = space < 0 ? 0 : Number(Buffer.from(data.subarray(at, space)).toString('latin1'));
    const equals = data.indexOf(0x3d, space);
    const end = at + length;
    if (!Number.isInteger(length) || length < 5 || end > data.length || equals < 0 || equals >= end) {
      throw new DumpError('MALFORMED', 'expected PAX records, found something else', { file, offset });
    }
    const key = Buffer.from(data.subarray(space + 1, equals)).toString('utf8');
    const value = data.subarray(equals + 1, end - 1);
    if (REPEATED_KEYS.has(key)) {
      const values = repeated.get(key);
      if (values) values.push(COMMA, value);
      else repeated.set(key, [value]);
    } else records.set(key, value);
    at = end;
  }
  for (const [key, values] of repeated) records.set(key, concatBytes(values));
  return records;
}

const COMMA = Buffer.from(',');

/** The bytes of records. */
export function writePax(records: readonly (readonly [key: string, value: Uint8Array])[]): Uint8Array {
  return Buffer.concat(
    records.map(([key, value]) => {
      const body = Buffer.concat([Buffer.from(` ${key}=`), value, Buffer.from('\n')]);
      // The length counts its own digits.
      let length = body.length + 1;
      while (length !== body.length + String(length).length) length = body.length + String(length).length;
      return Buffer.concat([Buffer.from(String(length)), body]);
    }),
  );
}

interface SparseInput {
  block: Uint8Array;
  type: string;
  /** Further header blocks are added here. */
  blocks: Uint8Array[];
  /** A PAX record of this key. */
  field: (key: string) => string | undefined;
  storedBytes: number;
  reader: Pick<BytesReader, 'offset' | 'exactly'>;
  file: string;
}

/** The map of a sparse file; undefined for others. Reads the part of the map that follows the header. */
export async function sparseMap(input: SparseInput): Promise<SparseMap | undefined> {
  const { field } = input;
  if (input.type === 'S') return check(await oldMap(input), input);
  if (field('GNU.sparse.major') === '1')
    return check(await dataMap(input, Number(field('GNU.sparse.realsize'))), input);
  const list = field('GNU.sparse.map') ?? pairs(field('GNU.sparse.offset'), field('GNU.sparse.numbytes'));
  if (list === undefined) return undefined;
  return check(
    { extents: list === '' ? [] : list.split(',').map(Number), size: Number(field('GNU.sparse.size')), mapBytes: 0 },
    input,
  );
}

function pairs(offsets: string | undefined, lengths: string | undefined): string | undefined {
  const all = lengths?.split(',');
  return offsets
    ?.split(',')
    .map((offset, i) => `${offset},${all?.[i]}`)
    .join(',');
}

/** In the header, and in blocks after it. */
async function oldMap({ block, blocks, reader, file }: SparseInput): Promise<SparseMap> {
  const extents: number[] = [];
  const add = (from: Uint8Array, at: number, count: number) => {
    for (let i = 0; i < count && from[at + 24 * i] !== 0; i++) {
      extents.push(number(from, [at + 24 * i, 12]), number(from, [at + 24 * i + 12, 12]));
    }
  };
  add(block, 386, 4);
  for (let more = block[482]; more; ) {
    const extension = (await reader.exactly(BLOCK)).slice();
    blocks.push(extension);
    const before = extents.length;
    if (extension.length === BLOCK) add(extension, 0, 21);
    // A block without extents says nothing, and there could be any number of them.
    if (extents.length === before || extents.length > 2 * MAX_EXTENTS) throw badMap(file, reader.offset);
    more = extension[504];
  }
  return { extents, size: number(block, [483, 12]), mapBytes: 0 };
}

/** In front of the data, as decimal numbers, a line each. */
async function dataMap({ blocks, reader, file, storedBytes }: SparseInput, size: number): Promise<SparseMap> {
  const numbers: number[] = [];
  let digits = '';
  let mapBytes = 0;
  // Zeros only fill the last block.
  const isComplete = () => numbers.length > 0 && numbers.length >= 1 + 2 * (numbers[0] as number);
  while (!isComplete()) {
    const block = (await reader.exactly(BLOCK)).slice();
    blocks.push(block);
    mapBytes += block.length;
    if (block.length < BLOCK || mapBytes > storedBytes || (numbers[0] ?? 0) > MAX_EXTENTS)
      throw badMap(file, reader.offset);
    for (const byte of block) {
      if (byte === 0x0a && digits !== '') {
        numbers.push(Number(digits));
        digits = '';
      } else if (byte >= 0x30 && byte <= 0x39 && digits.length < 16) digits += String.fromCharCode(byte);
      else if (byte !== 0 || digits !== '' || !isComplete()) throw badMap(file, reader.offset);
    }
  }
  return { extents: numbers.slice(1, 1 + 2 * (numbers[0] as number)), size, mapBytes };
}

function check(map: SparseMap, { file, reader, storedBytes }: SparseInput): SparseMap {
  let end = 0;
  let stored = map.mapBytes;
  for (let i = 0; i < map.extents.length; i += 2) {
    const [offset, length] = [map.extents[i] as number, map.extents[i + 1] as number];
    if (!(offset >= end && length >= 0)) throw badMap(file, reader.offset);
    end = offset + length;
    stored += length;
  }
  if (!(Number.isSafeInteger(map.size) && end <= map.size && stored === storedBytes)) throw badMap(file, reader.offset);
  return map;
}

const badMap = (file: string, offset: number): DumpError =>
  new DumpError('MALFORMED', 'expected the map of a sparse file, found something else', { file, offset });
