// A page server in a program that also answers HTTP: node page-server.mjs DUMP
import { once } from 'node:events';
import { createServer as createHttpServer } from 'node:http';
import { createServer } from 'node:net';
import { openMemory, serveClient } from 'pagepipe/serve';

const memory = await openMemory(process.argv[2]);
const status = { clients: 0, pages: 0, ended: [] };

// CRIU ends its side first and still waits for answers.
const pages = createServer({ allowHalfOpen: true }, async (socket) => {
  status.clients++;
  const answered = (_request, count) => {
    status.pages += count;
  };
  status.ended.push(await serveClient(memory, socket, { name: `${socket.remoteAddress}`, answered }));
});
// With Express, this is app.get('/status', (request, response) => response.json(status)).
const http = createHttpServer((_request, response) => {
  response.setHeader('content-type', 'application/json');
  response.end(JSON.stringify(status));
});

for (const server of [pages, http]) server.listen(0, '127.0.0.1');
await Promise.all([once(pages, 'listening'), once(http, 'listening')]);
console.log(`pages at ${pages.address().port}, status at http://127.0.0.1:${http.address().port}/status`);
