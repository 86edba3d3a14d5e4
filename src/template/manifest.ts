/**
 * The manifest of the folder of mapped files, `template.json`: what each file was like when it was made, and which areas map
 * it. So a change of a file is noticed, and the areas can be made anonymous memory again.
 */
import { basename, isAbsolute } from 'node:path';
import { isPagesName, MAPPED_SUFFIX } from '../dump/names.js';
import { DumpError } from '../errors.js';

export const MAX_MANIFEST_BYTES = 256 * 1024 * 1024;
const VERSION = 1;

export interface ManifestFile {
  /** As the tasks see it: an absolute path. */
  name: string;
  /** Where it is for pagepipe: in the folder, or an absolute path. */
  path: string;
  /** Bytes, with the hole at its end. */
  size: number;
  /** With the type of the file. */
  mode: number;
  /** Of the last modification, in ns since 1970. */
  mtimeNs: string;
  /** Of its content, see `contentSum`. */
  sha256?: string;
}

export interface ManifestArea {
  pid: number;
  /** Page numbers. */
  start: number;
  end: number;
  /** Index of the file. */
  file: number;
  /** Where the area begins in the file, in bytes. */
  offset: number;
  /** The `vma_entry` before it was changed, in base64. */
  entry: string;
}

export interface Manifest {
  template: typeof VERSION;
  /** Bytes. */
  pageSize: number;
  /** The folder of the files, as the tasks see it. */
  name: string;
  files: ManifestFile[];
  areas: ManifestArea[];
}

export const newManifest = (pageSize: number, name: string): Manifest => ({
  template: VERSION,
  pageSize,
  name,
  files: [],
  areas: [],
});

export const manifestBytes = (manifest: Manifest): Uint8Array =>
  Buffer.from(`${JSON.stringify(manifest, undefined, 1)}\n`);

const isText = (value: unknown): value is string => typeof value === 'string' && !value.includes('\0');
const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** Throws {@link DumpError} MALFORMED for anything that is no manifest. */
export function parseManifest(bytes: Uint8Array, file: string): Manifest {
  const fail = (what: string, cause?: unknown) => new DumpError('MALFORMED', what, { file, cause });
  let value: Partial<Manifest>;
  try {
    value = JSON.parse(Buffer.from(bytes).toString());
  } catch (cause) {
    throw fail(`expected the manifest of a template, found no JSON: ${(cause as Error).message}`, cause);
  }
  if (value === null || typeof value !== 'object' || value.template === undefined) {
    throw fail('expected the manifest of a template, found something else');
  }
  if (value.template !== VERSION)
    throw fail(`expected version ${VERSION} of a template, found ${JSON.stringify(value.template)}`);
  const { pageSize, name, files, areas } = value;
  if (!isCount(pageSize) || !isText(name) || !Array.isArray(files) || !Array.isArray(areas)) {
    throw fail('expected the page size, the name, the files and the areas of a template, found something else');
  }
  files.forEach((of, i) => {
    if (!isFile(of)) throw fail(`expected a file in files[${i}], found something else`);
  });
  areas.forEach((area, i) => {
    if (!isArea(area, files.length)) throw fail(`expected an area in areas[${i}], found something else`);
  });
  return value as Manifest;
}

const isObject = (value: unknown): value is Record<string, unknown> => value !== null && typeof value === 'object';

const isFile = (value: unknown): value is ManifestFile =>
  isObject(value) &&
  isText(value['name']) &&
  isText(value['path']) &&
  // What is outside of the folder is a pages file; a manifest must not have other files read.
  (isAbsolute(value['path']) ? isPagesName(basename(value['path'])) : value['path'].endsWith(MAPPED_SUFFIX)) &&
  isCount(value['size']) &&
  isCount(value['mode']) &&
  isText(value['mtimeNs']) &&
  (value['sha256'] === undefined || isText(value['sha256']));

const isArea = (value: unknown, files: number): value is ManifestArea =>
  isObject(value) &&
  isCount(value['pid']) &&
  isCount(value['start']) &&
  isCount(value['end']) &&
  isCount(value['file']) &&
  value['file'] < files &&
  isCount(value['offset']) &&
  isText(value['entry']);
