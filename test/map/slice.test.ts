/** The slices of a map give the map. */
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { DumpFiles } from '../../src/dump/files.js';
import { mapSlice, memoryMap } from '../../src/map/collect.js';
import { isSliceTotals, MapJoin } from '../../src/map/join.js';
import type { MemoryMap } from '../../src/map/model.js';
import type { TraceLine } from '../../src/map/trace.js';
import { directory } from '../helpers/dump-files.js';
import { ANON, type DumpSpec, PE, writeDump } from '../helpers/dump-writer.js';
import { anyDump } from '../helpers/random-dumps.js';
import { fixture, tempDir } from '../helpers/temp.js';

/** The lines and the totals of each slice, as a report carries them. */
async function reportsOf(files: DumpFiles, of: number, content: boolean) {
  const reports: { totals: Record<string, unknown>; lines: TraceLine[] }[] = [];
  for (let number = 1; number <= of; number++) {
    const lines: TraceLine[] = [];
    const totals = await mapSlice(files, { number, of }, (line) => lines.push(line), { content });
    reports.push(JSON.parse(JSON.stringify({ totals, lines })));
  }
  return reports;
}

function joined(reports: Awaited<ReturnType<typeof reportsOf>>): MemoryMap {
  const join = new MapJoin(reports[0]?.totals as never);
  for (const { totals, lines } of reports) {
    expect(isSliceTotals(totals)).toBe(true);
    join.totals(totals as never);
    for (const line of lines) expect(join.line({ ...line })).toBe(true);
  }
  return join.map();
}

function made(spec: DumpSpec): DumpFiles {
  const dump = join(tempDir(), 'dump');
  writeDump(dump, spec);
  return directory(dump);
}

describe('slices', () => {
  it('give the same map, of any dump and any number of them', async () => {
    const slices = fc.integer({ min: 1, max: 12 });
    await fc.assert(
      fc.asyncProperty(anyDump, slices, fc.boolean(), async (spec, of, content) => {
        const files = made(spec);
        try {
          expect(joined(await reportsOf(files, of, content))).toEqual(await memoryMap(files, { content }));
        } finally {
          files.close();
        }
      }),
      { numRuns: 20 },
    );
  });

  it('give the same map of a real dump', async () => {
    const files = directory(fixture('family-criu-4.2.1'));
    const whole = await memoryMap(files, { content: true });
    for (const of of [3, 7]) expect(joined(await reportsOf(files, of, true))).toEqual(whole);
  });

  it('divide what is read, also pages in no area', async () => {
    const vmas = [{ start: 0x100000n, end: 0x100000n + 1000n * 4096n, ...ANON }];
    const entries = [
      { vaddr: 0x100000n, pages: 1000, zeroPages: [0, 1, 500] },
      { vaddr: 0x40000000n, pages: 600, flags: PE.PRESENT },
    ];
    const files = made({ tasks: [{ pid: 7, vmas, entries }] });
    const whole = await memoryMap(files, { content: true });
    const reports = await reportsOf(files, 4, true);
    const read = reports.map(({ totals }) => (totals['content'] as { pages: number }).pages);
    expect(read).toEqual([400, 400, 400, 400]);
    expect(joined(reports)).toEqual(whole);
    expect(whole.spaces[0]?.areas.at(-1)).toMatchObject({ start: '0x40000000', end: '0x40258000', pages: 600 });
  });
});

describe('what is no report', () => {
  it.each([
    { event: 'area', start: 1, end: 2, kind: 'heap', flags: 'rw-p' },
    { event: 'runs', runs: [0, -1, 1] },
    { event: 'space', type: 'file', id: 1, name: null },
    { event: 'different', numbers: 'AAAA' },
    { event: 'area-end', page: 1 },
    {},
  ])('is not taken: %j', (line) => {
    expect(new MapJoin({ pageSize: 4096, content: null }).line(line)).toBe(false);
  });

  it.each([[[0, -1]], [[9, -1, 1]], [['length', -1, 1]], [[0, 'at', 1]], [[0, 4, 1]], [[0, -1, -5]], ['runs']])(
    'is not taken for runs: %j',
    (runs) => {
      const join = new MapJoin({ pageSize: 4096, content: null });
      expect(join.line({ event: 'space', type: 'task', id: 7, name: null })).toBe(true);
      expect(join.line({ event: 'area', start: 1, end: 2, kind: 'heap', flags: 'rw-p' })).toBe(true);
      expect(join.line({ event: 'runs', runs })).toBe(false);
    },
  );

  it('is not taken for totals', () => {
    const contents = { zero: 0, text: 0, compressible: 0, random: 0 };
    const content = { pages: 1, contents, sampledPages: 1, sampledBytes: 1, differentEvery: 2 };
    expect(isSliceTotals({ lines: 0, pageSize: 4096, content })).toBe(true);
    for (const wrong of [{ pages: -1 }, { differentEvery: 3 }, { contents: null }, { contents: {} }]) {
      expect(isSliceTotals({ lines: 0, pageSize: 4096, content: { ...content, ...wrong } })).toBe(false);
    }
    for (const pageSize of [0, '4096', undefined])
      expect(isSliceTotals({ lines: 0, pageSize, content: null })).toBe(false);
    expect(isSliceTotals({ pageSize: 4096, content: null })).toBe(false);
  });
});
