/** Messages of the page-server protocol: both forms, every way to split them, and anything else that may arrive. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  COMMAND,
  commandName,
  decodeMessage,
  type Message,
  MessageReader,
  putMessage,
} from '../../src/protocol/page-server.js';
import { CLOSE, type Fields, FORCE_CLOSE, FORMS, type Form, GET, message } from '../helpers/page-client.js';

const PAGE = 4096n;
const PIDS = [1, 15, 4000, 70000, 4194303];
/** Where Linux lets memory begin: an address that could also be a pid. */
const FIRST = 0x10000n;
const LAST = 0x7fff_ffff_f000n;

/** As a session knows it from its dump. */
const isPlausible = ({ command, pages, vaddr, dstId }: Message): boolean =>
  command === CLOSE || command === FORCE_CLOSE
    ? vaddr === 0n && dstId === 0n
    : command === GET &&
      pages > 0 &&
      PIDS.includes(Number(dstId)) &&
      vaddr % PAGE === 0n &&
      vaddr >= FIRST &&
      vaddr <= LAST;

/** Pushes the bytes in pieces that end at these places; returns all messages. */
function readAll(bytes: Uint8Array, cuts: readonly number[] = [], reader = new MessageReader(isPlausible)) {
  const messages: Message[] = [];
  const places = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort((a, b) => a - b);
  for (let i = 1; i < places.length; i++) {
    reader.push(bytes.subarray(places[i - 1], places[i]));
    for (let next = reader.next(); next; next = reader.next()) messages.push(next);
  }
  return { messages, reader };
}

const expected = ({ command, flags = 0, pages = 0, vaddr = 0n, dstId = 0 }: Fields): Message => ({
  command,
  flags,
  pages: Number(pages),
  vaddr,
  dstId: BigInt(dstId),
});

const address = fc.bigInt({ min: FIRST / PAGE, max: LAST / PAGE }).map((page) => page * PAGE);
const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.integer({ min: 0, max: 2 ** 32 - 1 });
const u16 = fc.integer({ min: 0, max: 0xffff });

const get: fc.Arbitrary<Fields> = fc.record({
  command: fc.constant(GET),
  pages: fc.integer({ min: 1, max: 1024 }),
  vaddr: address,
  dstId: fc.constantFrom(...PIDS),
  padding: u32,
});
/** What may come once the form is known. */
const anything: fc.Arbitrary<Fields> = fc.record({
  command: u16,
  flags: u16,
  pages: u32,
  vaddr: u64,
  dstId: u64,
  padding: u32,
});

describe('a message', () => {
  it.each(FORMS)('of %d bytes has its fields where CRIU has them', (form) => {
    fc.assert(
      fc.property(anything, (fields) => {
        const bytes = message(form, { ...fields, padding: 0 });
        const written = Buffer.alloc(form);
        putMessage(written, expected(fields), form);
        expect(written.equals(bytes)).toBe(true);
        expect(decodeMessage(new DataView(bytes.buffer, bytes.byteOffset), form)).toEqual(expected(fields));
      }),
    );
  });

  it('of the longer form counts beyond 32 bits', () => {
    const bytes = message(32, { command: GET, pages: 2n ** 40n });
    expect(decodeMessage(new DataView(bytes.buffer, bytes.byteOffset), 32).pages).toBe(2 ** 40);
  });

  it('has a name for people', () => {
    expect([COMMAND.GET, COMMAND.CLOSE, 0x77].map(commandName)).toEqual(['GET', 'CLOSE', '0x77']);
  });
});

