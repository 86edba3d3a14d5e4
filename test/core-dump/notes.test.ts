/** The notes of each machine, byte for byte against what is put together here by the offsets of the kernel's structures. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { auxiliaryNote, processNote } from '../../src/core-dump/notes.js';
import { CoreProcess } from '../../src/core-dump/process.js';
import { Images } from '../../src/dump/images.js';
import { image, processEntry } from '../explore/images.js';
import { directory } from '../helpers/dump-files.js';
import { Message } from '../helpers/dump-writer.js';
import { tempDir } from '../helpers/temp.js';
import { aarch64Info, type CoreSpec, coreMessage, registerValue, X86_REGISTERS, x86Info } from './registers.js';

/** The process 7 of these cores by thread id. */
function processOf(cores: Record<number, CoreSpec>): CoreProcess {
  const dump = join(tempDir(), 'dump');
  mkdirSync(dump);
  const threads = Object.keys(cores).map(Number);
  writeFileSync(join(dump, 'pstree.img'), image('PSTREE', [processEntry(7, 0x60, threads).int(3, 0x70).int(4, 0x80)]));
  for (const tid of threads) {
    writeFileSync(join(dump, `core-${tid}.img`), image('CORE', [coreMessage(cores[tid])]));
  }
  return CoreProcess.of(new Images(directory(dump)), 7);
}

/** The notes of all threads, without their heads, which are checked. */
const notesOf = (cores: Record<number, CoreSpec>): { name: string; type: number; data: Buffer }[] =>
  [...processOf(cores).threadNotes()].flat().map(withoutHead);

function withoutHead(bytes: Uint8Array): { name: string; type: number; data: Buffer } {
  const note = Buffer.from(bytes);
  const [nameBytes, dataBytes, type] = [note.readUInt32LE(0), note.readUInt32LE(4), note.readUInt32LE(8)];
  const name = note.toString('latin1', 12, 12 + nameBytes - 1);
  expect(note[12 + nameBytes - 1]).toBe(0);
  const start = 12 + Math.ceil(nameBytes / 4) * 4;
  expect(note.length).toBe(start + Math.ceil(dataBytes / 4) * 4);
  return { name, type, data: note.subarray(start, start + dataBytes) };
}

/** Bytes with some numbers in them. */
function bytes(length: number, fill: (buffer: Buffer) => void): Buffer {
  const buffer = Buffer.alloc(length);
  fill(buffer);
  return buffer;
}

const siginfo = (signal: number): Buffer => bytes(128, (buffer) => buffer.writeInt32LE(signal));
const SIGINFO = { name: 'CORE', type: 0x53494749, data: Buffer.alloc(128) };

/** What FXSAVE writes of the registers of `x86Info`. */
function fxsave(buffer: Buffer, stSpace: readonly number[], xmmSpace: readonly number[]): void {
  for (const [i, value] of [0x37f, 2, 3, 0x7ff].entries()) buffer.writeUInt16LE(value, 2 * i);
  buffer.writeBigUInt64LE(0x1234_5678_9abcn, 8);
  buffer.writeBigUInt64LE(0xdef0_1234n, 16);
  buffer.writeUInt32LE(0x1f80, 24);
  buffer.writeUInt32LE(0xffff, 28);
  for (const [i, value] of stSpace.entries()) buffer.writeUInt32LE(value, 32 + 4 * i);
  for (const [i, value] of xmmSpace.entries()) buffer.writeUInt32LE(value, 160 + 4 * i);
}

const count = (length: number, from: number): number[] => Array.from({ length }, (_, i) => from + i);
const ST = count(32, 0x1000);
const XMM = count(64, 0x2000);

