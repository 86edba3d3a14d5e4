/** The stages as commands: page stream in, page stream out. */

import { passPageStream } from '../containers/page-stream/pass.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { pump, type Stage } from '../dump/pump.js';
import { UsageError } from '../errors.js';
import { classify, POLICIES } from '../stages/classify.js';
import { type FilterOptions, filter, type Selection } from '../stages/filter.js';
import { PageCounter } from '../stages/page-counter.js';
import { HOLES, rebuild } from '../stages/rebuild.js';
import {
  type Arguments,
  type Command,
  choice,
  flagOrForce,
  type Io,
  inputs,
  refuseTerminals,
  selected,
} from './command.js';
import { eagerListStages } from './eager-list.js';
import { printJson } from './written.js';

/** A command that is one stage. */
export interface StageCommand extends Command {
  stage(args: Arguments, io: Io): Stage;
}

type StageName = 'classify' | 'filter' | 'rebuild';

/** Runs stages from stdin to stdout; with `--json` says on stderr how many pages went in and came out. */
export async function runStages(
  names: readonly StageName[],
  stages: readonly Stage[],
  args: Arguments,
  io: Io,
): Promise<void> {
  refuseTerminals(io, { stdin: true, stdout: true });
  const json = args.flags['json'] === true;
  const [before, after] = [new PageCounter(), new PageCounter()];
  const counted = json ? [before.stage, ...stages, after.stage] : stages;
  await pump(passPageStream(io.stdinFd, io.stdoutFd), counted, new StreamSink(io.stdoutFd));
  if (json) {
    printJson(
      { stages: names, out: '-', kind: 'stream', pagesBefore: before.pages, pagesAfter: after.pages },
      ['-'],
      io,
    );
  }
}

/** Makes the command of a stage. */
function stageCommand(name: StageName, stage: StageCommand['stage']): StageCommand {
  return {
    stage,
    run: async (args, io) => {
      inputs(args);
      await runStages([name], [stage(args, io)], args, io);
    },
  };
}

export const classifyCommand = stageCommand('classify', (args, io) => {
  const mark = classify({
    policy: choice(args, 'policy', POLICIES, 'auto'),
    force: flagOrForce(args, 'unsafePolicy', io),
    warn: io.warn,
  });
  const [keep] = eagerListStages(args, io);
  return keep ? (record) => keep(mark(record)) : mark;
});

export const filterCommand = stageCommand('filter', (args, io) => filter({ ...filterOptions(args), warn: io.warn }));

export const rebuildCommand = stageCommand('rebuild', (args) =>
  rebuild({ holes: choice(args, 'holes', HOLES, 'flag') }),
);

function filterOptions(args: Arguments): FilterOptions {
  const { drop, keep } = args.flags;
  if ((drop === undefined) === (keep === undefined)) {
    throw new UsageError('expected one of --drop and --keep, with lazy, eager or all');
  }
  const action = drop === undefined ? 'keep' : 'drop';
  const selection: Selection = { class: choice(args, action, ['lazy', 'eager', 'all'], 'all') };
  const { pids, kinds } = selected(args);
  if (pids) selection.pids = pids;
  if (kinds) selection.kinds = kinds;
  if (args.flags['range'] !== undefined) selection.ranges = (args.flags['range'] as string[]).map(addressRange);
  return { action, selection };
}

function addressRange(text: string): { start: bigint; end: bigint } {
  const [, start, end] = /^(0x[0-9a-f]{1,16}|\d{1,20})-(0x[0-9a-f]{1,16}|\d{1,20})$/i.exec(text) ?? [];
  const range = start && end ? { start: BigInt(start), end: BigInt(end) } : undefined;
  if (!range || range.start >= range.end) {
    throw new UsageError(
      `--range: expected START-END, such as 0x7f0000000000-0x7f0000100000, found ${JSON.stringify(text)}`,
    );
  }
  return range;
}
