/** CRIU is killed at each message of the protocol, or between two: one error, and nothing is left. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { writeDump } from '../helpers/dump-writer.js';
import { Running } from '../helpers/running.js';
import { openFiles, tempDir } from '../helpers/temp.js';
import { LAST, sendDump, tasksOf } from './dumps.js';
import { Peer, whyNot } from './peer.js';

/** What CRIU says of a file before it sends its descriptor, in hexadecimal. */
function request(name: string): string {
  const message = [0x0a, name.length, ...Buffer.from(name)];
  return Buffer.from([message.length, 0, 0, 0, ...message]).toString('hex');
}

interface Moment {
  peer: Peer;
  dump: string;
}

/** What has been done when it is killed. */
type Case = readonly [what: string, before: (moment: Moment) => Promise<unknown>, outcome: RegExp | 'success'];

const INSIDE = /^criu: the connection ended inside a request$/;
const pages = 'pages-1.img';

async function cut(command: 'capture' | 'provide', before: Case[1]) {
  const root = tempDir();
  const images = tempDir();
  const dump = join(root, 'dump');
  writeDump(dump, { tasks: tasksOf(2) });
  const [words, socket] =
    command === 'capture' ? [[join(root, 'out')], 'streamer-capture.sock'] : [[dump], 'streamer-serve.sock'];
  const running = new Running([command, '-D', images, ...words]);
  await running.prints(/can start/);
  const peer = new Peer();
  await peer.does('connect', join(images, socket));
  await before({ peer, dump });
  peer.kill();
  const code = await running.code();
  expect(readdirSync(root)).toEqual(['dump']);
  expect(readdirSync(images)).toEqual([]);
  expect(openFiles(root)).toEqual([]);
  const errors = running.err.split('\n').flatMap((line) => /^pagepipe: error: (.*)$/.exec(line)?.[1] ?? []);
  return { code, errors, images };
}

describe.skipIf(whyNot !== '')(`CRIU is killed${whyNot && `, not tested: ${whyNot}`}`, () => {
  const NO_INVENTORY = /: criu closed the connection without sending inventory\.img$/;
  const half = async (moment: Moment, name: string) => {
    await moment.peer.does('open', name);
    await moment.peer.does('write', name, join(moment.dump, name), 0, 8);
  };
  const captures: Case[] = [
    ['before its first request', async () => {}, NO_INVENTORY],
    ['inside a length', ({ peer }) => peer.does('send', '0f00'), INSIDE],
    ['inside a name', ({ peer }) => peer.does('send', request(pages).slice(0, 20)), INSIDE],
    ['before a descriptor', ({ peer }) => peer.does('send', request(pages)), INSIDE],
    ['before the first byte of a file', ({ peer }) => peer.does('open', pages), NO_INVENTORY],
    ['inside a page', (moment) => half(moment, pages), NO_INVENTORY],
    ['before the inventory', ({ peer, dump }) => sendDump(peer, dump, [LAST]), NO_INVENTORY],
    [
      'before the descriptor of the inventory',
      async ({ peer, dump }) => {
        await sendDump(peer, dump, [LAST]);
        await peer.does('send', request(LAST));
      },
      INSIDE,
    ],
    [
      'before the first byte of the inventory',
      async ({ peer, dump }) => {
        await sendDump(peer, dump, [LAST]);
        await peer.does('open', LAST);
      },
      /^inventory\.img@0x0: expected 4 bytes of magic \(INVENTORY\), found 0$/,
    ],
    [
      'inside the inventory',
      async (moment) => {
        await sendDump(moment.peer, moment.dump, [LAST]);
        await half(moment, LAST);
      },
      /^inventory\.img@0x4 entry 0: expected an entry of 10 bytes with its size, found 4$/,
    ],
    [
      'inside pages, with the inventory complete',
      async (moment) => {
        await half(moment, pages);
        await sendDump(moment.peer, moment.dump, [pages]);
      },
      /^pages-1\.img: the file has 8184 bytes fewer than pagemap-15\.img says$/,
    ],
  ];
  test.each(captures)('while it dumps, %s', async (_what, before, outcome) => {
    const { code, errors } = await cut('capture', before);
    expect(errors).toEqual([expect.stringMatching(outcome as RegExp)]);
    expect(code).toBe(1);
  });

  const provides: Case[] = [
    ['before its first request', async () => {}, 'success'],
    ['inside a length', ({ peer }) => peer.does('send', '0f00'), INSIDE],
    ['inside a name', ({ peer }) => peer.does('send', request(pages).slice(0, 20)), INSIDE],
    ['before a descriptor', ({ peer }) => peer.does('send', request(pages)), INSIDE],
    [
      'before it reads an answer',
      async ({ peer }) => {
        await peer.does('send', request(pages));
        await peer.does('wait');
      },
      INSIDE,
    ],
    ['after a file that is not there', ({ peer }) => peer.does('ask', 'apparmor.img'), 'success'],
    ['before it reads a file', ({ peer }) => peer.does('ask', pages), 'success'],
    [
      'inside pages',
      async ({ peer }) => {
        await peer.does('ask', pages);
        await peer.does('read', pages, '/dev/null', 100);
      },
      'success',
    ],
  ];
  // Only CRIU knows what it still needs.
  test.each(provides)('while it restores, %s', async (_what, before, outcome) => {
    const { code, errors } = await cut('provide', before);
    expect(errors).toEqual(outcome === 'success' ? [] : [expect.stringMatching(outcome)]);
    expect(code).toBe(outcome === 'success' ? 0 : 1);
  });
});
