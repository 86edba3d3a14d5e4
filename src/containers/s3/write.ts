/**
 * Records into objects below a prefix, as names.ts describes. Nothing is to be seen before {@link S3Sink.finish}: small files
 * wait in memory, and of the others the parts. Then all objects appear but the inventory, several at a time, and the inventory
 * as the last: so a reader never takes a half of a dump for one. If that fails, those that have appeared are removed again.
 *
 * With `force` a dump that is there stays as it is until then. First its inventory is removed, then its other objects.
 */
import { checkLink, isImageName, isSumsName, linkPlace, notOfDump, PARTIAL, pagesName } from '../../dump/names.js';
import type { FileRecord, Space } from '../../dump/records.js';
import { DumpError, invariant } from '../../errors.js';
import { counted } from '../../printable.js';
import { FilesSink, type FilesSinkOptions } from '../files-sink.js';
import type { Written } from '../written.js';
import { keyPrefix, parseS3Name, type S3Address, s3Name } from './address.js';
import { type S3Bridge, s3Bridge } from './bridge.js';
import { INVENTORY, isMarker, PARENT } from './names.js';
import { S3Output } from './output.js';
import { PartQueue } from './parts.js';
import type { S3Settings } from './protocol.js';

/** Requests at a time. */
const PARALLEL = 16;
/** Small files in memory, all together; beyond that they are uploaded in parts. */
const MAX_HELD_BYTES = 32 * 2 ** 20;
/** What can be replaced has at most so many objects. */
const MAX_REPLACED = 100_000;

export interface S3SinkOptions extends FilesSinkOptions {
  force?: boolean;
  /** Where the store is. */
  s3?: S3Settings | undefined;
  /** Ends waits for the store. */
  signal?: AbortSignal | undefined;
}

export class S3Sink extends FilesSink {
  readonly written: Written = { files: 0, bytes: 0, holePages: 0, isPartial: false, parentMissing: false };
  private readonly address: S3Address;
  private readonly bridge: S3Bridge;
  private readonly queue: PartQueue;
  /** Keys of what is replaced. */
  private readonly replaced: ReadonlySet<string>;
  private readonly outputs = new Map<string, S3Output>();
  private readonly links = new Map<string, string>();
  private readonly appeared: string[] = [];
  private heldBytes = 0;
  private ended = false;

  /** Throws {@link DumpError} OUTPUT_EXISTS, BAD_NAME, SYSTEM. */
  constructor(
    place: string,
    private readonly options: S3SinkOptions = {},
  ) {
    super(options);
    this.address = parseS3Name(place);
    this.bridge = s3Bridge(options.s3);
    this.queue = new PartQueue(this.bridge, options.signal);
    this.replaced = new Set(this.lookAt(place));
  }

  override write(record: Parameters<FilesSink['write']>[0]): void | Promise<void> {
    const written = super.write(record);
    return written ? written.then(() => this.queue.drain()) : this.queue.drain();
  }

  async finish(): Promise<void> {
    invariant(this.ended, 'a dump has an end');
    this.copyLinks();
    await Promise.all([...this.outputs.values()].map((output) => output.sent()));
    await this.removeReplaced();
    const others = [...this.outputs].filter(([name]) => name !== INVENTORY);
    await inParallel(others, ([name, output]) => this.appear(name, output));
    const inventory = this.outputs.get(INVENTORY);
    if (inventory) await this.appear(INVENTORY, inventory);
    Object.assign(this.written, { holePages: this.holePages, isPartial: this.isPartial });
  }

  /** Removes everything that was written, also what has appeared already. */
  async discard(): Promise<void> {
    const remove = (name: string) => this.remove(this.keyOf(name));
    const isThere = this.appeared.includes(INVENTORY);
    const failures = isThere ? await settle([INVENTORY], remove) : [];
    failures.push(...(await settle(this.appeared, remove)));
    failures.push(...(await settle([...this.outputs.values()], (output) => output.discard())));
    if (failures.length > 0) throw failures[0];
  }

