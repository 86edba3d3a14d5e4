// Compiles proto/ to a JSON schema inside a TypeScript module, src/ to dist/, and the command to one file, dist/pagepipe.cjs.
// Some commands are also in a smaller file. Writes docs/options.md and man/.

import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import protobuf from 'protobufjs';
import { entryTypes } from './entry-types.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const require = createRequire(import.meta.url);
const bundles = require('../bin/bundles.json');

const protos = ['criu', 'pagepipe'].flatMap((folder) =>
  readdirSync(join(root, 'proto', folder))
    .filter((name) => name.endsWith('.proto'))
    .sort()
    .map((name) => `${folder}/${name}`),
);
const loaded = new protobuf.Root();
loaded.resolvePath = (_origin, name) =>
  name.startsWith('google/') ? require.resolve(`protobufjs/${name}`) : join(root, 'proto', name);
// The other comment mode is the one that reads `//`.
loaded.loadSync(protos, { keepCase: true, alternateCommentMode: true });
const { nested } = loaded.toJSON({ keepComments: true });
const packages = Object.fromEntries(['criu', 'pagepipe'].map((name) => [name, nested[name].nested]));
for (const [name, { edition }] of Object.values(packages).flatMap(Object.entries)) {
  if (edition !== 'proto2') throw new Error(`${name}: expected syntax = "proto2" on top of its file, found ${edition}`);
}

// Declares the print hints. Fields keep theirs.
delete packages.criu.print;
delete packages.criu.print_hints;

// Comments go into the types. The edition is proto2 everywhere; src/protobuf/schema.ts puts it back.
const LEFT_OUT = new Set(['comment', 'comments', 'edition']);

/** A message, enum or field of the schema without what only the build needs. Names of members are never left out. */
function slim(node) {
  const kept = {};
  for (const [key, value] of Object.entries(node)) {
    if (LEFT_OUT.has(key)) continue;
    kept[key] = key === 'fields' || key === 'nested' ? slimAll(value) : value;
  }
  return kept;
}
const slimAll = (nodes) => Object.fromEntries(Object.entries(nodes).map(([name, node]) => [name, slim(node)]));

const slimPackages = Object.fromEntries(Object.entries(packages).map(([name, members]) => [name, slimAll(members)]));
// Of each type as text: a command uses few of them, and parsing all takes as long as all else that a short command does.
const texts = Object.entries(slimPackages).map(([name, members]) => {
  const lines = Object.entries(members).map(([type, json]) => `    ${type}: '${quoted(JSON.stringify(json))}',`);
  return `  ${name}: parsedWhenUsed({\n${lines.join('\n')}\n  }),`;
});

function quoted(text) {
  return text.replaceAll('\\', '\\\\').replaceAll("'", "\\'");
}

mkdirSync(join(root, 'src/generated'), { recursive: true });
writeFileSync(
  join(root, 'src/generated/schema.ts'),
  `// Made from proto/ by scripts/build.mjs.

/** A field, message or enum in the JSON form of protobufjs. */
export interface FieldJson {
  id: number;
  rule?: 'required' | 'repeated';
  type: string;
  options?: Record<string, unknown>;
}
export interface MessageJson {
  fields: Record<string, FieldJson>;
  nested?: Types;
}
export interface EnumJson {
  values: Record<string, number>;
}
export type Types = Readonly<Record<string, MessageJson | EnumJson>>;

/** The types of these texts. Each is parsed when it is first asked for. */
function parsedWhenUsed(texts: Record<string, string>): Types {
  const parsed: Record<string, MessageJson | EnumJson> = {};
  return new Proxy(texts as unknown as Types, {
    get(_texts, name: string) {
      const text = Object.hasOwn(texts, name) ? texts[name] : undefined;
      if (text === undefined) return;
      parsed[name] ??= JSON.parse(text) as MessageJson | EnumJson;
      return parsed[name];
    },
  });
}

/** Messages and enums of each package, by name. */
export const schema: Record<string, Types> = {
${texts.join('\n')}
};
`,
);
writeFileSync(join(root, 'src/generated/entries.ts'), entryTypes(packages.criu));
await writeMapPage();

