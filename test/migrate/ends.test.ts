/** What one end of a migration hears of the other. */
import { once } from 'node:events';
import { connect, createServer, type Socket } from 'node:net';
import { expect, onTestFinished, test } from 'vitest';
import { FarEnd, GivenUp } from '../../src/migrate/far.js';
import { NearEnd, type Steps } from '../../src/migrate/near.js';
import { lingerFor } from '../helpers/deaf.js';

/** Both ends of one connection. */
async function pair(): Promise<[Socket, Socket]> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as { port: number };
  const there = connect(port, '127.0.0.1');
  const [here] = (await once(server, 'connection')) as [Socket];
  onTestFinished(() => {
    for (const socket of [here, there]) socket.destroy();
    server.close();
  });
  return [here, there];
}

test.each([true, false])('a far end that fails says whether trying again may help: %s', async (temporary) => {
  const [here, there] = await pair();
  const near = new NearEnd(here, 'far', {} as Steps);
  const far = new FarEnd(there);
  const ended = expect(near.run()).rejects.toMatchObject({
    message: 'far: no space left on device',
    hint: 'look there',
    temporary,
  });
  expect(await far.failed({ message: 'no space left on device', hint: 'look there', temporary })).toBe(true);
  far.close();
  await ended;
});

test('the connection ends at once when a step is refused', async () => {
  lingerFor(2 ** 30);
  const [here, there] = await pair();
  const ready = () => Promise.reject(new Error('refused'));
  const near = new NearEnd(here, 'far', { ready } as unknown as Steps);
  const far = new FarEnd(there);
  const ended = expect(near.run()).rejects.toThrow('refused');
  await expect(
    far.ready({ criu: '4.2', architecture: 'x64', out: '/out', freeBytes: 0, namespace: '' }),
  ).rejects.toThrow(GivenUp);
  far.close();
  await ended;
});
