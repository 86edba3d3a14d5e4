/**
 * The same for an object store: the dumps below a prefix. Only lists are asked for, one for each prefix, and no object is read:
 * an archive is told by its name, as those are that pagepipe writes.
 */
import { isS3Name, keyPrefix, parseS3Name, s3Name } from '../containers/s3/address.js';
import { type S3Bridge, s3Bridge } from '../containers/s3/bridge.js';
import type { Listing, ObjectInfo, S3Settings } from '../containers/s3/protocol.js';
import { INVENTORY, isImageName, isOriginalName } from '../dump/names.js';
import { DumpError, invariant } from '../errors.js';
import { type FoundDump, MAX_DEPTH, MAX_NAMES } from './find.js';

const ARCHIVES: readonly [name: RegExp, kind: Pick<FoundDump, 'kind' | 'compression'>][] = [
  [/\.oci\.tar$/, { kind: 'oci', compression: null }],
  [/\.tar$/, { kind: 'tar', compression: null }],
  [/\.(tar\.gz|tgz)$/, { kind: 'tar', compression: 'gzip' }],
  [/\.(tar\.zst|tzst)$/, { kind: 'tar', compression: 'zstd' }],
];

/**
 * @param place an s3:// name
 * @throws {DumpError} SYSTEM if nothing is there, NOT_A_DUMP for an object that is none, LIMIT for too many names
 */
export function* findInStore(place: string, settings: S3Settings): Generator<FoundDump> {
  invariant(isS3Name(place), 'a name of an object store');
  const address = parseS3Name(place);
  const bridge = s3Bridge(settings);
  const object = address.isPrefix ? undefined : bridge.head(address);
  if (object) {
    const found = archiveAt(address.bucket, object);
    if (found) yield found;
    else throw new DumpError('NOT_A_DUMP', 'expected a prefix or an archive, found something else', { file: place });
    return;
  }
  const finder = new StoreFinder(bridge, address.bucket, place);
  const prefix = keyPrefix(address);
  const first = finder.list(prefix, '/');
  if (prefix !== '' && first.objects.length + first.prefixes.length === 0) {
    throw new DumpError('SYSTEM', 'there are no objects below it', { file: place });
  }
  yield* finder.below(prefix, 0, first);
}

class StoreFinder {
  private names = 0;

  constructor(
    private readonly bridge: S3Bridge,
    private readonly bucket: string,
    private readonly place: string,
  ) {}

  *below(prefix: string, depth: number, listing = this.list(prefix, '/')): Generator<FoundDump> {
    const nameOf = (key: string) => key.slice(prefix.length);
    if (listing.objects.some(({ key }) => isImageName(nameOf(key)) || isOriginalName(nameOf(key)))) {
      yield this.dump(prefix, listing);
      return;
    }
    const objects = new Map(listing.objects.map((object) => [object.key, object]));
    for (const key of [...objects.keys(), ...listing.prefixes].sort()) {
      if (nameOf(key).startsWith('.')) continue;
      const object = objects.get(key);
      if (object) {
        const found = archiveAt(this.bucket, object);
        if (found) yield found;
      } else if (depth < MAX_DEPTH) yield* this.below(key, depth + 1);
    }
  }

  /** What is directly below a prefix, or with no delimiter all. Throws {@link DumpError} LIMIT. */
  list(prefix: string, delimiter?: string): Listing {
    const most = MAX_NAMES - this.names;
    const listing = this.bridge.list({ bucket: this.bucket, prefix, most, ...(delimiter ? { delimiter } : {}) });
    this.names += listing.objects.length + listing.prefixes.length;
    if (this.names < MAX_NAMES) return listing;
    throw new DumpError('LIMIT', `expected fewer than ${MAX_NAMES} objects, found more`, { file: this.place });
  }

  private dump(prefix: string, listing: Listing): FoundDump {
    const { objects } = listing.prefixes.length === 0 ? listing : this.list(prefix);
    const inventory = objects.find(({ key }) => key === prefix + INVENTORY);
    const isCold = objects.some(({ key }) => isOriginalName(key.slice(prefix.length)));
    const newest = objects.reduce((latest, { modifiedMs }) => Math.max(latest, modifiedMs), 0);
    return {
      path: s3Name({ bucket: this.bucket, key: prefix.slice(0, -1) }),
      kind: 'directory',
      compression: null,
      bytes: objects.reduce((sum, { size }) => sum + size, 0),
      timeMs: inventory?.modifiedMs ?? newest,
      complete: isCold || (inventory?.size ?? 0) > 0,
    };
  }
}

function archiveAt(bucket: string, { key, size, modifiedMs }: ObjectInfo): FoundDump | undefined {
  const kind = ARCHIVES.find(([name]) => name.test(key))?.[1];
  if (!kind || size === 0) return undefined;
  return { path: s3Name({ bucket, key }), ...kind, bytes: size, timeMs: modifiedMs, complete: null };
}
