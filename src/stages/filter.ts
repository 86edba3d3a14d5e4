/**
 * The page filter: takes the payload of runs out, by class, pid, kind and address range. The runs remain and are marked, so
 * that the rebuilder can leave a hole or nothing in their place. Where pages are lost to a restore, the dump is marked.
 */

import { ExtentReader, PIPE_PIECE_BYTES } from '../dump/extents.js';
import { PayloadCheck } from '../dump/payload-check.js';
import { PayloadCutter } from '../dump/payload-cutter.js';
import type { DumpRecord, PayloadRecord, RunsRecord, Space } from '../dump/records.js';
import { DumpError } from '../errors.js';
import { RunCursor } from '../memory/run-cursor.js';
import {
  addressHex,
  CLASS_EAGER,
  CLASS_LAZY,
  CLASS_MASK,
  isReadHere,
  KIND_MASK,
  KIND_SHIFT,
  type RunBatch,
  RunBuilder,
  runPayloadBytes,
  TAKEN,
} from '../memory/runs.js';
import { type Kind, kindIndex } from '../memory/vma.js';
import { LossMarker } from './lost-pages.js';

/** Which runs a filter selects; what is left out selects all. */
export interface Selection {
  class?: 'lazy' | 'eager' | 'all';
  pids?: readonly number[];
  kinds?: readonly Kind[];
  /** Addresses in bytes, ends exclusive; any page that one of the ranges touches is selected. */
  ranges?: readonly { start: bigint; end: bigint }[];
}

export interface FilterOptions {
  /** Whether the selected runs lose their payload, or all others do. */
  action: 'drop' | 'keep';
  selection: Selection;
  /** Called once, at the end, if pages were taken out that no lazy restore can fetch. */
  warn?: (message: string) => void;
}

/** Drops what `make-lazy` drops. */
export const DROP_LAZY: FilterOptions = { action: 'drop', selection: { class: 'lazy' } };

/**
 * Makes a filter stage: records in, records out. Pages of a parent dump have no payload and are left alone.
 * @throws {DumpError} NOT_CLASSIFIED if it selects by class or kind and the runs have none, UNSUPPORTED where the
 *   address range would cut a compressed block
 */
export function filter({ action, selection, warn }: FilterOptions) {
  let pageSize = 0;
  /** The ranges as page numbers, first and end. */
  let intervals: [first: number, end: number][] = [];
  /** Where runs are cut, ascending. */
  let borders: number[] = [];
  let cutter: PayloadCutter | undefined;
  /** The payload as it came is verified here where only some of it is kept. */
  const check = new PayloadCheck();
  let checks = false;
  let pagemap = '';
  /** Lazy pages alone are never lost. */
  const loss = action === 'drop' && selection.class === 'lazy' ? undefined : new LossMarker(warn);
  const extents = new ExtentReader(PIPE_PIECE_BYTES);
  const bytesOf = (record: PayloadRecord) => (record.type === 'bytes' ? [record.bytes] : extents.read(record));
  const kindBits = selection.kinds?.map((kind) => kindIndex(kind) << KIND_SHIFT);

  function selects(space: Space, bits: number, pageNumber: number): boolean {
    if (selection.ranges && !intervals.some(([first, end]) => pageNumber >= first && pageNumber < end)) return false;
    if (selection.pids && !(space.pid !== undefined && selection.pids.includes(space.pid))) return false;
    const wanted = selection.class ?? 'all';
    if (wanted === 'all' && !kindBits) return true;
    if ((bits & CLASS_MASK) === 0) {
      throw new DumpError('NOT_CLASSIFIED', 'the runs have neither a class nor a kind of memory', {
        file: space.pagemap,
        hint: 'put classify before filter',
      });
    }
    if (wanted !== 'all' && (bits & CLASS_MASK) !== (wanted === 'lazy' ? CLASS_LAZY : CLASS_EAGER)) return false;
    if (kindBits && (bits & KIND_MASK) === 0) {
      throw new DumpError('NOT_CLASSIFIED', 'the runs have a class, but no kind of memory', {
        file: space.pagemap,
        hint: 'kinds come from memory areas, and this stream has none',
      });
    }
    return !kindBits || kindBits.includes(bits & KIND_MASK);
  }

  /** Marks the runs that lose their payload; starts the cut of what follows. */
  function filterRuns(record: RunsRecord): RunsRecord {
    const runs = selection.ranges ? cutRunsAt(record.runs, borders, pageSize, record.space) : record.runs;
    const bits = runs.bits.slice();
    const kept: number[] = [];
    let offset = 0;
    let payloadBytes = 0;
    for (let i = 0; i < bits.length; i++) {
      const old = bits[i] as number;
      const bytes = runPayloadBytes(runs, i, pageSize);
      if (isReadHere(old) && selects(record.space, old, runs.pageNumbers[i] as number) === (action === 'drop')) {
        bits[i] = old | TAKEN;
        loss?.taken(record.space, old, runs.pages[i] as number);
      } else if (bytes > 0) {
        payloadBytes += bytes;
        if (kept.length > 0 && kept[kept.length - 1] === offset) kept[kept.length - 1] = offset + bytes;
        else kept.push(offset, offset + bytes);
      }
      offset += bytes;
    }
    if (payloadBytes === runs.payloadBytes) {
      cutter = undefined;
      return { ...record, runs: { ...runs, bits } };
    }
    cutter = new PayloadCutter(Float64Array.from(kept));
    checks = record.checked && payloadBytes > 0;
    pagemap = record.space.pagemap;
    check.start();
    return { ...record, runs: { ...runs, bits, payloadBytes }, checked: false };
  }

  return function* filterRecord(record: DumpRecord): Generator<DumpRecord> {
    if (loss?.holds(record)) return;
    switch (record.type) {
      case 'header': {
        ({ pageSize } = record);
        const size = BigInt(pageSize);
        intervals = (selection.ranges ?? []).map(({ start, end }) => [
          Number(start / size),
          Number((end + size - 1n) / size),
        ]);
        borders = intervals.flat().sort((a, b) => a - b);
        yield record;
        break;
      }
      case 'file':
        cutter = undefined;
        yield record;
        break;
      case 'runs':
        yield filterRuns(record);
        break;
      case 'bytes':
      case 'extents':
        if (!cutter) yield record;
        else if (!checks) yield* cutter.cut(record);
        else {
          for (const bytes of bytesOf(record)) {
            check.add(bytes);
            yield* cutter.cut({ type: 'bytes', bytes });
          }
        }
        break;
      case 'check':
        if (!cutter) yield record;
        else if (checks) check.end(record, pagemap);
        break;
      case 'end':
        if (loss) yield* loss.end();
        yield record;
        break;
      default:
        yield record;
    }
  };
}

/** Cuts runs so that none lies across one of the page numbers, which ascend. */
function cutRunsAt(runs: RunBatch, borders: number[], pageSize: number, space: Space): RunBatch {
  const out = new RunBuilder(pageSize, runs.bits.length + borders.length);
  const cursor = new RunCursor([runs], pageSize);
  while (!cursor.ended) {
    const { pageNumber, end } = cursor;
    const stop = borders.find((border) => border > pageNumber && border < end) ?? end;
    if (cursor.moveTo(stop, out)) continue;
    const address = `0x${addressHex(stop, pageSize)}`;
    throw new DumpError(
      'UNSUPPORTED',
      `a compressed block would have to be cut at ${address}, a border of the address range`,
      { file: space.pagemap },
    );
  }
  return out.finish();
}
