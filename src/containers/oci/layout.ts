/**
 * An image of a checkpoint in an OCI layout, as `podman container checkpoint --create-image` and checkpointctl make it. Its
 * only layer is the archive of the checkpoint.
 *
 *     layout   := oci-layout, index.json, blobs/ALGORITHM/HEX*       a folder, or a tar archive of one
 *     index    := the descriptor of one manifest
 *     manifest := the descriptors of the config and of one layer; annotations that say whose checkpoint it is
 *     config   := machine, and the digest of the plain layer in rootfs.diff_ids
 *
 * Unknown fields of the JSON are kept.
 *
 * Source: OCI Image Format Specification 1.1; podman 5.8.
 */
import { createHash } from 'node:crypto';
import { DumpError } from '../../errors.js';
import type { Compression } from '../../io/compression.js';
import { shorten } from '../../protobuf/builder.js';

export const INDEX = 'index.json';
export const LAYOUT = 'oci-layout';

/** Limit on the bytes of each JSON file. The specification asks registries to accept manifests of this size. */
export const MAX_JSON_BYTES = 4 * 1024 * 1024;

type Json = Record<string, unknown>;

/** Where a blob is. */
export interface ImageBlob {
  /** `ALGORITHM:HEX` */
  digest: string;
  /** Bytes. */
  size: number;
}

/** The JSON of an image, and its layer. */
export interface CheckpointImage {
  index: Record<string, unknown>;
  manifest: Record<string, unknown>;
  config: Record<string, unknown>;
  layer: ImageBlob;
  /** Of the layer. */
  compression: Compression | undefined;
}

/** Whether the first file of an archive begins a layout. No file of a dump has such a name. */
export const beginsLayout = (name: string): boolean => /^(\.\/)?(blobs\/|blobs$|index\.json$|oci-layout$)/.test(name);

/** Name of a blob in its layout. */
export const blobName = ({ digest }: Pick<ImageBlob, 'digest'>): string => `blobs/${digest.replace(':', '/')}`;

export const digestOf = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** Throws {@link DumpError} MALFORMED unless it is an object. */
export function parseObject(bytes: Uint8Array, file: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch (cause) {
    throw new DumpError('MALFORMED', `expected JSON, found something else: ${(cause as Error).message}`, {
      file,
      cause,
    });
  }
  return object(value, 'an object', file);
}

/** The manifest that an index names. Throws {@link DumpError} MALFORMED, UNSUPPORTED for several. */
export const manifestBlob = (index: Json): ImageBlob => blobOf(theOnly(index['manifests'], 'manifest', INDEX), INDEX);

/** The config and the layer that a manifest names. Throws {@link DumpError} MALFORMED, UNSUPPORTED for several layers. */
export function blobsOf(manifest: Json, file: string): { config: ImageBlob; layer: ImageBlob } {
  return {
    config: blobOf(manifest['config'], file),
    layer: blobOf(theOnly(manifest['layers'], 'layer', file), file),
  };
}

function theOnly(list: unknown, what: string, file: string): unknown {
  const found = Array.isArray(list) ? list.length : 'none';
  if (found === 1) return (list as unknown[])[0];
  throw new DumpError('UNSUPPORTED', `expected the image of a checkpoint with one ${what}, found ${found}`, {
    file,
    hint: 'podman container checkpoint --create-image makes one, and podman save --format oci-archive saves it',
  });
}

function blobOf(value: unknown, file: string): ImageBlob {
  const { digest, size } = object(value, 'a descriptor', file);
  if (typeof digest !== 'string' || !/^(sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/.test(digest)) {
    throw new DumpError('MALFORMED', `expected a digest by sha256 or sha512, found ${textOf(digest)}`, { file });
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw new DumpError('MALFORMED', `expected the size of a blob, found ${textOf(size)}`, { file });
  }
  return { digest, size };
}

/** A value of the JSON, for an error. */
const textOf = (value: unknown): string => (value === undefined ? 'none' : shorten(JSON.stringify(value)));

function object(value: unknown, what: string, file: string): Json {
  if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Json;
  throw new DumpError('MALFORMED', `expected ${what}, found something else`, { file });
}

/** GOARCH, by `core_entry.mtype`. */
const ARCHITECTURES = [undefined, 'amd64', 'arm', 'arm64', 'ppc64le', 's390x', 'mips64le', 'loong64', 'riscv64'];

/** The image of a dump that does not come from one. @param march `core_entry.mtype` */
export function newImage(march: number | undefined): Pick<CheckpointImage, 'index' | 'manifest' | 'config'> {
  const type = 'application/vnd.oci.image';
  return {
    index: {
      schemaVersion: 2,
      mediaType: `${type}.index.v1+json`,
      manifests: [{ mediaType: `${type}.manifest.v1+json` }],
    },
    manifest: {
      schemaVersion: 2,
      mediaType: `${type}.manifest.v1+json`,
      config: { mediaType: `${type}.config.v1+json` },
      layers: [{}],
    },
    config: {
      architecture: ARCHITECTURES[march ?? 0] ?? 'unknown',
      os: 'linux',
      config: {},
      rootfs: { type: 'layers', diff_ids: [] },
    },
  };
}

/** The blobs and files of an image around another layer, in the order of their names. */
export function filesAround(
  image: Pick<CheckpointImage, 'index' | 'manifest' | 'config'>,
  layer: ImageBlob & { diffId: string; compression: Compression | undefined },
): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const put = (value: Json): ImageBlob => {
    const bytes = Buffer.from(JSON.stringify(value));
    const blob = { digest: digestOf(bytes), size: bytes.length };
    files.set(blobName(blob), bytes);
    return blob;
  };
  const rootfs = { ...(image.config['rootfs'] as Json | undefined), diff_ids: [layer.diffId] };
  const config = put({ ...image.config, rootfs });
  const { digest, size, compression } = layer;
  const mediaType = `application/vnd.oci.image.layer.v1.tar${compression ? `+${compression}` : ''}`;
  const [oldLayer] = image.manifest['layers'] as [Json];
  const manifest = put({
    ...image.manifest,
    config: { ...(image.manifest['config'] as Json), ...config },
    layers: [{ ...oldLayer, mediaType, digest, size }],
  });
  const [oldManifest] = image.index['manifests'] as [Json];
  files.set(INDEX, Buffer.from(JSON.stringify({ ...image.index, manifests: [{ ...oldManifest, ...manifest }] })));
  files.set(LAYOUT, Buffer.from('{"imageLayoutVersion":"1.0.0"}'));
  return files;
}
