// A page stream on stdin made lazy by stream-chain: each stage is a Transform stream of Node. What comes out goes to stdout.
import { pipeline } from 'node:stream/promises';
import { classify, DROP_LAZY, filter, rebuild } from 'pagepipe';
import { decodePageStream, encodePageStream } from 'pagepipe/containers';
import chain from 'stream-chain';

const stages = [decodePageStream(), classify(), filter(DROP_LAZY), rebuild(), encodePageStream()];
await pipeline(process.stdin, chain(stages, { noGrouping: true }), process.stdout);
