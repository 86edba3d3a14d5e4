/** Stages do the same in `pump`, in stream-chain's `chain()` among Node's streams, and as processes. */
import { closeSync, createReadStream, createWriteStream, openSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Duplex } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setImmediate as turn } from 'node:timers/promises';
import chain, { flushable, many, none } from 'stream-chain';
import { describe, expect, it } from 'vitest';
import {
  decodePageStream,
  encodePageStream,
  readPageStream,
  StreamSink,
} from '../../src/containers/page-stream/stream.js';
import { Dump } from '../../src/dump/dump.js';
import { pump, type RecordSink, type Stage } from '../../src/dump/pump.js';
import type { DumpRecord } from '../../src/dump/records.js';
import { coldPart, notCold } from '../../src/halves/cold-stage.js';
import { undelivered } from '../../src/send/protocol.js';
import { classify } from '../../src/stages/classify.js';
import { dropFiles, withoutOutside } from '../../src/stages/drop-files.js';
import { DROP_LAZY, filter } from '../../src/stages/filter.js';
import { keepEager } from '../../src/stages/keep.js';
import { rebuild } from '../../src/stages/rebuild.js';
import { tally } from '../../src/stages/tally.js';
import { cli } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { readPagemap } from '../helpers/dump-writer.js';
import { fixture, tempDir } from '../helpers/temp.js';

const DUMP = fixture('family-criu-4.2.1');
const PID = 15;
/** The first page of each entry of a process. */
const LISTED = readPagemap(join(DUMP, `pagemap-${PID}.img`)).entries.map(({ vaddr }) => Number(vaddr / 4096n));
const FAULTS = { pageSize: 4096, pages: new Map([[PID, Float64Array.from(LISTED)]]) };

/** Holds every record back until the next one comes. */
function holdBack() {
  let held: DumpRecord | undefined;
  const take = (next: DumpRecord | undefined) => {
    const before = held;
    held = next && (next.type === 'bytes' ? { ...next, bytes: next.bytes.slice() } : next);
    return many(before ? [before] : []);
  };
  return flushable(
    (record: DumpRecord) => take(record),
    () => take(undefined),
  );
}

const STAGES: Record<string, () => Stage[]> = {
  classify: () => [classify()],
  'classify | filter --drop lazy': () => [classify(), filter(DROP_LAZY)],
  'classify | filter --keep lazy | rebuild --holes drop': () => [
    classify(),
    filter({ action: 'keep', selection: { class: 'lazy' } }),
    rebuild({ holes: 'drop' }),
  ],
  rebuild: () => [rebuild()],
};

/** Those that are no commands. */
const OTHERS: Record<string, () => Stage[]> = {
  keepEager: () => [classify(), keepEager(FAULTS), filter(DROP_LAZY), rebuild()],
  tally: () => [classify(), filter(DROP_LAZY), tally().stage, rebuild()],
  dropFiles: () => [dropFiles(({ name }) => name.startsWith('core-'))],
  'notCold and withoutOutside': () => [notCold(), withoutOutside()],
  coldPart: () => [classify(), filter({ action: 'keep', selection: { class: 'lazy' } }), ...coldPart()],
  undelivered: () => [...undelivered(), ...undelivered()],
  'a flushable stage': () => [holdBack(), rebuild()],
  'an async stage': () => [async (record) => turn(record), rebuild()],
  'an async generator': () => [
    async function* later(record) {
      yield await turn(record);
    },
    rebuild(),
  ],
};

/** The dump as a page stream. */
async function dumpStream(path: string): Promise<void> {
  const dump = await Dump.open(directory(DUMP));
  const fd = openSync(path, 'w');
  await pump(dump.records(), [], new StreamSink(fd));
  closeSync(fd);
  dump.close();
}

async function pumped(stages: Stage[], from: string, to: string): Promise<Buffer> {
  const [input, output] = [openSync(from, 'r'), openSync(to, 'w')];
  await pump(readPageStream(input), stages, new StreamSink(output));
  for (const fd of [input, output]) closeSync(fd);
  return readFileSync(to);
}

