/**
 * How a dump is kept below a prefix. Each file is an object, whose key is the prefix and its name. There are no links and no
 * modes in an object store:
 *
 * - The link `parent` is an object of this name. Its content is the target as text: relative, as from a directory. From
 *   `s3://bucket/jobs/2`, `../1` leads to `s3://bucket/jobs/1`. It stays in the bucket, so a dump cannot have others read.
 * - Other links are not kept. A writer puts the content in their place.
 * - A key that ends with a slash is a marker, as consoles make for folders, and no file.
 * - Files are readable by their owner only, as CRIU makes them.
 */

/** The object that says where the parent of an incremental dump is. */
export const PARENT = 'parent';

/** A dump is complete when it has this object, which is written last. */
export const INVENTORY = 'inventory.img';

/** Permission bits of a dump, and of its files. */
export const FOLDER_MODE = 0o700;
export const FILE_MODE = 0o600;

/** Whether a key is that of a marker. */
export const isMarker = (key: string): boolean => key === '' || key.endsWith('/');
