/** What is at a place in an object store: an object, or a prefix with objects below it. */
import { DumpError } from '../../errors.js';
import { keyPrefix, parseS3Name, type S3Address } from './address.js';
import { type S3Bridge, s3Bridge } from './bridge.js';
import { MAX_OBJECTS, S3Files } from './files.js';
import { INVENTORY } from './names.js';
import { S3Object } from './object.js';
import type { ObjectInfo, S3Settings } from './protocol.js';

/**
 * Opens what a name leads to. An object of this name comes before objects below it.
 * @param isPrefix whether only these are of interest
 * @throws {DumpError} BAD_NAME, SYSTEM if there is nothing
 */
export function openS3(name: string, settings: S3Settings = {}, isPrefix = false): S3Object | S3Files {
  const address = parseS3Name(name);
  const bridge = s3Bridge(settings);
  const object = openObject(bridge, address, isPrefix);
  if (object) return object;
  const { bucket } = address;
  const { objects } = bridge.list({ bucket, prefix: keyPrefix(address), most: MAX_OBJECTS });
  if (objects.length === 0) {
    const what = address.isPrefix ? 'there are no objects below it' : 'there is no such object, and none below it';
    throw new DumpError('SYSTEM', what, { file: name });
  }
  return filesOf(bridge, address, objects);
}

function openObject(bridge: S3Bridge, address: S3Address, isPrefix: boolean): S3Object | undefined {
  if (isPrefix || address.isPrefix) return undefined;
  const info = bridge.head(address);
  return info && new S3Object(bridge, address, info);
}

/** The images below a prefix: there, or in the only folder with an inventory, as engines have `checkpoint/`. */
function filesOf(bridge: S3Bridge, address: S3Address, objects: readonly ObjectInfo[]): S3Files {
  const prefix = keyPrefix(address);
  const names = objects.map(({ key }) => key.slice(prefix.length));
  const inside = names.filter((name) => /^[^/]+\/[^/]+$/.test(name) && name.endsWith(`/${INVENTORY}`));
  if (names.some((name) => /^[^/]+\.img$/.test(name)) || inside.length !== 1) {
    return new S3Files(bridge, address, objects);
  }
  const folder = (inside[0] as string).slice(0, -INVENTORY.length);
  const below = objects.filter(({ key }) => key.startsWith(`${prefix}${folder}`));
  return new S3Files(bridge, { ...address, key: `${prefix}${folder.slice(0, -1)}` }, below);
}
