/** Dumps to damage, and what is found in them. */

import {
  closeSync,
  copyFileSync,
  cpSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { HeldFiles } from '../../src/arrival/hold.js';
import { DirectoryFiles } from '../../src/containers/directory/files.js';
import { decodeChunks, encodePageStream } from '../../src/containers/page-stream/stream.js';
import { readShards } from '../../src/containers/shards/read.js';
import { Dump } from '../../src/dump/dump.js';
import { DumpError } from '../../src/errors.js';
import { ImageDecoder } from '../../src/image/decoder.js';
import { JsonImageReader } from '../../src/json/from-json.js';
import { JsonImageWriter } from '../../src/json/to-json.js';
import { type Finding, formatFinding } from '../../src/verify/findings.js';
import { verify } from '../../src/verify/verify.js';
import { END, filesOf, member, writeShards } from '../helpers/archives.js';
import { openSource } from '../helpers/dump-files.js';
import { PE, readPagemap } from '../helpers/dump-writer.js';
import { fixture, openFiles, tempDir } from '../helpers/temp.js';

/** An image in JSON; numbers that a double would round are texts, `#123`. */
// biome-ignore lint/suspicious/noExplicitAny: every image has another form
export type Json = any;

/** A copy of a fixture that may be damaged. */
export class Copy {
  constructor(readonly path: string) {}

  /** Changes the entries of an image, as JSON. */
  edit(name: string, change: (entries: Json) => void): this {
    const image = JSON.parse(jsonOf(readFileSync(join(this.path, name)), name));
    change(image.entries);
    writeFileSync(join(this.path, name), imageOf(image, name));
    return this;
  }

  /** Changes an image, as bytes. */
  patch(name: string, change: (bytes: Buffer) => Uint8Array): this {
    writeFileSync(join(this.path, name), change(readFileSync(join(this.path, name))));
    return this;
  }

  write(name: string, content: Uint8Array | string): this {
    writeFileSync(join(this.path, name), content);
    return this;
  }

  /** An image of these entries. */
  json(name: string, magic: string, entries: readonly object[]): this {
    return this.write(name, imageOf({ magic, entries }, name));
  }

  remove(...names: string[]): this {
    for (const name of names) rmSync(join(this.path, name));
    return this;
  }

  /** Makes a file larger or smaller, by so many bytes. */
  resize(name: string, byBytes: number): this {
    truncateSync(join(this.path, name), statSync(join(this.path, name)).size + byBytes);
    return this;
  }
}

/** A copy of a fixture, with pages files of zeros where it has none. */
export function copyOf(name: string): Copy {
  const path = join(tempDir(), 'dump');
  mkdirSync(path);
  for (const entry of readdirSync(fixture(name), { withFileTypes: true })) {
    if (entry.isFile()) copyFileSync(join(fixture(name), entry.name), join(path, entry.name));
  }
  addPages(path);
  return new Copy(path);
}

/** A copy of a chain of dumps; the last one is 3. */
export function copyOfChain(name: string): { last: Copy; middle: Copy; first: Copy } {
  const path = join(tempDir(), 'chain');
  cpSync(fixture(`chain/${name}`), path, { recursive: true, verbatimSymlinks: true });
  const [first, middle, last] = ['1', '2', '3'].map((dump) => new Copy(join(path, dump))) as [Copy, Copy, Copy];
  return { last, middle, first };
}

function addPages(path: string): void {
  for (const name of readdirSync(path)) {
    if (!/^pagemap-.*\.img$/.test(name)) continue;
    const { pagesId, entries } = readPagemap(join(path, name));
    const file = join(path, `pages-${pagesId}.img`);
    const fd = openSync(file, 'a');
    const bytes = entries.reduce((sum, { flags, pages }) => sum + (flags & PE.PRESENT ? pages * 4096 : 0), 0);
    if (statSync(file).size === 0) ftruncateSync(fd, bytes);
    closeSync(fd);
  }
}

function jsonOf(image: Uint8Array, file: string): string {
  const parts: Buffer[] = [];
  const decoder = new ImageDecoder(new JsonImageWriter((bytes) => parts.push(Buffer.from(bytes)), {}), { file });
  decoder.push(image);
  decoder.end();
  const text = Buffer.concat(parts).toString();
  return text.replace(/"(?:[^"\\]|\\.)*"|-?\d{16,}/g, (token) => (token.startsWith('"') ? token : `"#${token}"`));
}