describe('a reader of messages', () => {
  it.each(FORMS)('finds messages of %d bytes in any pieces, and their payload', (form) => {
    fc.assert(
      fc.property(
        get,
        fc.array(anything, { maxLength: 6 }),
        fc.array(fc.integer({ min: 1, max: 7 * 32 }), { maxLength: 12 }),
        (first, others, cuts) => {
          const all = [first, ...others];
          const bytes = Buffer.concat(all.map((fields) => message(form, fields)));
          const { messages, reader } = readAll(bytes, cuts);
          expect(reader.form).toBe(form);
          expect(messages).toEqual(all.map(expected));
          expect(reader.pending).toBe(0);
        },
      ),
      { numRuns: 500 },
    );
  });

  it.each(FORMS)('takes two pipelined messages of %d bytes cut at any one or two places', (form) => {
    const all = [
      { command: GET, pages: 3, vaddr: 0x7000_0000_0000n, dstId: 15, padding: 0xdeadbeef },
      { command: GET, pages: 1, vaddr: 0x7000_0000_5000n, dstId: 15, padding: 1 },
      { command: CLOSE },
    ];
    const bytes = Buffer.concat(all.map((fields) => message(form, fields)));
    for (let a = 0; a <= bytes.length; a++) {
      for (let b = a; b <= bytes.length; b++) expect(readAll(bytes, [a, b]).messages).toEqual(all.map(expected));
    }
  });

  it.each(FORMS)('says how much of a message of %d bytes it has', (form) => {
    const bytes = message(form, { command: GET, pages: 1, vaddr: FIRST, dstId: 15 });
    for (let count = 0; count < form; count++) {
      const { messages, reader } = readAll(bytes.subarray(0, count), [1, 2, 23, 24, 25]);
      expect(messages).toEqual([]);
      expect(reader.pending).toBe(count);
    }
  });

  const whatever = { padding: u32, pages: fc.constant(1n) };
  /** First messages that say nothing of the dump, or ask for what it does not have. */
  const firsts: Record<string, fc.Arbitrary<Fields>> = {
    CLOSE: fc.record({ command: fc.constant(CLOSE), padding: u32 }),
    FORCE_CLOSE: fc.record({ command: fc.constant(FORCE_CLOSE), padding: u32 }),
    'a GET of an unknown pid': fc.record({
      ...whatever,
      command: fc.constant(GET),
      vaddr: address,
      dstId: fc.integer({ min: 1, max: 2 ** 22 - 1 }),
    }),
    'a GET of an address in no entry': fc.record({
      ...whatever,
      command: fc.constant(GET),
      vaddr: fc.bigInt({ min: LAST / PAGE + 1n, max: 2n ** 52n - 1n }).map((page) => page * PAGE),
      dstId: fc.constantFrom(...PIDS),
    }),
    'an unknown command with an address and a pid': fc.record({
      ...whatever,
      command: u16,
      vaddr: address,
      dstId: fc.constantFrom(...PIDS),
    }),
  };

  // CLOSE of either form begins with the same bytes, and the answer has no form.
  const sayTheForm = Object.entries(firsts).filter(([name]) => !name.includes('CLOSE'));
  it.each(sayTheForm)('knows the form from %s', (_, first) => {
    for (const form of FORMS) {
      fc.assert(
        fc.property(first, fc.integer({ min: 1, max: 31 }), (fields, cut) => {
          const { messages, reader } = readAll(message(form, fields), [cut]);
          expect(messages).toEqual([expected(fields)]);
          expect(reader.form).toBe(form);
        }),
      );
    }
  });

  it.each(['CLOSE', 'FORCE_CLOSE'])('takes %s of either form for what it is', (name) => {
    for (const form of FORMS) {
      fc.assert(
        fc.property(firsts[name] as fc.Arbitrary<Fields>, fc.integer({ min: 1, max: 31 }), (fields, cut) => {
          expect(readAll(message(form, fields), [cut]).messages[0]?.command).toBe(fields.command);
        }),
      );
    }
  });

  it('knows the longer form whatever is in its padding and however many pages are asked for', () => {
    const pages = fc.oneof(
      fc.bigInt({ min: 1n, max: 1024n }),
      fc.constantFrom(4096n, 8192n, 2n ** 32n, 2n ** 40n, 2n ** 52n),
      u64.filter((count) => count > 0n),
    );
    fc.assert(
      fc.property(get, pages, u32, (fields, count, padding) => {
        const { messages, reader } = readAll(message(32, { ...fields, pages: count, padding }));
        expect(reader.form).toBe(32);
        expect(messages).toEqual([expected({ ...fields, pages: count })]);
      }),
      { numRuns: 1000 },
    );
  });

  it('gives messages of whatever arrives, and never throws or hangs', () => {
    const bytes = fc.array(fc.uint8Array({ maxLength: 70 }), { maxLength: 12 });
    /** Some that begin as a message does, but for a few bytes. */
    const nearly = fc
      .tuple(fc.constantFrom<Form>(24, 32), get, fc.uint8Array({ maxLength: 8 }), fc.nat(31), bytes)
      .map(([form, fields, noise, at, rest]) => {
        const first = message(form, fields);
        first.set(noise.subarray(0, form - Math.min(at, form)), Math.min(at, form));
        return [new Uint8Array(first), ...rest];
      });
    fc.assert(
      fc.property(fc.oneof(bytes, nearly), fc.boolean(), (chunks, answer) => {
        const reader = new MessageReader((m) => answer && isPlausible(m));
        let messages = 0;
        for (const chunk of chunks) {
          reader.push(chunk);
          for (let next = reader.next(); next; next = reader.next()) messages++;
        }
        const total = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
        expect(reader.pending).toBeLessThan(32);
        expect(messages * (reader.form ?? 32) + reader.pending).toBe(total);
      }),
      { numRuns: 2000 },
    );
  });

  it('hands out the bytes behind a message, and goes on with the next', () => {
    for (const form of FORMS) {
      const reader = new MessageReader(() => form === 24);
      const fields = { command: 6, flags: 4, pages: 1, vaddr: FIRST, dstId: 1n << 62n };
      const payload = Buffer.from('the page');
      const bytes = Buffer.concat([message(form, fields), payload, message(form, fields)]);
      for (let cut = 0; cut <= bytes.length; cut++) {
        const fresh = cut === 0 ? reader : new MessageReader(() => form === 24);
        const got: string[] = [];
        let left = 0;
        for (const chunk of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
          fresh.push(chunk);
          for (;;) {
            if (left > 0) {
              const part = fresh.payload(left);
              if (part.length === 0) break;
              left -= part.length;
              got.push(Buffer.from(part).toString());
              continue;
            }
            if (!fresh.next()) break;
            got.push('|');
            if (got.filter((item) => item === '|').length === 1) left = payload.length;
          }
        }
        expect(got.join('')).toBe('|the page|');
      }
    }
  });
});