/** Each stage in a stream of its own, or all in one. */
async function chained(stages: Stage[], noGrouping: boolean, from: string, to: string): Promise<Buffer> {
  const items = chain([decodePageStream(), ...stages, encodePageStream()] as Parameters<typeof chain>[0], {
    noGrouping,
  });
  await pipeline(createReadStream(from), items as Duplex, createWriteStream(to));
  return readFileSync(to);
}

describe('every engine', () => {
  it.each(Object.entries({ ...STAGES, ...OTHERS }))('gives the same bytes: %s', async (name, stages) => {
    const dir = tempDir();
    const from = join(dir, 'stream');
    await dumpStream(from);
    const expected = await pumped(stages(), from, join(dir, 'pumped'));
    expect(expected.length).toBeGreaterThan(10_000);
    for (const noGrouping of [false, true]) {
      const found = await chained(stages(), noGrouping, from, join(dir, `chained-${noGrouping}`));
      expect(found.equals(expected)).toBe(true);
    }
    if (!(name in STAGES)) return;
    const stdout = join(dir, 'run');
    const { code } = await cli(['run', name], { stdin: from, stdout });
    expect([code, readFileSync(stdout).equals(expected)]).toEqual([0, true]);
    let last = from;
    for (const [i, words] of name.split(' | ').entries()) {
      const next = join(dir, `stage-${i}`);
      expect((await cli(words.split(' '), { stdin: last, stdout: next })).code).toBe(0);
      last = next;
    }
    expect(readFileSync(last).equals(expected)).toBe(true);
  });
});

/** Notes what happens, with the bytes as they are when the sink is done with them. */
class NotingSink implements RecordSink {
  readonly log: string[] = [];

  async write(record: DumpRecord): Promise<void> {
    await turn();
    this.log.push(record.type === 'bytes' ? `bytes ${record.bytes}` : record.type);
  }

  finish(): void {
    this.log.push('finish');
  }

  discard(): void {
    this.log.push('discard');
  }
}

const HEADER: DumpRecord = { type: 'header', pageSize: 4096, directoryMode: 0o700 };

describe('pump', () => {
  it('lets a stage reuse its buffer', async () => {
    const buffer = new Uint8Array(1);
    const sink = new NotingSink();
    const count: Stage = function* count(record) {
      yield record;
      for (let i = 1; i <= 3; i++) {
        buffer[0] = i;
        yield { type: 'bytes', bytes: buffer };
      }
    };
    await pump([HEADER], [count, (record) => record], sink);
    expect(sink.log).toEqual(['header', 'bytes 1', 'bytes 2', 'bytes 3', 'finish']);
  });

  it('flushes stages in order, each through those behind it', async () => {
    const sink = new NotingSink();
    const mark = (value: number): Stage =>
      flushable(
        (record: DumpRecord) => many([record]),
        () => many<DumpRecord>([{ type: 'bytes', bytes: Uint8Array.of(value) }]),
      );
    const double: Stage = (record) => many([record, record]);
    await pump([HEADER], [mark(1), double, mark(2)], sink);
    expect(sink.log).toEqual(['header', 'header', 'bytes 1', 'bytes 1', 'bytes 2', 'finish']);
  });

  it.each(['a stage', 'a later stage', 'the source'])('releases stages and discards when %s fails', async (which) => {
    const released: string[] = [];
    const fails = (name: string) => {
      if (name === which) throw new Error(`${name} fails`);
    };
    const holding = (name: string): Stage =>
      flushable(
        (record: DumpRecord) => {
          fails(name);
          return record as DumpRecord | typeof none;
        },
        () => none,
        () => released.push(name),
      );
    const source = function* records(): Generator<DumpRecord> {
      yield HEADER;
      fails('the source');
    };
    const sink = new NotingSink();
    await expect(pump(source(), [holding('a stage'), holding('a later stage')], sink)).rejects.toThrow(
      `${which} fails`,
    );
    expect(released).toEqual(['a stage', 'a later stage']);
    expect(sink.log.at(-1)).toBe('discard');
    expect(sink.log).not.toContain('finish');
  });
});
