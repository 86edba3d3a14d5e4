/** What pages look like, and how many differ. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { ContentSurvey } from '../../src/map/content.js';
import { DistinctCount } from '../../src/map/distinct.js';
import type { Content } from '../../src/map/model.js';

const PAGE = 4096;

/** Bytes that do not compress; the same each time. */
const random = (bytes: number, seed: string): Buffer =>
  Buffer.concat(Array.from({ length: bytes / 32 }, (_, i) => createHash('sha256').update(`${seed}${i}`).digest()));
const text = (words: string): Buffer => Buffer.alloc(PAGE, words);

describe('content', () => {
  const seen = (bytes: Buffer): { found: [Content, number][]; survey: ContentSurvey } => {
    const survey = new ContentSurvey(PAGE);
    const found: [Content, number][] = [];
    survey.add(bytes, (content, pages) => found.push([content, pages]));
    return { found, survey };
  };

  it('is told page by page, neighbors at once', () => {
    const numbers = Buffer.from(Uint32Array.from({ length: PAGE / 4 }, (_, i) => i * 8).buffer);
    const late = Buffer.alloc(PAGE);
    late[PAGE - 1] = 1;
    const pages = [
      Buffer.alloc(2 * PAGE),
      late,
      random(PAGE, 'a'),
      random(2 * PAGE, 'b'),
      text('All work and no play.\n'),
      Buffer.from('also text of two bytes each '.repeat(80), 'utf16le').subarray(0, PAGE),
      numbers,
    ];
    expect(seen(Buffer.concat(pages)).found).toEqual([
      ['zero', 2],
      ['compressible', 1],
      ['random', 3],
      ['text', 2],
      ['compressible', 1],
    ]);
  });

  it('counts pages that occur again, and what compression gives', () => {
    const page = random(PAGE, 'a');
    const { survey } = seen(Buffer.concat([page, page, text('a'), Buffer.alloc(PAGE), page]));
    const totals = survey.totals();
    expect(totals).toMatchObject({
      pages: 5,
      contents: { zero: 1, text: 1, compressible: 0, random: 3 },
      distinctPages: 2,
      isExact: true,
      sampledPages: 5,
    });
    expect(totals.compressedBytes).toBeGreaterThan(PAGE);
    expect(totals.compressedBytes).toBeLessThan(3 * PAGE);
  });

  it('compresses the same blocks in parts as in the whole, however it comes', () => {
    const contents = Array.from({ length: 7 }, (_, i) => random(PAGE, `${i}`));
    const all = Buffer.concat(Array.from({ length: 1100 }, (_, i) => contents[i % 7] as Buffer));
    const surveyOf = (from: number, to: number, pieces: number) => {
      const survey = new ContentSurvey(PAGE, from);
      for (let page = from; page < to; page += pieces) {
        survey.add(all.subarray(page * PAGE, Math.min(to, page + pieces) * PAGE), () => {});
      }
      return survey.end();
    };
    const whole = surveyOf(0, 1100, 1100);
    expect(whole.sampledPages).toBe(1024 + 16);
    expect(surveyOf(0, 1100, 5)).toMatchObject({ sampledPages: 1040, sampledBytes: whole.sampledBytes });
    const parts = [surveyOf(0, 16, 3), surveyOf(16, 1040, 77), surveyOf(1040, 1100, 9)];
    const sum = (name: 'sampledPages' | 'sampledBytes') => parts.reduce((total, part) => total + part[name], 0);
    expect([sum('sampledPages'), sum('sampledBytes')]).toEqual([whole.sampledPages, whole.sampledBytes]);
  });

  it('adds up counts of parts to the count of the whole', () => {
    const oneOf = (i: number) => (Math.imul(i, 0x9e3779b1) >>> 0) * 2 ** 21 + (Math.imul(i, 0x85ebca6b) >>> 11);
    const whole = new DistinctCount(1 << 10);
    const sum = new DistinctCount(1 << 10);
    for (const [from, to] of [
      [0, 30],
      [30, 4000],
      [3000, 3010],
      [2000, 9000],
    ] as const) {
      const part = new DistinctCount(1 << 10);
      for (let i = from; i < to; i++) for (const count of [part, whole]) count.add(oneOf(i));
      sum.keepEvery(part.share);
      for (const number of part.numbers()) sum.add(number);
    }
    expect(whole.isExact).toBe(false);
    expect([sum.count, sum.share]).toEqual([whole.count, whole.share]);
  });

  it('estimates how many differ where they are too many to remember', () => {
    const count = new DistinctCount(1 << 12);
    let number = 1;
    const all = Array.from({ length: 40_000 }, () => {
      number = (Math.imul(number, 1664525) + 1013904223) >>> 0;
      return number * 2 ** 21 + (Math.imul(number, 0x9e3779b1) >>> 11);
    });
    for (const one of [...all, ...all]) count.add(one);
    expect(count.isExact).toBe(false);
    expect(count.count).toBeGreaterThan(36_000);
    expect(count.count).toBeLessThan(44_000);
  });
});
