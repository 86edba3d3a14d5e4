/** merge with a hot half whose records come in other pieces than a directory gives: cut runs, bytes, files in between. */

import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DirectoryFiles } from '../../src/containers/directory/files.js';
import { DirectorySink } from '../../src/containers/directory/write.js';
import { Dump } from '../../src/dump/dump.js';
import { ExtentReader } from '../../src/dump/extents.js';
import { pump } from '../../src/dump/pump.js';
import type { DumpRecord, ExtentsRecord, RunsRecord } from '../../src/dump/records.js';
import { ColdHalf } from '../../src/halves/cold-half.js';
import { mergedRecords } from '../../src/halves/merged.js';
import { cutDetail } from '../../src/memory/run-cursor.js';
import { CONTINUES, DETAIL, type RunBatch, RunBuilder } from '../../src/memory/runs.js';
import { filesOf, sha256Of } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { writeDump } from '../helpers/dump-writer.js';
import { anyDump } from '../helpers/random-dumps.js';
import { tempDir } from '../helpers/temp.js';

const PAGE = 4096;

/** Batches of one run each, or of a part of one that `pick` chooses: so many blocks of pages. */
function* cutRuns(runs: RunBatch, pick: () => number, blockPages: number): Generator<RunBatch> {
  for (let i = 0; i < runs.bits.length; i++) {
    let bits = runs.bits[i] as number;
    let detail = bits & DETAIL ? runs.details?.get(i) : undefined;
    let page = runs.pageNumbers[i] as number;
    for (let left = runs.pages[i] as number; left > 0; ) {
      const wanted = Math.min(left, pick() * blockPages);
      const cut = wanted < left ? cutDetail(detail, wanted) : undefined;
      const pages = cut ? wanted : left;
      const out = new RunBuilder(PAGE, 1);
      out.push(page, pages, bits, cut ? cut[0] : detail);
      yield out.finish();
      detail = cut?.[1];
      page += pages;
      left -= pages;
      bits |= CONTINUES;
    }
  }
}

/** The bytes that payload refers to. */
const contentOf = (records: readonly ExtentsRecord[]): Buffer =>
  Buffer.concat(records.flatMap((record) => Array.from(new ExtentReader(1024).read(record), (bytes) => bytes.slice())));

/** Bytes in pieces that `pick` chooses, all in one buffer. */
function* pieces(payload: Uint8Array, pick: () => number): Generator<DumpRecord> {
  const buffer = new Uint8Array(12 * 1500);
  for (let at = 0; at < payload.length; ) {
    const piece = payload.subarray(at, at + pick() * 1500);
    buffer.set(piece);
    yield { type: 'bytes', bytes: buffer.subarray(0, piece.length) };
    buffer.fill(0xee);
    at += piece.length;
  }
}

/** The records of a dump with its runs in pieces, files between them, and payload as bytes. */
function* inPieces(records: Iterable<DumpRecord>, pick: () => number, blockPages: number): Generator<DumpRecord> {
  let files = 0;
  let runs: RunsRecord | undefined;
  let payload: ExtentsRecord[] = [];
  function* rest(): Generator<DumpRecord> {
    if (!runs) return;
    const all = contentOf(payload);
    let at = 0;
    for (const batch of cutRuns(runs.runs, pick, blockPages)) {
      yield { ...runs, runs: batch };
      yield* pieces(all.subarray(at, at + batch.payloadBytes), pick);
      at += batch.payloadBytes;
      if (pick() < 3) {
        yield { type: 'file', kind: 'regular', name: `between-${files++}`, mode: 0o600, size: 2, checked: false };
        yield { type: 'bytes', bytes: Uint8Array.of(1, 2) };
      }
    }
    runs = undefined;
    payload = [];
  }
  for (const record of records) {
    if (runs && record.type === 'extents') {
      payload.push(record);
      continue;
    }
    yield* rest();
    if (record.type === 'runs') runs = record;
    else yield record;
  }
}

describe('merged records', () => {
  it('are those of the dump, whatever the pieces are in which the hot half comes', async () => {
    const dir = tempDir();
    let count = 0;
    const picks = fc.infiniteStream(fc.integer({ min: 1, max: 12 }));
    const law = fc.asyncProperty(anyDump, picks, async (spec, sizes) => {
      const at = (name: string) => join(dir, `${count}-${name}`);
      count++;
      writeDump(at('dump'), spec);
      const { code, stderr } = await cli(['split', at('dump'), at('hot'), at('cold')]);
      expect(code, stderr).toBe(0);
      const hot = await Dump.open(new DirectoryFiles(at('hot')));
      const coldFiles = directory(at('cold'));
      const cold = new ColdHalf(coldFiles);
      try {
        const records = inPieces(hot.records(), () => sizes.next().value, spec.pagesPerBlock ?? 1);
        await pump(mergedRecords(records, cold), [], new DirectorySink(at('out')));
      } finally {
        hot.close();
        coldFiles.close();
      }
      const files = [...filesOf(at('out'))].filter(([name]) => !name.startsWith('between-'));
      expect(sha256Of(new Map(files))).toEqual(sha256Of(filesOf(at('dump'))));
    });
    await fc.assert(law, { numRuns: 20 });
  });
});
