/** The stages as commands: page stream in, page stream out. */

import { passPageStream } from '../containers/page-stream/pass.js';
import { StreamSink } from '../containers/page-stream/stream.js';
import { pump, type Stage } from '../dump/pump.js';
import { UsageError } from '../errors.js';
import { KINDS, type Kind } from '../memory/vma.js';
import { classify, POLICIES } from '../stages/classify.js';
import { type FilterOptions, filter, type Selection } from '../stages/filter.js';
import { HOLES, rebuild } from '../stages/rebuild.js';
import {
  type Arguments,
  type Command,
  choice,
  flagOrForce,
  type Io,
  inputs,
  refuseTerminals,
  warningsTo,
} from './command.js';
import { eagerListStages } from './eager-list.js';

/** A command that is one stage. */
export interface StageCommand extends Command {
  stage(args: Arguments, io: Io): Stage;
}

/** Runs stages from stdin to stdout. */
export async function runStages(stages: readonly Stage[], io: Io): Promise<void> {
  refuseTerminals(io, { stdin: true, stdout: true });
  await pump(passPageStream(io.stdinFd, io.stdoutFd), stages, new StreamSink(io.stdoutFd));
}

/** Makes the command of a stage. */
function stageCommand(of: Pick<StageCommand, 'name' | 'help' | 'flags' | 'stage'>): StageCommand {
  return {
    ...of,
    run: async (args, io) => {
      inputs(args);
      await runStages([of.stage(args, io)], io);
    },
  };
}

export const classifyCommand = stageCommand({
  name: 'classify',
  help: `Usage
  pagepipe classify [--policy auto|flags|vma|seed] [--eager-list FILE]
    < STREAM > STREAM

Cuts page runs at the borders of memory areas, and marks each run as lazy or
eager and with its kind:
${wrapWords(KINDS.slice(1), 2)}

Options
  --policy auto   as flags where the pagemap has flags, otherwise as vma
                  (default)
  --policy flags  lazy is what is flagged PE_LAZY in the pagemap
  --policy vma    the rule of CRIU 3 and later: private anonymous memory that
                  is not locked, hugetlb, vdso, vvar or vsyscall
  --policy seed   the rule of 2016, only for CRIU 2; refused where CRIU 3 and
                  later would lose memory
  --unsafe-policy use seed even then (--force until 1.0)
  --eager-list FILE
                  mark the lazy pages that FILE names as eager and clear their
                  flag PE_LAZY; its lines are PID 0xADDRESS
`,
  flags: {
    policy: { type: 'string' },
    unsafePolicy: { type: 'boolean' },
    force: { type: 'boolean' },
    eagerList: { type: 'string' },
  },
  stage: (args, io) => {
    const mark = classify({
      policy: choice(args, 'policy', POLICIES, 'auto'),
      force: flagOrForce(args, 'unsafePolicy', io),
      warn: warningsTo(io),
    });
    const [keep] = eagerListStages(args, io);
    return keep ? (record) => keep(mark(record)) : mark;
  },
});

export const filterCommand = stageCommand({
  name: 'filter',
  help: `Usage
  pagepipe filter (--drop CLASS | --keep CLASS) [--pid PID]... [--kind KIND]...
    [--range START-END] < STREAM > STREAM

Takes the payload of page runs out. CLASS is lazy, eager or all; --pid, --kind
and --range restrict it. --drop takes out the selected pages, --keep all
others. Pages in the parent dump are not affected. If pages are taken out that
are not lazy, nothing can fetch them: a file pagepipe-partial.json marks the
dump, and other commands refuse it.

Options
  --pid PID          only this process; may be repeated
  --kind KIND        only this kind of memory (pagepipe classify --help lists
                     them); may be repeated
  --range START-END  only these addresses, in hex (0x…) or decimal, without
                     END; whole pages

Examples
  pagepipe filter --drop lazy
  pagepipe filter --keep all --pid 15 --kind heap --kind stack
`,
  flags: {
    drop: { type: 'string' },
    keep: { type: 'string' },
    pid: { type: 'number', isMultiple: true },
    kind: { type: 'string', isMultiple: true },
    range: { type: 'string' },
  },
  stage: (args, io) => filter({ ...filterOptions(args), warn: warningsTo(io) }),
});

export const rebuildCommand = stageCommand({
  name: 'rebuild',
  help: `Usage
  pagepipe rebuild [--holes flag|drop] < STREAM > STREAM

Turns page runs back into pagemap entries, in the format that they were read
in.

Options
  --holes flag  where lazy pages were taken out, an entry flagged only PE_LAZY
                remains (default)
  --holes drop  no entry remains
`,
  flags: { holes: { type: 'string' } },
  stage: (args) => rebuild({ holes: choice(args, 'holes', HOLES, 'flag') }),
});

function filterOptions(args: Arguments): FilterOptions {
  const { drop, keep } = args.flags;
  if ((drop === undefined) === (keep === undefined)) {
    throw new UsageError('expected one of --drop and --keep, with lazy, eager or all');
  }
  const action = drop === undefined ? 'keep' : 'drop';
  const selection: Selection = { class: choice(args, action, ['lazy', 'eager', 'all'], 'all') };
  const pids = (args.flags['pid'] ?? []) as number[];
  const kinds = (args.flags['kind'] ?? []) as string[];
  if (pids.some((pid) => !Number.isSafeInteger(pid) || pid < 1)) throw new UsageError('--pid: expected a process id');
  const unknown = kinds.find((kind) => !(KINDS as readonly string[]).includes(kind));
  if (unknown !== undefined) {
    throw new UsageError(`--kind: expected one of ${KINDS.slice(1).join(', ')}, found ${JSON.stringify(unknown)}`);
  }
  if (pids.length > 0) selection.pids = pids;
  if (kinds.length > 0) selection.kinds = kinds as Kind[];
  if (args.flags['range'] !== undefined) selection.range = addressRange(args.flags['range'] as string);
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

/** A list of words in lines of a help text. */
function wrapWords(words: readonly string[], indent: number): string {
  const lines = [''];
  for (const word of words) {
    if ((lines.at(-1) as string).length + word.length > 76) lines.push('');
    lines[lines.length - 1] += `${lines.at(-1) === '' ? ' '.repeat(indent) : ', '}${word}`;
  }
  return lines.join(',\n');
}
