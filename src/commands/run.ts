import { UsageError } from '../errors.js';
import { type Command, inputs } from './command.js';
import { classifyCommand, filterCommand, rebuildCommand, runStages } from './stages.js';

const STAGES = [classifyCommand, filterCommand, rebuildCommand];

export const command: Command = {
  name: 'run',
  help: `Usage
  pagepipe run 'STAGE | STAGE ...' < STREAM > STREAM

Runs several stages in one process. A stage is classify, filter or rebuild with
its options.

Example
  pagepipe read dump |
    pagepipe run 'classify | filter --drop lazy | rebuild' |
    pagepipe write small
`,
  flags: {},
  async run(args, io) {
    const [pipeline] = inputs(args, "a pipeline, such as 'classify | filter --drop lazy | rebuild'") as [string];
    const stages = pipeline.split('|').map((text) => {
      const [name, ...words] = text.trim().split(/\s+/);
      const stage = STAGES.find((candidate) => candidate.name === name);
      if (!stage) {
        throw new UsageError(
          `expected a stage (${STAGES.map((s) => s.name).join(', ')}), found ${JSON.stringify(name)}`,
        );
      }
      const stageArgs = io.parse(stage, words);
      inputs(stageArgs);
      return stage.stage(stageArgs, io);
    });
    await runStages(stages, io);
  },
};
