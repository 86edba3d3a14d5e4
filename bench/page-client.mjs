// A minimal client of a page server, so that it measures the server and not itself.
//
//   node page-client.mjs drain PORT CLIENTS PAGES     fetches PAGES pages by each client, 1 MiB a request, four in flight
//   node page-client.mjs single PORT CLIENTS PAGES [24|32]
//                                                     fetches single pages of the first PAGES, one at a time by each client
//   node page-client.mjs plain PORT                   takes whatever comes, to the end
//
// Prints JSON: bytes and seconds, or the times of single answers in microseconds. The dump is one of generate.mjs.
import { connect } from 'node:net';

const [mode, port, clients = '1', pages = '0', form = '24'] = process.argv.slice(2);
const PAGE = 4096;
/** Bytes of a message: 24 up to CRIU 4.1, 32 from 4.2 on. */
const MESSAGE = Number(form);
const GET = 7;
const BASE = 0x10000000n;
const PID = 1n;
const REQUEST_PAGES = 256;
const IN_FLIGHT = 4;
const SINGLES = 5000;

function get(first, count) {
  const message = Buffer.alloc(MESSAGE);
  message.writeUInt32LE(GET, 0);
  message.writeUInt32LE(count, MESSAGE === 24 ? 4 : 8);
  message.writeBigUInt64LE(BASE + BigInt(first) * BigInt(PAGE), MESSAGE - 16);
  message.writeBigUInt64LE(PID, MESSAGE - 8);
  return message;
}

/** Connects; `take` gets the number of bytes of each read. */
function open(take, onConnect) {
  const buffer = Buffer.alloc(2 ** 20);
  const callback = (bytes) => {
    take(bytes);
    return true;
  };
  return connect({ port: Number(port), host: '127.0.0.1', noDelay: true, onread: { buffer, callback } }, onConnect);
}

const drain = () =>
  new Promise((resolve, reject) => {
    const total = Number(pages);
    const wanted = total * PAGE + Math.ceil(total / REQUEST_PAGES) * MESSAGE;
    let asked = 0;
    let bytes = 0;
    const ask = () => {
      const answered = Math.floor(bytes / (REQUEST_PAGES * PAGE + MESSAGE)) * REQUEST_PAGES;
      for (; asked < total && asked - answered < IN_FLIGHT * REQUEST_PAGES; asked += REQUEST_PAGES) {
        socket.write(get(asked, Math.min(REQUEST_PAGES, total - asked)));
      }
    };
    const socket = open((count) => {
      bytes += count;
      if (bytes < wanted) ask();
      else socket.destroy(resolve(bytes));
    }, ask);
    socket.on('error', reject);
    socket.on('end', () => reject(new Error(`the server left after ${bytes} of ${wanted} bytes`)));
  });

const single = (seed, times) =>
  new Promise((resolve, reject) => {
    let place = seed;
    let left = SINGLES;
    let bytes = 0;
    let asked = 0;
    const ask = () => {
      // Any page, but the same ones in every run.
      place = (place * 1103515245 + 12345) % 2 ** 31;
      asked = performance.now();
      socket.write(get(place % Number(pages), 1));
    };
    const socket = open((count) => {
      bytes += count;
      if (bytes < PAGE + MESSAGE) return;
      bytes = 0;
      times.push((performance.now() - asked) * 1000);
      if (--left > 0) ask();
      else socket.destroy(resolve());
    }, ask);
    socket.on('error', reject);
  });

const plain = () =>
  new Promise((resolve, reject) => {
    let bytes = 0;
    const socket = open((count) => {
      bytes += count;
    });
    socket.on('error', reject);
    socket.on('end', () => resolve(bytes));
  });

const start = performance.now();
const each = (action) => Promise.all(Array.from({ length: Number(clients) }, (_, i) => action(i)));
if (mode === 'single') {
  const times = [];
  await each((i) => single(i * 7919 + 1, times));
  times.sort((a, b) => a - b);
  const at = (share) => times[Math.floor(times.length * share)];
  console.log(JSON.stringify({ count: times.length, p50: at(0.5), p99: at(0.99) }));
} else {
  const bytes = await each(mode === 'drain' ? drain : plain);
  const seconds = (performance.now() - start) / 1000;
  console.log(JSON.stringify({ bytes: bytes.reduce((sum, count) => sum + count), seconds }));
}