describe('a thread of x86-64', () => {
  const status = (tid: number, blocked: bigint, pending: bigint) =>
    bytes(336, (buffer) => {
      buffer.writeBigUInt64LE(pending, 16);
      buffer.writeBigUInt64LE(blocked, 24);
      for (const [i, id] of [tid, 0x60, 0x70, 0x80].entries()) buffer.writeUInt32LE(id, 32 + 4 * i);
      for (const i of X86_REGISTERS.keys()) buffer.writeBigUInt64LE(registerValue(i), 112 + 8 * i);
      buffer.writeUInt32LE(1, 328);
    });

  it('has its status, its registers and its signals; the main thread is the first', () => {
    const info = x86Info({ stSpace: ST, xmmSpace: XMM });
    const blocked = 0xffff_0000_0000_0001n;
    const pending = [siginfo(1), siginfo(64), siginfo(0), siginfo(65), siginfo(-1), Buffer.from([9])];
    const float = { name: 'CORE', type: 2, data: bytes(512, (buffer) => fxsave(buffer, ST, XMM)) };
    expect(
      notesOf({ 5: { info, isThread: true, blocked: 2n }, 7: { info, blocked, pending }, 9: { info, isThread: true } }),
    ).toEqual([
      { name: 'CORE', type: 1, data: status(7, blocked, 0x8000_0000_0000_0001n) },
      float,
      SIGINFO,
      { name: 'CORE', type: 1, data: status(5, 2n, 0n) },
      float,
      SIGINFO,
      { name: 'CORE', type: 1, data: status(9, 0n, 0n) },
      float,
      SIGINFO,
    ]);
  });

  /** All parts, with more values than there is room for. */
  const FULL: [field: number, length: number, from: number][] = [
    [2, 66, 0x3000],
    [3, 9, 0x4000],
    [4, 3, 0x5000],
    [5, 9, 0x6000],
    [6, 65, 0x7000],
    [7, 129, 0x8000],
    [8, 2, 0x9000],
  ];
  const xsave = (bits: number, fields: readonly number[]) => {
    const message = new Message().int(1, bits);
    for (const [field, length, from] of FULL) {
      if (fields.includes(field)) for (const value of count(length, from)) message.int(field, value);
    }
    return message;
  };
  const parts = (buffer: Buffer, bits: number) => {
    const put32 = (bit: number, at: number, length: number, from: number) => {
      if (bits & bit) for (const [i, value] of count(length, from).entries()) buffer.writeUInt32LE(value, at + 4 * i);
    };
    const put64 = (bit: number, at: number, length: number, from: number) => {
      if (bits & bit)
        for (const [i, value] of count(length, from).entries()) buffer.writeBigUInt64LE(BigInt(value), at + 8 * i);
    };
    put32(4, 576, 64, 0x3000);
    put64(8, 960, 8, 0x4000);
    put64(0x10, 1024, 2, 0x5000);
    put64(0x20, 1088, 8, 0x6000);
    put64(0x40, 1152, 64, 0x7000);
    put64(0x80, 1664, 128, 0x8000);
    put32(0x200, 2688, 1, 0x9000);
  };

  it.each([
    { what: 'AVX', fields: [2], bits: 7, mask: 7, length: 832 },
    { what: 'AVX in its initial state', fields: [2], bits: 3, mask: 7, length: 832 },
    { what: 'MPX', fields: [2, 3, 4], bits: 0x1f, mask: 0x1f, length: 1088 },
    { what: 'AVX-512', fields: [2, 5, 6, 7], bits: 0xe7, mask: 0xe7, length: 2688 },
    { what: 'AVX-512, of which only the masks are in use', fields: [2, 5, 6, 7], bits: 0x27, mask: 0xe7, length: 2688 },
    { what: 'AVX-512 and keys', fields: [2, 5, 6, 7, 8], bits: 0x2e7, mask: 0x2e7, length: 2696 },
    { what: 'keys without AVX-512', fields: [2, 8], bits: 0x207, mask: 0x207, length: 2696 },
    {
      what: 'everything, and parts that nobody knows',
      fields: [2, 3, 4, 5, 6, 7, 8],
      bits: 0xfff,
      mask: 0x2ff,
      length: 2696,
    },
  ])('has its extended state: $what', ({ fields, bits, mask, length }) => {
    const info = x86Info({ stSpace: ST, xmmSpace: XMM, xsave: xsave(bits, fields) });
    const expected = bytes(length, (buffer) => {
      fxsave(buffer, ST, XMM);
      buffer.writeBigUInt64LE(BigInt(mask), 464);
      buffer.writeBigUInt64LE(BigInt(bits & mask), 512);
      parts(buffer, bits & mask);
    });
    expect(notesOf({ 7: { info } })[3]).toEqual({ name: 'LINUX', type: 0x202, data: expected });
  });

  it('has no note of an extended state that is only what FXSAVE writes', () => {
    expect(notesOf({ 7: { info: x86Info({ xsave: xsave(3, []) }) } })).toHaveLength(3);
  });
});

