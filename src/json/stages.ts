/** Images and their JSON as stages for stream-chain, in both directions: chunks of bytes in, chunks of bytes out. */
import { flushable, many } from 'stream-chain';
import { type DecodeOptions, ImageDecoder } from '../image/decoder.js';
import { type EncodeOptions, JsonImageReader } from './from-json.js';
import { JsonImageWriter, type JsonOptions } from './to-json.js';

/**
 * A stage: chunks of an image in, its JSON out as `crit decode` writes it, without a newline at the end.
 * @throws {DumpError} in the chain: WRONG_MAGIC, TRUNCATED, LIMIT, MALFORMED
 */
export function imageToJson({ pretty = false, noPayload = false, ...options }: DecodeOptions & JsonOptions = {}) {
  const out = new Collected();
  const decoder = new ImageDecoder(new JsonImageWriter(out.emit, { pretty, noPayload }), options);
  return byteStage(decoder, out);
}

/**
 * A stage: chunks of JSON in, the image out.
 * @throws {DumpError} in the chain: BAD_JSON, BAD_VALUE, with the path of what cannot be written
 */
export function jsonToImage(options: EncodeOptions = {}) {
  const out = new Collected();
  return byteStage(new JsonImageReader(out.emit, options), out);
}

/** What a codec emits; later streams may keep it past the next chunk. */
class Collected {
  private chunks: Uint8Array[] = [];

  readonly emit = (bytes: Uint8Array): void => {
    this.chunks.push(bytes.slice());
  };

  take(): Uint8Array[] {
    const { chunks } = this;
    this.chunks = [];
    return chunks;
  }
}

const byteStage = (codec: { push(chunk: Uint8Array): void; end(): void }, out: Collected) =>
  flushable(
    (chunk: Uint8Array) => {
      codec.push(chunk);
      return many(out.take());
    },
    () => {
      codec.end();
      return many(out.take());
    },
  );
