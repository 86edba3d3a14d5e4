import type { Emit } from '../bytes.js';
import { UsageError } from '../errors.js';
import { ImageDecoder } from '../image/decoder.js';
import { type Assignment, ImageEditor, parseAssignment } from '../json/edit.js';
import { type Command, inputs, refuseTerminals } from './command.js';
import { fileOutputs } from './if-absent.js';
import { closeInput, openImage, readChunks, withOutput } from './image-files.js';
import { printJson } from './written.js';

export const command: Command = {
  cleansUp: true,
  outputs: fileOutputs('out'),
  async run(args, io) {
    const [path] = inputs(args, 'IMAGE') as [string];
    const { set = [], out } = args.flags as { set?: string[]; out?: string };
    if (set.length === 0) throw new UsageError('expected --set PATH=VALUE, found none');
    if (path === '-' && out === undefined)
      throw new UsageError('stdin cannot be changed in place; name an output with -o');
    if (out === '-') refuseTerminals(io, { stdout: true });
    const assignments = set.map(toAssignment);
    const input = openImage(path, io);
    const place = out ?? path;
    const dryRun = args.flags['dryRun'] === true;
    const edit = async (emit: Emit) => {
      const editor = new ImageEditor(emit, assignments, input.name);
      const decoder = new ImageDecoder(editor, { file: input.name, type: input.type });
      await readChunks(input, io, (chunk) => decoder.push(chunk));
      decoder.end();
      return editor;
    };
    try {
      const { type, changedEntries } = await (dryRun ? edit(() => {}) : withOutput(place, input, io, edit));
      if (args.flags['json'] === true)
        printJson({ image: path, out: place, type, changedEntries, dryRun }, [place], io);
      else if (dryRun)
        io.tell(`${place}: ${changedEntries} ${changedEntries === 1 ? 'entry' : 'entries'} would change`);
    } finally {
      closeInput(input, io);
    }
  },
};

function toAssignment(text: string): Assignment {
  const assignment = parseAssignment(text);
  if (assignment) return assignment;
  throw new UsageError(`--set: expected PATH=VALUE such as entries[0].pid=7, found ${JSON.stringify(text)}`);
}