describe('a thread of i386', () => {
  const VALUES: Record<string, bigint> = { cs: 0x23n, ds: 0x2bn, ip: 0xf7ff_0001n };
  const ORDER = [
    'bx',
    'cx',
    'dx',
    'si',
    'di',
    'bp',
    'ax',
    'ds',
    'es',
    'fs',
    'gs',
    'orig_ax',
    'ip',
    'cs',
    'flags',
    'sp',
    'ss',
  ];
  const value = (name: string) => VALUES[name] ?? registerValue(X86_REGISTERS.indexOf(name));

  it('has its status, both forms of its registers, and its signals', () => {
    /** Top of the stack is 6: physical register 6 is ST0. */
    const swd = 6 << 11;
    const st = Array<number>(32).fill(0);
    /** ST0 valid, ST1 zero, ST2 infinite, ST3 denormal, ST4 with a significand that is not normal. */
    st.splice(0, 3, 1, 0x8000_0000, 0x4000);
    st.splice(8, 3, 0, 0x8000_0000, 0x7fff);
    st.splice(12, 3, 5, 0, 0);
    st.splice(16, 3, 5, 5, 0x3fff);
    const twd = 0b1100_0111;
    const info = x86Info({ mode: 2, stSpace: st, xmmSpace: XMM, registers: VALUES, twd, swd });
    const [status, float, signal, extended, ...more] = notesOf({ 7: { info, blocked: 0xabcd_0000_1234n } });
    expect(more).toEqual([]);
    expect(status).toEqual({
      name: 'CORE',
      type: 1,
      data: bytes(144, (buffer) => {
        buffer.writeUInt32LE(0x1234, 20);
        for (const [i, id] of [7, 0x60, 0x70, 0x80].entries()) buffer.writeUInt32LE(id, 24 + 4 * i);
        for (const [i, name] of ORDER.entries()) {
          buffer.writeUInt32LE(Number(BigInt.asUintN(32, value(name))), 72 + 4 * i);
        }
        buffer.writeUInt32LE(1, 140);
      }),
    });
    // From register 7 to 0: ST1 zero, ST0 valid, three empty, ST4 special, ST3 special, ST2 special.
    const tags = 0b01_00_11_11_11_10_10_10;
    expect(float).toEqual({
      name: 'CORE',
      type: 2,
      data: bytes(108, (buffer) => {
        const words = [0xffff_037f, 0xffff_0000 + swd, 0xffff_0000 + tags];
        for (const [i, word] of words.entries()) buffer.writeUInt32LE(word, 4 * i);
        buffer.writeUInt32LE(0x5678_9abc, 12);
        buffer.writeUInt32LE(0x07ff_0023, 16);
        buffer.writeUInt32LE(0xdef0_1234, 20);
        buffer.writeUInt32LE(0xffff_002b, 24);
        const all = Buffer.from(Uint32Array.from(st).buffer);
        for (let i = 0; i < 8; i++) all.copy(buffer, 28 + 10 * i, 16 * i, 16 * i + 10);
      }),
    });
    expect(signal).toEqual(SIGINFO);
    const expected = bytes(512, (buffer) => {
      fxsave(buffer, st, XMM);
      buffer.writeUInt16LE(swd, 2);
      buffer.writeUInt16LE(twd, 4);
    });
    expect(extended).toEqual({ name: 'LINUX', type: 0x46e62b7f, data: expected });
  });

  it('has its extended state as x86-64 has it', () => {
    const xsave = new Message().int(1, 7).int(2, 0x99);
    const notes = notesOf({ 7: { info: x86Info({ mode: 2, xsave }) } });
    expect(notes.map(({ type }) => type)).toEqual([1, 2, 0x53494749, 0x46e62b7f, 0x202]);
    expect(notes[4]?.data.readUInt32LE(576)).toBe(0x99);
  });
});

