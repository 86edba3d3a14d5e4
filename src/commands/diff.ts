import { basename } from 'node:path';
import { type DiffOptions, type DumpChange, diffSteps } from '../diff/diff.js';
import type { AreaState, PageCounts } from '../diff/memory.js';
import { jsonValue } from '../diff/values.js';
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { UsageError } from '../errors.js';
import { TextOutput } from '../explore/output.js';
import { Breather } from '../io/breathe.js';
import { FdWriter } from '../io/fd.js';
import { checkOutputFile } from '../library/sinks.js';
import { htmlMap } from '../map/html.js';
import type { MapPage } from '../map/model.js';
import { PAGE_SIZES } from '../memory/runs.js';
import { counted, oneLine, printable } from '../printable.js';
import { AnswerIsNo, type Command, inputs, pageSizeFlag } from './command.js';
import { fileOutputs } from './if-absent.js';
import { writeMapFile } from './map-file.js';
import { Progress } from './progress.js';
import { budgetOf, inputPlaces, openCommandFiles, sourceName } from './source.js';

/** A value in text is cut after so many characters. */
const MAX_VALUE = 80;

export const command: Command = {
  cleansUp: true,
  outputs: fileOutputs('page'),
  async run(args, io) {
    const [pathA, pathB] = inputs(args, 'A', 'B') as [string, string];
    if (pathA === '-' && pathB === '-') throw new UsageError('only one dump can come from stdin');
    const { onlyImages, onlyMemory, json } = args.flags as Record<string, boolean | undefined>;
    const options: DiffOptions = { ...pageSizeFlag(args, PAGE_SIZES) };
    if (onlyImages && !onlyMemory) options.memory = false;
    if (onlyMemory && !onlyImages) options.images = false;
    const out = args.flags['page'] as string | undefined;
    if (out !== undefined) {
      if (options.memory === false) throw new UsageError('-o draws memory, which --images leaves out');
      if (!/\.html?$/i.test(out)) {
        throw new UsageError(`-o: expected a name that ends in .html, found ${JSON.stringify(out)}`);
      }
      const places = [pathA, pathB].flatMap((path) => inputPlaces(path, args, io));
      checkOutputFile(out, places, args.flags['force'] === true);
    }
    const progress = new Progress(io, () => 0);
    const opened: DumpFiles[] = [];
    try {
      const budget = budgetOf(args);
      for (const path of [pathA, pathB]) {
        opened.push(await openCommandFiles(path, args, io, { progress: progress.add, pages: 'hold', budget }));
      }
      const [a, b] = opened as [DumpFiles, DumpFiles];
      let page: MapPage | undefined;
      if (out !== undefined) {
        checkOutputFile(out, opened.flatMap(dumpPlaces), args.flags['force'] === true);
        const [nameA, nameB] = [pathA, pathB].map((path) => basename(sourceName(path, args))) as [string, string];
        options.onMaps = (mapA, mapB) => {
          const maps = [
            { name: `A: ${nameA}`, map: mapA },
            { name: `B: ${nameB}`, map: mapB },
          ];
          page = { title: `Memory of ${nameA} and ${nameB}`, maps };
        };
      }
      const writer = new FdWriter(io.stdoutFd);
      const output = new TextOutput(progress.around(writer.write));
      let isSame = true;
      const breather = new Breather();
      for (const change of diffSteps(a, b, options)) {
        await breather.due();
        io.signal.throwIfAborted();
        if (!change) continue;
        isSame = false;
        const line = json ? JSON.stringify(changeObject(change)) : oneLine(changeText(change));
        output.print(`${json && io.stdoutIsTerminal ? printable(line) : line}\n`);
      }
      output.flush();
      writer.flush();
      if (out !== undefined && page) writeMapFile(out, htmlMap(page));
      if (!isSame) throw new AnswerIsNo();
    } finally {
      progress.done();
      for (const files of opened) files.close();
    }
  },
};

const hex = (address: bigint): string => `0x${address.toString(16)}`;

/** Addresses are in hex, as elsewhere in JSON. */
function changeObject(change: DumpChange): object {
  if (change.change === 'field') return { ...change, a: jsonValue(change.a), b: jsonValue(change.b) };
  if (change.change === 'area' && 'a' in change) return { ...change, a: areaObject(change.a), b: areaObject(change.b) };
  return 'start' in change ? { ...change, start: hex(change.start), end: hex(change.end) } : change;
}

const areaObject = (area: AreaState): object => ({ ...area, start: hex(area.start), end: hex(area.end) });

function changeText(change: DumpChange): string {
  switch (change.change) {
    case 'process':
      return `process ${change.pid}: ${onlyText(change.only)}`;
    case 'image':
      return `${change.image}: ${onlyText(change.only)}`;
    case 'entry':
      return `${change.image} ${change.entry}: ${onlyText(change.only)}`;
    case 'field':
      return `${change.image} ${change.entry}: ${change.path}: ${valueText(change.a)} -> ${valueText(change.b)}`;
    case 'bytes':
      return `${change.image}: other bytes, with the same fields`;
    case 'area':
      if ('a' in change) return `${change.pid} ${areaText(change.a)} -> ${areaText(change.b)}`;
      return `${change.pid} ${placeText(change)}: ${onlyText(change.only)}`;
    case 'pages':
      return `${change.pid} ${placeText(change)}: ${countsText(change)}`;
    case 'kind':
      return `${change.pid} all ${change.kind}: ${countsText(change)}`;
    case 'segment':
      return `shmem ${change.segment}: ${'only' in change ? onlyText(change.only) : countsText(change)}`;
  }
}

const onlyText = (side: 'a' | 'b'): string => `only in ${side.toUpperCase()}`;

function valueText(value: unknown): string {
  const text = value === undefined ? 'none' : JSON.stringify(jsonValue(value));
  return text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}…` : text;
}

const placeText = ({ kind, start, end, file }: Omit<AreaState, 'prot'>): string =>
  [`${hex(start)}-${hex(end)} ${kind}`, file ?? []].flat().join(' ');

const areaText = (area: AreaState): string =>
  `${placeText(area)} ${area.prot & 1 ? 'r' : '-'}${area.prot & 2 ? 'w' : '-'}${area.prot & 4 ? 'x' : '-'}`;

function countsText({ compared, changed, changedBytes, onlyA, onlyB }: PageCounts): string {
  const parts: string[] = [];
  if (changed > 0) parts.push(`${changed} of ${counted(compared, 'page')} changed, ${counted(changedBytes, 'byte')}`);
  if (onlyA > 0) parts.push(`${counted(onlyA, 'page')} only in A`);
  if (onlyB > 0) parts.push(`${counted(onlyB, 'page')} only in B`);
  return parts.join('; ');
}
