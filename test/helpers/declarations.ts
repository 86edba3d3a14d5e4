/** What the emitted declarations export, and which types of their own they mention; read from the text, as tsc writes it. */
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

const DIST = join(import.meta.dirname, '../../dist');

interface Declarations {
  /** What is declared here: text without comments, by name. */
  own: Map<string, string>;
  /** What a name refers to that is imported or exported from another file of ours. */
  imported: Map<string, Origin>;
  exported: Map<string, Origin>;
}

interface Origin {
  file: string;
  name: string;
}

const DECLARATION = /^(export )?(?:declare )?(?:abstract )?(?:class|interface|type|const|function|enum) (\w+)/;
const FROM = /^(import|export) (?:type )?(?:\{([^}]*)\}|\*) from '(\.[^']+)';/gm;

const read = new Map<string, Declarations>();

function declarationsOf(file: string): Declarations {
  const known = read.get(file);
  if (known) return known;
  const text = readFileSync(join(DIST, file), 'utf8').replaceAll(/\/\*[\s\S]*?\*\//g, '');
  const found: Declarations = { own: new Map(), imported: new Map(), exported: new Map() };
  read.set(file, found);
  for (const [, keyword, list, from] of text.matchAll(FROM)) {
    const target = join(dirname(file), from?.replace(/\.js$/, '.d.ts') ?? '');
    const names = list === undefined ? [...declarationsOf(target).exported.keys()] : list.split(',');
    for (const [name, as] of names.map(splitName)) {
      if (!name) continue;
      const origin = declarationsOf(target).exported.get(name) ?? { file: target, name };
      (keyword === 'import' ? found.imported : found.exported).set(as ?? name, origin);
    }
  }
  for (const part of text.split(
    /^(?=(?:export |declare )?(?:declare |abstract )*(?:class|interface|type|const|function) \w)/m,
  )) {
    const [, isExported, name] = DECLARATION.exec(part) ?? [];
    if (!name) continue;
    found.own.set(name, (found.own.get(name) ?? '') + part);
    if (isExported) found.exported.set(name, { file, name });
  }
  return found;
}

const splitName = (text: string): (string | undefined)[] =>
  text
    .trim()
    .replace(/^type /, '')
    .split(' as ');

/** Names that an entry point exports, types too, and where they are declared. */
export const exportsOf = (entry: string): ReadonlyMap<string, Origin> => declarationsOf(`${entry}.d.ts`).exported;

/** Of our own names that a declaration mentions: where they are declared. */
export function mentionedBy({ file, name }: Origin): Origin[] {
  const { own, imported } = declarationsOf(file);
  const text = (own.get(name) ?? '').replaceAll(/^ *private .*$/gm, '').replaceAll(/'[^'\n]*'|"\.{0}[^".\n]*"/g, '');
  const mentioned: Origin[] = [];
  for (const [, from, inline] of text.matchAll(/import\("(\.[^"]+)"\)\.(\w+)/g)) {
    const target = join(dirname(file), from?.replace(/\.js$/, '.d.ts') ?? '');
    mentioned.push(declarationsOf(target).exported.get(inline as string) ?? { file: target, name: inline as string });
  }
  // A word before a colon is a parameter or a member; `typeof` says what a constant is, not its name.
  for (const [word] of text.matchAll(/(?<!typeof )\b[A-Za-z_]\w*\b(?!\??:)/g)) {
    const origin = imported.get(word) ?? (own.has(word) ? { file, name: word } : undefined);
    if (origin) mentioned.push(origin);
  }
  return mentioned;
}
