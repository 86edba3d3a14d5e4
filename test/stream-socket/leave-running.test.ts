/** Captures of tasks that go on: they wait until all bytes are here, and not until they are written. */
import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { isPagesName } from '../../src/dump/names.js';
import { Capture, type CaptureOptions } from '../../src/stream-socket/capture.js';
import { waitForCapture } from '../../src/stream-socket/post-dump.js';
import { connected, PAGES, placesOfFile, sendDump, sendFile } from './dumps.js';
import { whyNot } from './peer.js';

const places = placesOfFile();

const OPTIONS: CaptureOptions = {
  signal: new AbortController().signal,
  warn: () => {},
  frozen: () => {},
  runsScript: true,
  goesOn: true,
};

describe.skipIf(whyNot !== '')(`tasks that go on${whyNot && `, not tested: ${whyNot}`}`, () => {
  test('go on while nothing but pages has been taken', async () => {
    const { dump, images } = places();
    const capture = await Capture.listen(images, OPTIONS);
    let release = () => {};
    const gone = new Promise<void>((resolve) => {
      release = resolve;
    });
    const names: string[] = [];
    const reading = (async () => {
      for await (const event of capture.events()) {
        if (event.type !== 'file') continue;
        names.push(event.name);
        if (!isPagesName(event.name)) await gone;
      }
    })();
    try {
      const peer = await connected(images);
      await sendDump(peer, dump);
      await waitForCapture(images);
      expect(names.filter(isPagesName)).toEqual(['pages-1.img', 'pages-2.img']);
      expect(names.length).toBeLessThan(4);
      release();
      await reading;
      expect(names).toContain('inventory.img');
    } finally {
      capture.close();
    }
  });

  test('a large file that is no pages does not stop the others', async () => {
    const { root, dump, images } = places();
    const ghost = join(root, 'ghost-file-1.img');
    writeFileSync(ghost, 'ghost');
    truncateSync(ghost, 20 * 2 ** 20);
    const sizes = new Map<string, number>();
    const capture = await Capture.listen(images, OPTIONS);
    const reading = (async () => {
      for await (const event of capture.events()) {
        if (event.type !== 'data') continue;
        sizes.set(event.name, (sizes.get(event.name) ?? 0) + event.bytes.length);
      }
    })();
    try {
      const peer = await connected(images);
      await sendFile(peer, root, 'ghost-file-1.img');
      await sendDump(peer, dump);
      await waitForCapture(images);
      await reading;
      expect(sizes.get('ghost-file-1.img')).toBe(20 * 2 ** 20);
      expect(sizes.get('pages-2.img')).toBe(PAGES * 4096);
    } finally {
      capture.close();
    }
  });
});