/** meow sets up, when it is loaded, what reads package.json and shows errors in it. Nobody asks for it. */
const NOT_SET_UP = [
  ['= requireNormalize();', '= {};'],
  ['getDefaultExportFromCjs(normalizeExports)', '() => {}'],
  ['= requireLib$1();', '= {};'],
  ['promisify(execFile)', 'undefined'],
  ['createRequire ? createRequire(import.meta.url) : undefined', 'undefined'],
];

/** Modules of Node that few commands need and that take milliseconds to load. */
const SELDOM_USED =
  /^(node:)?(child_process|cluster|crypto|dgram|http|http2|https|module|net|os|perf_hooks|timers\/promises|tls|tty|worker_threads)$/;

/** Modules of Node that every command needs, and that some files import as a whole. */
const IMPORTED_WHOLE = /^(node:)?(fs|path|url|util|zlib)$/;

/** Three of the commands are in one module. */
const MODULES = { classify: 'stages', filter: 'stages', rebuild: 'stages' };
/** What src/cli.ts imports for an option of several commands. */
const OF_ALL = ['if-absent'];

// Built under other names and then renamed. A command that runs meanwhile uses the old files, and a failure leaves them.
const dist = join(root, 'dist');
const [next, old] = ['next', 'old'].map((name) => `${dist}.${name}-${process.pid}`);
try {
  const tsc = spawnSync(join(root, 'node_modules/.bin/tsc'), ['--outDir', next], { cwd: root, stdio: 'inherit' });
  process.exitCode = tsc.status ?? 1;
  if (process.exitCode === 0) {
    await bundle(join(next, 'pagepipe.cjs'));
    for (const [name, words] of Object.entries(bundles)) await bundle(join(next, `${name}.cjs`), words);
    if (existsSync(dist)) renameSync(dist, old);
    renameSync(next, dist);
    await writeManuals();
  }
} finally {
  for (const folder of [next, old]) rmSync(folder, { recursive: true, force: true });
}

/** Script and style of the page of pagepipe map, which every such page has in it. */
async function writeMapPage() {
  const folder = join(root, 'src/map/page');
  const { outputFiles } = await build({
    entryPoints: [join(folder, 'main.ts'), join(folder, 'page.css')],
    outdir: folder,
    write: false,
    bundle: true,
    platform: 'browser',
    target: ['chrome111', 'firefox113', 'safari16.4'],
    format: 'iife',
    charset: 'ascii',
    legalComments: 'none',
    minify: true,
  });
  const text = (ending) => outputFiles.find(({ path }) => path.endsWith(ending)).text.trim();
  // An element of a page ends at such a tag, wherever it is in its text.
  const inElement = (code) => code.replaceAll('</', '<\\/');
  writeFileSync(
    join(root, 'src/generated/map-page.ts'),
    `// Made from src/map/page by scripts/build.mjs.

export const pageScript = '${quoted(inElement(text('.js')))}';
export const pageStyle = '${quoted(text('.css'))}';
`,
  );
}

/** docs/options.md and the man pages, from the table of commands and options. */
async function writeManuals() {
  const { optionsDocument } = await import('../dist/command-line/markdown.js');
  const { manPages } = await import('../dist/command-line/man.js');
  writeFileSync(join(root, 'docs/options.md'), optionsDocument());
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  mkdirSync(join(root, 'man'), { recursive: true });
  for (const [name, page] of manPages(version)) writeFileSync(join(root, 'man', name), page);
}

/**
 * The command in one file, which starts much faster than a hundred modules. It is an expression, a function as Node makes
 * of a module, because bin/pagepipe.js compiles it by hand.
 * @param {string} outfile
 * @param {string[]} [words] only these commands
 */
