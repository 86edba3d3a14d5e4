/** Connects a client to a pair of streams that answers it: a program's stdin and stdout, or a stream of another connection. */
import type { Duplex, Readable, Writable } from 'node:stream';
import { pour } from './pour.js';

/**
 * Passes on the bytes of either side, until the answering side ends.
 * @throws if one of them fails; then both are destroyed
 */
export async function bridge(client: Duplex, input: Writable, output: Readable): Promise<void> {
  void feed(client, input).catch(() => {});
  // The client also gets the last bytes of an answering side that fails.
  await pour(output, client);
}

/**
 * Passes on the bytes of a client as long as the other side reads them. That side may stop before the client does. The
 * client's stream is not ended then, because the last answer may still come.
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