  protected startFile({ kind, name, target }: FileRecord): void {
    // A folder is there with the files in it.
    if (kind === 'directory') return;
    this.checkName(name);
    if (kind === 'regular' && name === PARENT) {
      throw new DumpError('BAD_NAME', 'expected a link to the parent dump, found a file', { file: name });
    }
    if (kind === 'regular') this.open(name);
    else this.addLink(name, Buffer.from(target ?? []).toString());
  }

  protected fileBytes(bytes: Uint8Array, { name }: FileRecord): void {
    this.put(name, bytes);
  }

  protected endFile({ kind, name }: FileRecord): void {
    if (kind === 'regular') this.close(name);
  }

  protected startSpace(space: Space): void {
    for (const name of [space.pagemap, pagesName(space)]) {
      this.checkName(name);
      this.open(name);
    }
  }

  protected pagemapBytes(bytes: Uint8Array, { pagemap }: Space): void {
    this.put(pagemap, bytes);
  }

  protected pagesBytes(bytes: Uint8Array, space: Space): void {
    this.put(pagesName(space), bytes);
  }

  protected endSpace(space: Space): void {
    for (const name of [space.pagemap, pagesName(space)]) this.close(name);
  }

  protected end(): void {
    this.ended = true;
  }

  private put(name: string, bytes: Uint8Array): void {
    this.sum(name, bytes);
    this.outputs.get(name)?.write(bytes);
    this.written.bytes += bytes.length;
  }

  private open(name: string): void {
    const { bucket } = this.address;
    const isNew = !this.replaced.has(this.keyOf(name));
    const output = new S3Output(this.bridge, this.queue, { bucket, key: this.keyOf(name) }, isNew);
    this.outputs.set(name, output);
    this.written.files++;
  }

  private close(name: string): void {
    const output = this.outputs.get(name) as S3Output;
    const isTooMuch = this.heldBytes + output.heldBytes > MAX_HELD_BYTES;
    output.end(isTooMuch && output.heldBytes > 0);
    this.heldBytes += output.heldBytes;
  }

  private addLink(name: string, target: string): void {
    checkLink(name, target);
    if (name !== PARENT) {
      this.links.set(name, target);
      return;
    }
    if (target.startsWith('/')) {
      const what = 'the parent has an absolute path, which leads nowhere from an object store';
      throw new DumpError('UNSUPPORTED', what, { file: name });
    }
    this.open(name);
    this.put(name, Buffer.from(target));
    this.close(name);
  }

  /** There are no links, so the content of a file takes the place of a link to it. */
  private copyLinks(): void {
    for (const [name, target] of this.links) {
      const output = this.outputs.get(this.follow(name, target));
      if (!output || output.heldBytes < output.bytes) {
        const what = output ? 'a link to a large file' : 'a link to no file of the dump';
        throw new DumpError('UNSUPPORTED', `an object store cannot hold ${what}`, { file: name });
      }
      const { held } = output;
      this.open(name);
      this.put(name, held);
      this.close(name);
    }
  }

  private follow(name: string, target: string): string {
    let place = linkPlace(name, target, (other) => this.links.has(other)) ?? '';
    for (let links = 0; links < this.links.size && this.links.has(place); links++) {
      place = linkPlace(place, this.links.get(place) as string, (other) => this.links.has(other)) ?? '';
    }
    return place;
  }

  private async appear(name: string, output: S3Output): Promise<void> {
    this.options.signal?.throwIfAborted();
    await output.commit();
    this.appeared.push(name);
  }

  private async removeReplaced(): Promise<void> {
    if (this.replaced.size === 0) return;
    this.options.signal?.throwIfAborted();
    const inventory = this.keyOf(INVENTORY);
    if (this.replaced.has(inventory)) await this.remove(inventory);
    const written = new Set([...this.outputs.keys()].map((name) => this.keyOf(name)));
    await inParallel(
      [...this.replaced].filter((key) => !written.has(key) && key !== inventory),
      (key) => this.remove(key),
    );
  }

  private remove(key: string): Promise<void> {
    return this.bridge.start('remove', { bucket: this.address.bucket, key }).settled();
  }

  private keyOf(name: string): string {
    return `${keyPrefix(this.address)}${name}`;
  }