it('has the notes of a thread of aarch64', () => {
  expect(notesOf({ 7: { march: 3, info: aarch64Info(), blocked: 0x55n } })).toEqual([
    {
      name: 'CORE',
      type: 1,
      data: bytes(392, (buffer) => {
        buffer.writeBigUInt64LE(0x55n, 24);
        for (const [i, id] of [7, 0x60, 0x70, 0x80].entries()) buffer.writeUInt32LE(id, 32 + 4 * i);
        for (let i = 0; i < 31; i++) buffer.writeUInt32LE(0x100 + i, 112 + 8 * i);
        buffer.writeBigUInt64LE(0x7fff_0000_0010n, 360);
        buffer.writeBigUInt64LE(0x40_1000n, 368);
        buffer.writeBigUInt64LE(0x6000_0000n, 376);
        buffer.writeUInt32LE(1, 384);
      }),
    },
    {
      name: 'CORE',
      type: 2,
      data: bytes(528, (buffer) => {
        for (let i = 0; i < 64; i++) buffer.writeUInt32LE(0x200 + i, 8 * i);
        buffer.writeUInt32LE(0x11, 512);
        buffer.writeUInt32LE(0x22, 516);
      }),
    },
    SIGINFO,
    { name: 'LINUX', type: 0x401, data: bytes(8, (buffer) => buffer.writeBigUInt64LE(0xffff_8000_1230n)) },
  ]);
});

describe('the process', () => {
  const spec: CoreSpec = { comm: 'a-name-of-sixteen', uid: 70000, gid: 0x1234, nice: -5, state: 3 };
  const args = Buffer.from(`prog\0${'x'.repeat(100)}\0`);

  it('has its names, ids and state on x86-64', () => {
    const process = processOf({ 7: spec });
    expect(withoutHead(processNote(process.machine.elf, process.info(args)))).toEqual({
      name: 'CORE',
      type: 3,
      data: bytes(136, (buffer) => {
        buffer.set([3, 0x54, 0, 256 - 5]);
        buffer.writeBigUInt64LE(0x40_0000n, 8);
        for (const [i, id] of [70000, 0x1234, 7, 0x60, 0x70, 0x80].entries()) buffer.writeUInt32LE(id, 16 + 4 * i);
        buffer.write('a-name-of-sixte', 40);
        buffer.write(`prog ${'x'.repeat(74)}`, 56);
      }),
    });
  });

  it('has them on i386, where a user id has 16 bits', () => {
    const process = processOf({ 7: { ...spec, state: 1, info: x86Info({ mode: 2 }) } });
    expect(withoutHead(processNote(process.machine.elf, process.info(Buffer.from('a\0b\0\0'))))).toEqual({
      name: 'CORE',
      type: 3,
      data: bytes(124, (buffer) => {
        buffer.set([0, 0x52, 0, 256 - 5]);
        buffer.writeUInt32LE(0x40_0000, 4);
        buffer.writeUInt16LE(65534, 8);
        buffer.writeUInt16LE(0x1234, 10);
        for (const [i, id] of [7, 0x60, 0x70, 0x80].entries()) buffer.writeUInt32LE(id, 12 + 4 * i);
        buffer.write('a-name-of-sixte', 28);
        buffer.write('a b', 44);
      }),
    });
  });

  it('has its auxiliary vector', () => {
    const { elf } = processOf({ 7: spec }).machine;
    expect(withoutHead(auxiliaryNote(elf, [6n, 4096n, 0n, 0n]))).toEqual({
      name: 'CORE',
      type: 6,
      data: Buffer.from(BigUint64Array.of(6n, 4096n, 0n, 0n).buffer),
    });
  });

  it('is refused if it is not there, a zombie, of another machine, or has no registers', () => {
    const refusal = (cores: Record<number, CoreSpec>) => expect(() => [...processOf(cores).threadNotes()]);
    const error = (code: string, message: RegExp) =>
      expect.objectContaining({ code, message: expect.stringMatching(message) });
    const other = 'expected a process of x86-64, i386 or aarch64, found one of PPC64';
    refusal({ 7: { march: 4 } }).toThrow(error('UNSUPPORTED', new RegExp(other)));
    refusal({ 7: { state: 6 } }).toThrow(error('UNSUPPORTED', /process 7 is a zombie/));
    refusal({ 7: { march: 3 }, 9: { isThread: true } }).toThrow(error('MALFORMED', /core-9.img: expected registers/));
    refusal({ 7: {}, 9: { march: 3, isThread: true } }).toThrow(error('MALFORMED', /core-9.img: expected registers/));
    expect(() => CoreProcess.of(processOf({ 7: {} }).images, 8)).toThrow(
      error('MISSING_IMAGE', /no process has the id 8/),
    );
  });
});
