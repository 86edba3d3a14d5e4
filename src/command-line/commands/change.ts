/** Commands that change images. */
import type { CommandSpec } from './spec.js';

export const CHANGE = {
  edit: {
    group: 'change',
    summary: 'change fields of an image',
    usage: ['IMAGE --set PATH=VALUE ... [-o FILE]'],
    about: `Changes fields of an image. The new image replaces the old one when it is
complete. Everything else stays the same, byte for byte.

PATH is as in the output of decode: entries[0].tc.comm,
entries[*].vmas[2].flags, where * means all.
VALUE is what encode accepts: a number in any base, flags or constants in
words, base64, text, or JSON.`,
    options: ['set', 'out', 'ifAbsent', 'dryRun', 'json'],
    examples: `  pagepipe edit files.img --set 'entries[3].reg.name=/var/log/new.log'
  pagepipe edit inetsk.img --set 'entries[*].src_addr=["10.0.0.7"]'
`,
  },
  encode: {
    group: 'change',
    summary: 'turn JSON into an image',
    usage: ['[JSON] [-o IMAGE]'],
    about: `Turns the JSON of pagepipe decode or crit decode, pretty or not, back into an
image. An image that replaces another one keeps its mode. Reads stdin without
JSON. With -i JSON it takes crit's options.`,
    options: ['in', 'out', 'unaligned', 'ifAbsent', 'json'],
    examples: `  pagepipe decode files.img |
    jq '(.entries[] | select(.id == 3)).reg.name = "/tmp/log"' |
    pagepipe encode -o files.img
`,
  },
} as const satisfies Record<string, CommandSpec>;