function imageOf(json: Json, file: string): Buffer {
  const parts: Buffer[] = [];
  const reader = new JsonImageReader((bytes) => void parts.push(Buffer.from(bytes)), { file });
  reader.push(Buffer.from(JSON.stringify(json).replace(/"#(-?\d+)"/g, '$1')));
  reader.end();
  return Buffer.concat(parts);
}

/** What is found in a dump. */
export function findingsOf(path: string): Finding[] {
  const findings: Finding[] = [];
  const files = new DirectoryFiles(path);
  const verdict = verify(files, (finding) => findings.push(finding));
  files.close();
  const untold = (severity: string) =>
    findings.filter((finding) => finding.severity === severity && finding.code !== 'MORE').length;
  if (findings.every(({ code }) => code !== 'MORE')) {
    if (verdict.errors !== untold('error') || verdict.warnings !== untold('warning')) throw new Error('wrong counts');
  }
  if (openFiles(path).length > 0) throw new Error(`left open: ${openFiles(path)}`);
  return findings;
}

/** The same as text: code, and the line that the command prints. */
export const linesOf = (path: string): string[] =>
  findingsOf(path).map((finding) => `${finding.code} ${formatFinding(finding)}`);

/**
 * Checks that the same is found in a dump wherever it is: in an archive, read in place; in shards, read from front to back;
 * in a page stream, if it can be made one.
 */
export async function expectElsewhere(path: string, lines: readonly string[]): Promise<void> {
  const files = filesOf(path);
  const archive = join(tempDir(), 'dump.tar');
  writeFileSync(archive, Buffer.concat([...[...files].map(([name, bytes]) => member(`./${name}`, bytes)), END]));
  const budget = { bytes: 2 ** 20, directory: tempDir() };
  const inputs = writeShards(files, { shards: 2 }).map((bytes, i) => ({
    name: `shard${i}`,
    chunks: chunksOf([bytes]),
  }));
  const stream = await streamOf(path);
  const places = {
    tar: await openSource(archive),
    shards: await HeldFiles.ofEvents('shards', readShards(inputs), { budget }),
    ...(stream ? { stream: await HeldFiles.ofRecords('stream', decodeChunks(stream, 'stream'), { budget }) } : {}),
  };
  for (const [place, files] of Object.entries(places)) {
    const found: string[] = [];
    verify(files, (finding) => found.push(`${finding.code} ${formatFinding(finding)}`));
    files.close();
    expect([place, ...found]).toEqual([place, ...lines]);
  }
  expect(budget.bytes).toBe(2 ** 20);
}

/** Undefined of what is too damaged to be read. */
async function streamOf(path: string): Promise<AsyncGenerator<Uint8Array> | undefined> {
  const chunks: Uint8Array[] = [];
  const encode = encodePageStream();
  try {
    const dump = await Dump.open(new DirectoryFiles(path));
    try {
      for (const record of dump.records()) for (const bytes of encode(record)) chunks.push(bytes.slice());
    } finally {
      dump.close();
    }
  } catch (error) {
    if (error instanceof DumpError) return undefined;
    throw error;
  }
  return chunksOf(chunks);
}

async function* chunksOf(parts: readonly Uint8Array[]): AsyncGenerator<Uint8Array> {
  for (const bytes of parts) for (let at = 0; at < bytes.length; at += 65536) yield bytes.subarray(at, at + 65536);
}
