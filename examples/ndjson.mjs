// Decodes an image into lines of JSON, one for each entry: node ndjson.mjs IMAGE
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { decodeImage } from 'pagepipe/images';
import chain from 'stream-chain';

/** JSON has neither 64-bit integers nor bytes. */
const plain = (_key, value) => {
  if (typeof value === 'bigint') return value.toString();
  return value instanceof Uint8Array ? Buffer.from(value).toString('base64') : value;
};

await pipeline(
  chain([
    createReadStream(process.argv[2]),
    decodeImage(),
    // Parts that are no entries are dropped: the start of the image, and payloads.
    ({ type, entry }) => (type === 'entry' ? `${JSON.stringify(entry, plain)}\n` : null),
  ]),
  process.stdout,
);
