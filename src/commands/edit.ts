import { UsageError } from '../errors.js';
import { ImageDecoder } from '../image/decoder.js';
import { type Assignment, ImageEditor, parseAssignment } from '../json/edit.js';
import { type Command, inputs, refuseTerminals } from './command.js';
import { closeInput, openImage, readChunks, withOutput } from './image-files.js';

export const command: Command = {
  name: 'edit',
  help: `Usage
  pagepipe edit IMAGE --set PATH=VALUE ... [-o FILE]

Changes fields of an image. The new image replaces the old one when it is
complete. Everything else stays the same, byte for byte.

PATH is as in the output of decode: entries[0].tc.comm,
entries[*].vmas[2].flags, where * means all.
VALUE is what encode accepts: a number in any base, flags or constants in
words, base64, text, or JSON.

Options
  --set PATH=VALUE  may be repeated
  -o, --out FILE    write the image to FILE instead; - is stdout

Examples
  pagepipe edit files.img --set 'entries[3].reg.name=/var/log/new.log'
  pagepipe edit inetsk.img --set 'entries[*].src_addr=["10.0.0.7"]'
`,
  flags: { set: { type: 'string', isMultiple: true }, out: { type: 'string', shortFlag: 'o' } },
  cleansUp: true,
  async run(args, io) {
    const [path] = inputs(args, 'IMAGE') as [string];
    const { set = [], out } = args.flags as { set?: string[]; out?: string };
    if (set.length === 0) throw new UsageError('expected --set PATH=VALUE, found none');
    if (path === '-' && out === undefined)
      throw new UsageError('stdin cannot be changed in place; name an output with -o');
    if (out === '-') refuseTerminals(io, { stdout: true });
    const assignments = set.map(toAssignment);
    const input = openImage(path, io);
    try {
      await withOutput(out ?? path, input, io, async (emit) => {
        const editor = new ImageEditor(emit, assignments, input.name);
        const decoder = new ImageDecoder(editor, { file: input.name, type: input.type });
        await readChunks(input, io, (chunk) => decoder.push(chunk));
        decoder.end();
      });
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