  private checkName(name: string): void {
    if (this.outputs.has(name) || this.links.has(name)) {
      throw new DumpError('BAD_NAME', 'the name occurs twice', { file: name });
    }
    parseS3Name(s3Name({ bucket: this.address.bucket, key: this.keyOf(name) }));
  }

  /** The keys that are there and may be replaced. Throws {@link DumpError} OUTPUT_EXISTS. */
  private lookAt(place: string): string[] {
    const { bucket, key, isPrefix } = this.address;
    if (!isPrefix && this.bridge.head({ bucket, key })) {
      throw new DumpError('OUTPUT_EXISTS', 'expected no object of this name, found one', { file: place });
    }
    const { objects } = this.bridge.list({ bucket, prefix: keyPrefix(this.address), most: MAX_REPLACED });
    const keys = objects.map((object) => object.key);
    if (keys.length === 0) return keys;
    const names = keys.map((found) => found.slice(keyPrefix(this.address).length)).filter((name) => !isMarker(name));
    if (names.length === 0) return [];
    const others = notOfDump(names).length === 0 ? [] : names.filter((name) => !isOfDump(name));
    if (this.options.force && others.length === 0) return keys;
    const what = others.length === 0 ? 'a dump' : `${counted(others.length, 'object')} of something else`;
    throw new DumpError('OUTPUT_EXISTS', `expected nothing below it, found ${what}`, {
      file: place,
      ...(others.length === 0 ? { hint: 'use --force to replace it' } : {}),
    });
  }
}

/** Whether a name is one of those that a dump has: what is left of a dump without its inventory may be replaced, too. */
const isOfDump = (name: string): boolean =>
  isImageName(name) || isSumsName(name) || name === PARTIAL || name === PARENT || /^[^/]*\.img$/.test(name);

/** Several at a time. After a failure no more begin, and those that have begun come to their end before it is thrown. */
async function inParallel<T>(items: readonly T[], action: (item: T) => Promise<void>): Promise<void> {
  const failures = await settle(items, action, true);
  if (failures.length > 0) throw failures[0];
}

/** @returns what was thrown */
async function settle<T>(
  items: readonly T[],
  action: (item: T) => Promise<void>,
  endsEarly = false,
): Promise<unknown[]> {
  const failures: unknown[] = [];
  const rest = [...items].reverse();
  const work = async () => {
    for (let item = rest.pop(); item !== undefined; item = rest.pop()) {
      if (endsEarly && failures.length > 0) return;
      await action(item).catch((error) => failures.push(error));
    }
  };
  await Promise.all(Array.from({ length: PARALLEL }, work));
  return failures;
}

/**
 * An object that is being written, as the output for an archive.
 * @throws {DumpError} OUTPUT_EXISTS, BAD_NAME, SYSTEM
 */
export function openS3Output(place: string, { force = false, s3, signal }: S3SinkOptions): S3Output {
  const address = parseS3Name(place);
  if (address.isPrefix) {
    throw new DumpError('BAD_NAME', 'expected the key of an object, found a prefix', { file: place });
  }
  const bridge = s3Bridge(s3);
  if (!force && bridge.head(address)) {
    throw new DumpError('OUTPUT_EXISTS', 'expected no object, found one', {
      file: place,
      hint: 'use --force to replace it',
    });
  }
  const { bucket, key } = address;
  return new S3Output(bridge, new PartQueue(bridge, signal), { bucket, key }, !force);
}

/**
 * Whether a dump is complete: a prefix with its inventory, or an object, which appears at once.
 * @throws {DumpError} OUTPUT_EXISTS for other objects below a prefix
 */
export function isThereInS3(place: string, isPrefix: boolean, s3: S3Settings): boolean {
  const address = parseS3Name(place);
  const { bucket, key } = address;
  const bridge = s3Bridge(s3);
  if (!isPrefix) return bridge.head({ bucket, key }) !== undefined;
  const prefix = keyPrefix(address);
  if (bridge.head({ bucket, key: `${prefix}${INVENTORY}` })) return true;
  if (bridge.list({ bucket, prefix, most: MAX_REPLACED }).objects.every((object) => isMarker(object.key))) return false;
  throw new DumpError('OUTPUT_EXISTS', 'something is there, but not the complete output', {
    file: place,
    hint: 'remove it, if nothing of it is needed',
  });
}
