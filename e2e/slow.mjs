// A store that is far away: passes HTTP on, and lets every request wait first. Says "listening at ADDRESS:PORT", then one line
// for each request: method, path, range, status, bytes of the answer, and milliseconds since the start.
//
//   node slow.mjs ENDPOINT MILLISECONDS ADDRESS
import { Agent, createServer, request } from 'node:http';
import { argv } from 'node:process';
import { setTimeout as wait } from 'node:timers/promises';

const [, , endpoint, milliseconds, host] = argv;
const agent = new Agent({ keepAlive: true });

const server = createServer(async (from, to) => {
  const { method, url, headers } = from;
  await wait(Number(milliseconds));
  const onward = request(new URL(url, endpoint), { method, headers, agent }, (answer) => {
    let bytes = 0;
    to.writeHead(answer.statusCode, answer.rawHeaders);
    answer.on('data', (chunk) => {
      bytes += chunk.length;
    });
    answer.on('end', () =>
      console.log(method, url, headers.range ?? '-', answer.statusCode, bytes, Math.round(performance.now())),
    );
    answer.pipe(to);
  });
  onward.on('error', () => to.destroy());
  to.on('close', () => onward.destroy());
  from.pipe(onward);
}).listen(0, host, () => console.log(`listening at ${host}:${server.address().port}`));
