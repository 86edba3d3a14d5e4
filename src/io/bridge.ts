/** Joins a client to a stream pair that answers it: a program's stdin and stdout, a stream of another connection. */
import type { Duplex, Readable, Writable } from 'node:stream';
import { pour } from './pour.js';

/**
 * Passes on what either side says, until the answering side has said all.
 * @throws if one of them breaks off; both are destroyed then
 */
export async function bridge(client: Duplex, input: Writable, output: Readable): Promise<void> {
  void feed(client, input).catch(() => {});
  // Also the last words of an answering side that fails are for the client.
  await pour(output, client);
}

/**
 * Passes on what a client says, for as long as the other side listens to it. That may end before its client: it does not
 * end the client's stream, for the last answer may be on its way.
 */
async function feed(client: Duplex, input: Writable): Promise<void> {
  input.on('error', () => {});
  for await (const chunk of client.iterator({ destroyOnReturn: false })) {
    await new Promise<void>((resolve) => {
      input.write(chunk, () => resolve());
    });
    if (input.destroyed) return;
  }
  input.end();
}
