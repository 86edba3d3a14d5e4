// A wire that goes dead in the middle: passes bytes between one client and a page server, and after so many bytes of the
// server's no more. Ends when its client has ended.
//
//   node stall.mjs HOST:PORT BYTES      says "listening at 127.0.0.1:PORT", then "stalled"
import { connect, createServer } from 'node:net';
import { argv } from 'node:process';

const [, , address, bytes] = argv;
const [host, port] = address.split(':');
let left = Number(bytes);

const listener = createServer((client) => {
  listener.close();
  const server = connect({ host, port: Number(port) });
  client.pipe(server);
  server.on('data', (chunk) => {
    client.write(chunk.subarray(0, left));
    left -= chunk.length;
    if (left > 0) return;
    // What is not read stays with the server.
    server.pause();
    console.log('stalled');
  });
  for (const end of [client, server]) {
    end.on('error', () => {});
    end.on('close', () => {
      client.destroy();
      server.destroy();
    });
  }
}).listen(0, '127.0.0.1', () => console.log(`listening at 127.0.0.1:${listener.address().port}`));
