/** Two sinks behind stages of their own: what each gets, in which order, and what becomes of them when one fails. */
import { describe, expect, it } from 'vitest';
import { behindStages, pump, type RecordSink, type Stage } from '../../src/dump/pump.js';
import type { DumpRecord } from '../../src/dump/records.js';
import { TeeSink } from '../../src/dump/tee.js';

/** Notes what happens to it, with the bytes as they are at the time; may fail at one of the things. */
class NotingSink implements RecordSink {
  constructor(
    private readonly name: string,
    private readonly log: string[],
    private readonly failAt?: string,
  ) {}

  async write(record: DumpRecord): Promise<void> {
    const before = record.type === 'bytes' ? String(record.bytes) : '';
    // Others have their turn meanwhile.
    await Promise.resolve();
    const after = record.type === 'bytes' ? String(record.bytes) : '';
    expect(after).toBe(before);
    this.note(`${record.type}${after}`);
  }

  finish(): void {
    this.note('finish');
  }

  discard(): void {
    this.note('discard');
  }

  private note(what: string): void {
    this.log.push(`${this.name} ${what}`);
    if (what === this.failAt) throw new Error(`${this.name} fails at ${what}`);
  }
}

/** A source with one buffer, which it fills anew for each record. */
function* source(): Generator<DumpRecord> {
  yield { type: 'header', pageSize: 4096, directoryMode: 0o700 };
  const bytes = new Uint8Array(1);
  for (const value of [1, 2, 3]) {
    bytes[0] = value;
    yield { type: 'bytes', bytes };
  }
  bytes[0] = 9;
  yield { type: 'end' };
}

const withoutTwo: Stage = function* withoutTwoRecord(record) {
  if (record.type !== 'bytes' || record.bytes[0] !== 2) yield record;
};

const teeOf = (log: string[], { first, second }: { first?: string; second?: string } = {}) =>
  new TeeSink(
    behindStages([withoutTwo], new NotingSink('a', log, first)),
    behindStages([], new NotingSink('b', log, second)),
  );

describe('a tee', () => {
  it('gives both what their stages let through, and the second its end when the first is complete', async () => {
    const log: string[] = [];
    await pump(source(), [], teeOf(log));
    expect(log).toEqual([
      ...['a header', 'b header', 'a bytes1', 'b bytes1', 'b bytes2', 'a bytes3', 'b bytes3'],
      ...['a end', 'a finish', 'b end', 'b finish'],
    ]);
  });

  it.each([
    [{ first: 'bytes3' }, 'a bytes3', 'a fails at bytes3'],
    [{ second: 'bytes2' }, 'b bytes2', 'b fails at bytes2'],
    [{ first: 'finish' }, 'a finish', 'a fails at finish'],
    [{ second: 'end' }, 'b end', 'b fails at end'],
    [{ second: 'finish' }, 'b finish', 'b fails at finish'],
    [{ first: 'finish', second: 'discard' }, 'a finish', 'b fails at discard'],
  ])('%j: discards both', async (failing, last, failed) => {
    const log: string[] = [];
    await expect(pump(source(), [], teeOf(log, failing))).rejects.toThrow(failed);
    expect(log.slice(log.indexOf(last))).toEqual([last, 'a discard', 'b discard']);
  });

  it('discards the second even if the first cannot be', async () => {
    const log: string[] = [];
    await expect(pump(source(), [], teeOf(log, { first: 'discard', second: 'bytes1' }))).rejects.toThrow(
      'a fails at discard',
    );
    expect(log.slice(-2)).toEqual(['a discard', 'b discard']);
  });
});
