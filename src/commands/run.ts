import { COMMANDS } from '../command-line/commands.js';
import { parse } from '../command-line/parse.js';
import type { Stage } from '../dump/pump.js';
import { UsageError } from '../errors.js';
import { type Command, inputs, refuseOptions } from './command.js';
import { classifyCommand, filterCommand, rebuildCommand, runStages } from './stages.js';

const STAGES = { classify: classifyCommand, filter: filterCommand, rebuild: rebuildCommand };

export const command: Command = {
  async run(args, io) {
    const [pipeline] = inputs(args, "a pipeline, such as 'classify | filter --drop lazy | rebuild'") as [string];
    const names: (keyof typeof STAGES)[] = [];
    const stages: Stage[] = [];
    for (const text of pipeline.split('|')) {
      const [name, ...words] = text.trim().split(/\s+/);
      if (!isStage(name)) {
        throw new UsageError(`expected a stage (${Object.keys(STAGES).join(', ')}), found ${JSON.stringify(name)}`);
      }
      const own = await parse(COMMANDS[name], words);
      inputs(own);
      refuseOptions(own, ['json'], ' is for run, not for a stage in it');
      names.push(name);
      stages.push(STAGES[name].stage(own, io));
    }
    await runStages(names, stages, args, io);
  },
};

const isStage = (name: string | undefined): name is keyof typeof STAGES =>
  name !== undefined && Object.hasOwn(STAGES, name);
