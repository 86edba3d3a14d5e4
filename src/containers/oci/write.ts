/**
 * Records into an archive of an OCI layout. The layer is the archive that {@link TarSink} makes. Its digest is its name and its
 * size comes before it, so it waits until it is complete: in memory up to the budget, beyond that in a temporary file.
 */
import { createHash } from 'node:crypto';
import { Breather } from '../../io/breathe.js';
import { type ByteOutput, compressedOutput } from '../../io/byte-output.js';
import { ByteQueue } from '../../io/byte-queue.js';
import type { Compression } from '../../io/compression.js';
import { BLOCK, paddedBytes } from '../tar/block.js';
import { newHeader } from '../tar/headers.js';
import { TarSink, type TarSinkOptions } from '../tar/write.js';
import { blobName, type CheckpointImage, filesAround, newImage } from './layout.js';

export interface OciSinkOptions extends TarSinkOptions {
  /** The image that the dump comes from, all of which is kept but the layer. */
  image?: CheckpointImage | undefined;
  compression: Compression | undefined;
}

/** The layer is held in portions of this size. In between, the output may catch up. */
const PORTION_BYTES = 1024 * 1024;

export class OciSink extends TarSink {
  constructor(
    private readonly archive: ByteOutput,
    private readonly image: OciSinkOptions,
    private readonly layer = new Layer(image),
  ) {
    super(layer.output, image);
  }

  override async finish(): Promise<void> {
    await super.finish();
    const { digest, size, diffId } = this.layer;
    const { image = newImage(this.header.march), compression } = this.image;
    const files: Map<string, Uint8Array | undefined> = filesAround(image, { digest, size, diffId, compression });
    files.set(blobName({ digest }), undefined);
    for (const folder of ['blobs/', 'blobs/sha256/']) this.putHeader(folder, 0);
    for (const name of [...files.keys()].sort()) {
      const bytes = files.get(name);
      this.putHeader(name, bytes?.length ?? size);
      if (bytes) this.archive.write(bytes);
      else await this.putLayer();
      this.archive.write(new Uint8Array(paddedBytes(bytes?.length ?? size) - (bytes?.length ?? size)));
    }
    this.archive.write(new Uint8Array(2 * BLOCK));
    await this.archive.commit();
    this.layer.close();
  }

  override async discard(): Promise<void> {
    await super.discard();
    this.layer.close();
    await this.archive.discard();
  }

  private putHeader(name: string, size: number): void {
    const isFolder = name.endsWith('/');
    const { mtimeSeconds = 0 } = this.image;
    this.archive.write(newHeader(name, isFolder ? 0o755 : 0o644, size, mtimeSeconds, isFolder ? '5' : '0'));
  }

  private async putLayer(): Promise<void> {
    const breather = new Breather();
    for (let left = this.layer.size; left > 0; left -= PORTION_BYTES) {
      for (const record of this.layer.bytes.take(Math.min(left, PORTION_BYTES))) {
        for (const bytes of record.type === 'bytes' ? [record.bytes] : this.extents.read(record)) {
          this.archive.write(bytes);
          const drained = this.archive.drain();
          if (drained) await drained;
        }
      }
      await breather.due();
      this.image.signal?.throwIfAborted();
    }
  }
}

/** An unfinished layer and its digests. */
class Layer {
  readonly bytes: ByteQueue;
  readonly output: ByteOutput;
  /** Bytes. */
  size = 0;
  private readonly packed = createHash('sha256');
  private readonly plain = createHash('sha256');

  constructor({ budget, compression }: OciSinkOptions) {
    this.bytes = new ByteQueue(budget);
    const held: ByteOutput = {
      write: (bytes) => {
        this.packed.update(bytes);
        this.size += bytes.length;
        this.bytes.push(bytes);
      },
      drain: () => {},
      commit: () => {},
      discard: () => {},
    };
    const output = compressedOutput(held, compression);
    this.output = {
      write: (bytes) => {
        this.plain.update(bytes);
        output.write(bytes);
      },
      drain: () => output.drain(),
      commit: () => output.commit(),
      discard: () => output.discard(),
    };
  }

  /** When the layer is complete. */
  get digest(): string {
    return `sha256:${this.packed.digest('hex')}`;
  }

  /** The digest of the plain layer. */
  get diffId(): string {
    return `sha256:${this.plain.digest('hex')}`;
  }

  close(): void {
    this.bytes.close();
  }
}
