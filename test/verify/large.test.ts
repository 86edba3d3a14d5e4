import { readdirSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { quickFindings } from '../../src/verify/verify.js';
import { directory } from '../helpers/dump-files.js';
import { ANON, image, Message, mmImage, type VmaSpec } from '../helpers/dump-writer.js';
import { copyOf, findingsOf } from './harness.js';

const ENTRIES = 1_000_000;
const AREA_PAGES = 2 ** 20;
const START = 0x600000000000n;

/** Takes the memory out of a real dump, and puts in a million entries of a page each, with gaps between them. */
function largeDump(): string {
  const copy = copyOf('zdtm/extra-extfiles');
  const [pagemap] = readdirSync(copy.path).filter((name) => name.startsWith('pagemap-')) as [string];
  const pid = Number(/\d+/.exec(pagemap)?.[0]);
  copy.edit(`mm-${pid}.img`, ([mm]) => {
    mm.vmas = mm.vmas.filter(({ shmid }: { shmid: number }) => shmid > 0);
    for (let i = 0; i < 2; i++) {
      const start = START + BigInt(i * AREA_PAGES * 4096);
      mm.vmas.push({
        ...mm.vmas[0],
        start: `0x${start.toString(16)}`,
        end: `0x${(start + BigInt(AREA_PAGES * 4096)).toString(16)}`,
        shmid: 0,
        flags: '0x22',
        status: '0x201',
      });
    }
  });
  const entry = (vaddr: bigint) => new Message().int(1, vaddr).int(2, 0).int(4, 6).int(5, 1).finish();
  const body = entry(START);
  const stride = 4 + body.length;
  const bytes = Buffer.alloc(ENTRIES * stride);
  for (let i = 0; i < ENTRIES; i++) {
    bytes.writeUInt32LE(body.length, i * stride);
    bytes.set(body, i * stride + 4);
    let rest = START + BigInt(i) * 0x2000n;
    for (let digit = 0; digit < 7; digit++, rest >>= 7n) {
      bytes[i * stride + 5 + digit] = Number(rest & 127n) | (digit < 6 ? 128 : 0);
    }
  }
  copy.write(pagemap, Buffer.concat([image('PAGEMAP', [new Message().int(1, 1)]), bytes]));
  truncateSync(join(copy.path, 'pages-1.img'), ENTRIES * 4096);
  return copy.path;
}

test('a million entries are checked in seconds, and in little memory', () => {
  const path = largeDump();
  const before = process.resourceUsage().maxRSS;
  const start = process.cpuUsage();
  // The registers lead into areas that are gone, and the new ones come last.
  expect(findingsOf(path).filter(({ file }) => !/^(core|mm)-/.test(file))).toEqual([]);
  expect(quickFindings(directory(path))).toEqual([]);
  const { user, system } = process.cpuUsage(start);
  expect((user + system) / 1e6).toBeLessThan(10);
  // KiB. The pagemap alone has 19 MiB, and its entries as objects would take a hundred.
  expect(process.resourceUsage().maxRSS - before).toBeLessThan(64 * 1024);
});

test('so are many areas, and the last entry of many is still looked at', () => {
  const path = largeDump();
  const vmas: VmaSpec[] = [];
  for (let i = 0; i < 20_000; i++) {
    const start = START + BigInt(i) * 0x2000n * 50n;
    vmas.push({ start, end: start + 0x2000n * 50n, ...ANON });
  }
  const [mm] = readdirSync(path).filter((name) => name.startsWith('mm-')) as [string];
  writeFileSync(join(path, mm), mmImage(vmas.slice(0, -1)));
  const outside = findingsOf(path).filter(({ code }) => code === 'NO_AREA');
  expect(outside.map(({ entry }) => entry)).toEqual(Array.from({ length: 50 }, (_, i) => ENTRIES - 50 + i));
});