async function bundle(outfile, words) {
  await build({
    entryPoints: [join(root, 'src/cli.ts')],
    absWorkingDir: root,
    outfile,
    bundle: true,
    platform: 'node',
    target: 'node20.19',
    format: 'cjs',
    // Have a native part.
    external: ['lz4-napi', 'koffi', '@node-rs/crc32'],
    plugins: [
      ...(words ? [{ name: 'commands', setup: (hooks) => withCommands(hooks, words) }] : []),
      { name: 'meow', setup: withoutPackageData },
      { name: 'builtins', setup: loadedWhenUsed },
      { name: 'process', setup: processItself },
    ],
    define: { 'import.meta.url': '__moduleUrl' },
    // The URL is that of pathToFileURL, which takes a millisecond when it is first used.
    banner: {
      js: `(function (exports, require, module, __filename, __dirname) { 'use strict';
const __moduleUrl = 'file://' + encodeURI(__filename).replace(/[?#]/g, encodeURIComponent);`,
    },
    footer: { js: '})' },
    // V8 keeps ASCII in one byte a character.
    charset: 'ascii',
    legalComments: 'none',
    minify: true,
    sourcemap: 'external',
    sourcesContent: false,
  });
  // bin/pagepipe.js keeps compiled code by this hash.
  const code = readFileSync(outfile);
  const hash = createHash('sha256').update(code).digest('hex').slice(0, 16);
  writeFileSync(outfile, Buffer.concat([Buffer.from(`/*${hash}*/`), code]));
}

/**
 * Leaves out the modules of other commands, which src/cli.ts imports when they are used, and what the table of commands says of
 * them. The bundle with the help has all of the table.
 */
function withCommands({ onResolve, onLoad }, words) {
  const modules = new Set([...words.map((word) => MODULES[word] ?? word), ...OF_ALL]);
  onResolve({ filter: /^\.\/commands\// }, ({ path, kind, importer }) => {
    if (kind !== 'dynamic-import' || !importer.endsWith('/src/cli.ts') || modules.has(basename(path, '.js'))) return;
    return { path, namespace: 'left-out' };
  });
  onLoad({ filter: /.*/, namespace: 'left-out' }, () => ({ contents: 'export {};' }));
  if (words.includes('help')) return;
  onLoad({ filter: /\/command-line\/commands\/(change|check|lazy|look|move|stages)\.ts$/ }, async ({ path }) => {
    const tables = await import(join(next, 'command-line/commands', `${basename(path, '.ts')}.js`));
    const ofWords = (table) =>
      Object.fromEntries(Object.entries(table).filter(([word, { summary }]) => !summary || words.includes(word)));
    const lines = Object.entries(tables).map(
      ([name, table]) => `export const ${name} = ${JSON.stringify(ofWords(table))};`,
    );
    return { contents: lines.join('\n') };
  });
}

function withoutPackageData({ onLoad }) {
  onLoad({ filter: /meow\/build\/dependencies\.js$/ }, ({ path }) => {
    let contents = readFileSync(path, 'utf8');
    for (const [found, instead] of NOT_SET_UP) {
      if (!contents.includes(found)) throw new Error(`${path}: found no ${found}`);
      contents = contents.replace(found, instead);
    }
    return { contents };
  });
}

/**
 * Such a module is loaded when something of it is used, not when it is imported. Its members are inherited, because esbuild
 * copies all that an object has for each import of it.
 */
function loadedWhenUsed({ onResolve, onLoad }) {
  onResolve({ filter: SELDOM_USED }, ({ path, namespace }) =>
    namespace === 'seldom' ? { path, external: true } : { path, namespace: 'seldom' },
  );
  onResolve({ filter: IMPORTED_WHOLE }, ({ path, namespace, importer }) => {
    if (namespace === 'whole') return { path, external: true };
    if (/\/meow\/|\/compression\.ts$/.test(importer)) return { path, namespace: 'whole' };
  });
  onLoad({ filter: /.*/, namespace: 'whole' }, ({ path }) => ({
    contents: `module.exports = Object.create(require(${JSON.stringify(path)}));`,
  }));
  onLoad({ filter: /.*/, namespace: 'seldom' }, ({ path }) => {
    const getters = Object.keys(require(path)).map((name) => `get ${name}() { return load().${name}; },`);
    return {
      contents: `let loaded;
const load = () => (loaded ??= require(${JSON.stringify(path)}));
module.exports = Object.create({ ${getters.join('\n')} });`,
    };
  });
}

/**
 * The module node:process reads all properties of the process when it is loaded, process.stdout too. That makes its pipe
 * non-blocking for all processes that share it, and large writes would become short.
 */
function processItself({ onResolve, onLoad }) {
  onResolve({ filter: /^(node:)?process$/ }, ({ path }) => ({ path, namespace: 'process' }));
  onLoad({ filter: /.*/, namespace: 'process' }, () => ({ contents: 'module.exports = process;' }));
}
