import { describe, expect, test } from 'vitest';
import type { FileStat, ReadableFiles } from '../../src/dump/files.js';
import { Images } from '../../src/dump/images.js';
import { printAreas, printAreasJson } from '../../src/explore/mems.js';
import { TextOutput } from '../../src/explore/output.js';
import { printPages, printPagesJson } from '../../src/explore/rss.js';
import { Message } from '../helpers/dump-writer.js';
import type { Explorer } from './harness.js';
import { core, image, mm, pagemap, processEntry, run, vma } from './images.js';

describe('large dumps', () => {
  const AREA_COUNT = 200_000;
  const RUNS_EACH = 5;
  const AREA_BYTES = 0x20000n;

  /** Images in memory, and how they were read. */
  class Memory implements ReadableFiles {
    largestRead = 0;

    constructor(private readonly images: Record<string, Uint8Array>) {}

    stat(name: string): FileStat | undefined {
      const found = this.images[name];
      return found && { size: found.length, mode: 0o600 };
    }

    readSome(name: string, buffer: Uint8Array, position: number): number {
      this.largestRead = Math.max(this.largestRead, buffer.length);
      const bytes = (this.images[name] as Uint8Array).subarray(position, position + buffer.length);
      buffer.set(bytes);
      return bytes.length;
    }
  }

  /** Entries of equal length, but for their addresses. */
  function stamped(entry: Uint8Array, count: number, at: number[], addresses: (index: number) => bigint[]): Buffer {
    const bytes = Buffer.alloc(entry.length * count);
    for (let i = 0; i < count; i++) {
      bytes.set(entry, i * entry.length);
      addresses(i).forEach((address, k) => {
        let rest = address;
        for (let digit = 0; digit < 7; digit++) {
          bytes[i * entry.length + (at[k] as number) + digit] = Number(rest & 127n) | (digit < 6 ? 128 : 0);
          rest >>= 7n;
        }
      });
    }
    return bytes;
  }

  const start = (index: number) => 0x700000000000n + BigInt(index) * AREA_BYTES;
  const withSize = (message: Message): Uint8Array => {
    const body = message.finish();
    return Buffer.concat([Buffer.from(Uint32Array.of(body.length).buffer), body]);
  };

  function largeDump(): Memory {
    const area = new Message().field(14, vma({ start: start(0), end: start(1) })).finish();
    const head = mm(4, []).finish();
    const areas = stamped(area, AREA_COUNT, [3, 11], (i) => [start(i), start(i) + AREA_BYTES / 2n]);
    const runs = stamped(withSize(run(start(0), 1)), AREA_COUNT * RUNS_EACH, [5], (i) => [
      start(Math.floor(i / RUNS_EACH)) + BigInt(i % RUNS_EACH) * 0x2000n,
    ]);
    return new Memory({
      'pstree.img': image('PSTREE', [processEntry(7, 0)]),
      'core-7.img': image('CORE', [core('large')]),
      'files.img': image('FILES', []),
      'reg-files.img': image('REG_FILES', []),
      'mm-7.img': image('MM', [Buffer.concat([head, areas])]),
      'pagemap-7.img': Buffer.concat([pagemap([]), runs]),
    });
  }

  test('200,000 areas and a million entries come out in small pieces, and no image is read as a whole', () => {
    const memory = largeDump();
    const count = (explore: Explorer) => {
      let largest = 0;
      let lines = 0;
      const output = new TextOutput((bytes) => {
        largest = Math.max(largest, bytes.length);
        for (let at = bytes.indexOf(10); at >= 0; at = bytes.indexOf(10, at + 1)) lines++;
      });
      explore(new Images(memory), output.print, { pageSize: 4096 });
      output.flush();
      expect(largest).toBeLessThan(64 * 1024);
      return lines;
    };
    expect(count(printAreas)).toBe(2 + AREA_COUNT);
    expect(count(printAreasJson)).toBe(1 + AREA_COUNT);
    expect(count(printPages)).toBe(1 + 2 * AREA_COUNT * RUNS_EACH);
    expect(count(printPagesJson)).toBe(1 + AREA_COUNT);
    expect(memory.largestRead).toBeLessThanOrEqual(256 * 1024);
  });
});
