/** What is no file in the place of an image: it is named, and nobody waits for it. */
import { rmSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { expect, it, onTestFinished } from 'vitest';
import { DirectoryFiles } from '../../../src/containers/directory/files.js';
import { readAll } from '../../../src/dump/files.js';
import { OpenFiles, openRegular } from '../../../src/io/open-files.js';
import { cli } from '../../helpers/cli.js';
import { makePipe } from '../../helpers/pipe.js';
import { copyFixture, tempDir } from '../../helpers/temp.js';

const PUT: Record<string, (path: string) => void> = {
  fifo: (path) => makePipe(path),
  socket: (path) => {
    const server = createServer().listen(path);
    onTestFinished(() => {
      server.close();
    });
  },
  device: (path) => symlinkSync('/dev/zero', path),
};

it.each(Object.keys(PUT))('a %s', async (kind) => {
  for (const [name, commands] of [
    [
      'core-15.img',
      [
        ['x', 'ps'],
        ['make-lazy', 'out'],
        ['copy', 'out'],
      ],
    ],
    ['pagemap-15.img', [['x', 'rss']]],
  ] as const) {
    const dir = tempDir();
    const dump = copyFixture('mosaic-criu-4.2.1', dir);
    rmSync(join(dump, name));
    PUT[kind]?.(join(dump, name));
    for (const [command, ...words] of commands) {
      const rest = words.map((word) => (word === 'out' ? join(dir, 'out') : word));
      const { code, stderr } = await cli([command, dump, ...rest]);
      const leftOut = kind === 'device' ? 'a link that leads outside the dump' : 'it is neither a file nor a link';
      const warning = `pagepipe: warning: ${name}: left out, ${leftOut}\n`;
      expect(stderr).toBe(`${warning}pagepipe: error: ${name}: expected an image, found a ${kind}\n`);
      expect(code).toBe(1);
    }
  }
});

it('a fifo that takes the place of a file after it was looked at', () => {
  const path = join(tempDir(), 'pages-1.img');
  PUT['fifo']?.(path);
  const refused = 'pages-1.img: expected an image, found a fifo';
  expect(() => openRegular(path, 'pages-1.img')).toThrow(refused);
  expect(() => new OpenFiles().readSome(path, 'pages-1.img', new Uint8Array(1), 0)).toThrow(refused);
});

it('a file that was cut after it was listed shows when it is read', () => {
  const dir = tempDir();
  const path = join(dir, 'core-1.img');
  writeFileSync(path, 'twelve bytes');
  const files = new DirectoryFiles(dir);
  onTestFinished(() => files.close());
  expect(files.entries()).toMatchObject([{ name: 'core-1.img', size: 12 }]);
  truncateSync(path, 3);
  expect(() => readAll(files, 'core-1.img', 100)).toThrow(
    'core-1.img@0x3: expected 12 bytes as before, found the end of the file',
  );
});

it('a fifo that has replaced a listed file is not waited for', () => {
  const dir = tempDir();
  const path = join(dir, 'core-1.img');
  writeFileSync(path, 'twelve bytes');
  const files = new DirectoryFiles(dir);
  onTestFinished(() => files.close());
  files.entries();
  rmSync(path);
  makePipe(path);
  expect(() => readAll(files, 'core-1.img', 100)).toThrow('core-1.img@0x0: invalid seek (ESPIPE)');
});
