// What a part of the bench has found: rows of its tables, as lines of JSON on stdout, which run.mjs reads. Whether an aim is met
// is computed here from what was measured, before it is rounded.
import { writeSync } from 'node:fs';
import { median } from './measure.mjs';

export const seconds = (value) => `${value.toFixed(2)} s`;
export const millis = (value) => `${(1000 * value).toFixed(0)} ms`;
export const micros = (value) => `${(1e6 * value).toFixed(0)} µs`;
export const mebibytes = (value) => `${value.toFixed(value < 10 ? 1 : 0)} MiB`;

const aim =
  (words, isMetBy) =>
  (limit, show = String) => ({
    text: `${words} ${show(limit).replace(/\.0+(?= )/, '')}`,
    isMetBy: (value) => isMetBy(value, limit),
  });
export const atLeast = aim('at least', (value, limit) => value >= limit);
export const atMost = aim('at most', (value, limit) => value <= limit);
export const under = aim('under', (value, limit) => value < limit);

/**
 * How fast we are compared with others: the rate of ours divided by theirs.
 * @param {{ seconds: number, cpu?: number }[]} ours what each round costs
 * @param {{ byClock?: number, byCpu?: number, limit?: { cpu: number }[] }} options the least rates that are aimed at, and what
 *   the kernel needs at least
 */
export function rate(what, ours, theirs, { byClock, byCpu, limit } = {}) {
  const ratios = (of) => ours.map((cost, round) => of(theirs[round]) / of(cost));
  const both = (of) => [ours, theirs].map((costs) => median(costs.map(of)).toFixed(2)).join(' and ');
  const [clock, cpu] = [({ seconds: value }) => value, ({ cpu: value }) => value];
  const hasCpu = ours[0].cpu !== undefined;
  row(
    ['what', 'by the clock', 'CPU', 'rate by the clock', 'rate by CPU', 'of the limit'],
    [
      what,
      `${both(clock)} s`,
      hasCpu ? `${both(cpu)} s` : '',
      spread(ratios(clock)),
      hasCpu ? median(ratios(cpu)).toFixed(2) : '',
      limit ? median(ours.map((cost, round) => limit[round].cpu / cost.cpu)).toFixed(2) : '',
    ],
    [
      byClock !== undefined && aimOf(atLeast(byClock, by('by the clock')), median(ratios(clock))),
      byCpu !== undefined && aimOf(atLeast(byCpu, by('by CPU')), median(ratios(cpu))),
    ],
  );
}

const by = (unit) => (limit) => `${limit} ${unit}`;

/** One quantity of ours divided by that of others. @param {[number, number][]} pairs of each round */
export function ratio(what, pairs, show, aim) {
  const ratios = pairs.map(([ours, theirs]) => ours / theirs);
  const sides = [0, 1].map((side) => show(median(pairs.map((pair) => pair[side]))));
  row(['what', 'pagepipe', 'the other', 'ratio'], [what, ...sides, spread(ratios)], [aimOf(aim, median(ratios))]);
}

/** What more of something takes. */
export function growth(what, labels, values, show, { times, each } = {}) {
  const ratios = values.slice(1).map((value, i) => value / values[i]);
  row(
    ['what', ...labels, 'times'],
    [what, ...values.map(show), ratios.map((value) => value.toFixed(2)).join(' and ')],
    [aimOf(times, Math.max(...ratios)), aimOf(each, Math.max(...values))],
  );
}

export function figure(what, value, show, aim) {
  row(['what', 'measured'], [what, show(value)], [aimOf(aim, value)]);
}

export function notMeasured(what, why) {
  row(['what', 'measured'], [what, `not measured: ${why}`], []);
}

function spread(values) {
  const [middle, least, most] = [median(values), Math.min(...values), Math.max(...values)].map(short);
  return values.length > 1 ? `${middle} (${least} to ${most})` : middle;
}

/** As many digits as say something. */
const short = (value) => value.toFixed(value < 0.1 ? 3 : 2);

const aimOf = (aim, value) => aim && { text: aim.text, isMet: aim.isMetBy(value) };

/** @param {({ text: string, isMet: boolean } | undefined | false)[]} aims */
function row(columns, cells, aims) {
  writeSync(1, `${JSON.stringify({ columns, cells, aims: aims.filter(Boolean) })}\n`);
}
