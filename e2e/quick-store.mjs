// A store with one object that answers at once: that of the tests. moto reads all of an object for each range, and answers one
// request after the other. Says "listening at ADDRESS:PORT".
//
//   node quick-store.mjs BUCKET KEY FILE
import { readFileSync } from 'node:fs';
import { argv } from 'node:process';
import { Worker } from 'node:worker_threads';

const [, , bucket, key, file] = argv;
const store = new Worker(new URL('../test/helpers/s3-server-thread.mjs', import.meta.url));
store.postMessage({ id: 1, order: 'bucket', bucket });
const bytes = readFileSync(file);
store.postMessage({ id: 2, order: 'set', bucket, key, bytes }, [bytes.buffer]);
let port;
store.on('message', ({ id, result }) => {
  // The first message is the port.
  if (id === 0) port = result;
  if (id === 2) console.log(`listening at 127.0.0.1:${port}`);
});
