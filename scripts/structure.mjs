// Prints the folders of src/ in order, with their files and lines, and what breaks the order: circles between files or
// folders, and imports of what comes later. `npm run structure`; with `-- --check` it fails if there is any.
import { readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';

/**
 * The folders and files of src/, the ground first: each imports only what is before it. Those in one group are side by
 * side and do not import each other, except as ALLOWED says. Generated code is left out.
 */
const ORDER = [
  'temporary.ts',
  'errors.ts',
  'shell.ts',
  'printable.ts',
  'bytes.ts',
  'columns.ts',
  'fifo.ts',
  'crc.ts',
  'source-stack.ts',
  'protocol',
  'protobuf',
  'io',
  'memory',
  'image',
  'json',
  'dump',
  'stages',
  'containers',
  ['containers/directory', 'containers/s3', 'containers/shards', 'containers/page-stream', 'containers/tar'],
  'containers/oci',
  'arrival',
  'listing',
  'template',
  ['explore', 'verify', 'halves', 'serve'],
  'search',
  'map',
  'diff',
  'inspect',
  ['send', 'lazy', 'stream-socket', 'core-dump'],
  'migrate',
  'library',
  'command-line',
  'commands',
  'cli.ts',
  ['index.ts', 'images.ts', 'containers.ts', 'inspect.ts', 'serve.ts'],
];

/** Imports between folders that are side by side. */
const ALLOWED = [];

const GENERATED = 'generated/';

/** Static imports and exports begin a line, as Biome formats them; the API of the compiler is not stable yet. */
const IMPORTS = /^(?:import|export)\b[^;]*?\bfrom '(\.[^']+)'|^import '(\.[^']+)'|\bimport\(\s*'(\.[^']+)'/gm;

/**
 * @param {Map<string, string>} files text by path, relative to src/
 * @param {(string | string[])[]} order as ORDER
 * @param {string[]} allowed as ALLOWED: 'verify -> explore'
 */
export function analyze(files, order, allowed = []) {
  const places = order.flatMap((group, rank) => [group].flat().map((name) => ({ name, rank, files: 0, lines: 0 })));
  // containers/tar/read.ts is in containers/tar, not in containers.
  const byLength = [...places].sort((a, b) => b.name.length - a.name.length);
  const placeOf = (path) => byLength.find(({ name }) => path === name || path.startsWith(`${name}/`));

  const fileGraph = new Map();
  const folderGraph = new Map();
  const upward = [];
  const unlisted = [];
  for (const [path, text] of files) {
    const place = placeOf(path);
    if (!place) unlisted.push(path);
    else {
      place.files++;
      place.lines += text.split('\n').length - 1;
    }
    const targets = importsOf(path, text).filter((target) => files.has(target));
    fileGraph.set(path, targets);
    for (const target of targets) {
      const to = placeOf(target);
      if (!place || !to || place === to) continue;
      folderGraph.set(place.name, [...(folderGraph.get(place.name) ?? []), to.name]);
      const isBefore =
        to.rank < place.rank || (to.rank === place.rank && allowed.includes(`${place.name} -> ${to.name}`));
      if (!isBefore) upward.push(`${path} -> ${target}`);
    }
  }
  return { places, upward, unlisted, fileCircles: circles(fileGraph), folderCircles: circles(folderGraph) };
}

function importsOf(path, text) {
  const specifiers = [...text.matchAll(IMPORTS)].map((match) => match[1] ?? match[2] ?? match[3]);
  return specifiers.map((specifier) => posix.join(posix.dirname(path), specifier).replace(/\.js$/, '.ts'));
}

/** One shortest circle for each node that is on one and in no circle found before, as `a -> b -> a`. */
function circles(graph) {
  const found = [];
  const seen = new Set();
  for (const start of [...graph.keys()].sort()) {
    if (seen.has(start)) continue;
    const circle = shortestCircle(graph, start);
    if (!circle) continue;
    for (const node of circle) seen.add(node);
    found.push([...circle, start].join(' -> '));
  }
  return found;
}

/** The nodes of a shortest path from `start` back to it. */
function shortestCircle(graph, start) {
  const cameFrom = new Map();
  const queue = [start];
  for (const node of queue) {
    for (const next of graph.get(node) ?? []) {
      if (next === start) {
        const path = [node];
        while (path[0] !== start) path.unshift(cameFrom.get(path[0]));
        return path;
      }
      if (cameFrom.has(next)) continue;
      cameFrom.set(next, node);
      queue.push(next);
    }
  }
  return undefined;
}

/** The sources below a folder, but for generated ones. */
export function readSources(root) {
  const paths = readdirSync(root, { recursive: true, encoding: 'utf8' }).sort();
  const sources = paths.filter((path) => path.endsWith('.ts') && !path.startsWith(GENERATED));
  return new Map(sources.map((path) => [path, readFileSync(join(root, path), 'utf8')]));
}

/** The real tree, in the order that it should have. */
export const analyzeProject = () => analyze(readSources(join(import.meta.dirname, '../src')), ORDER, ALLOWED);

function print({ places, upward, unlisted, fileCircles, folderCircles }) {
  for (const { name, files, lines } of places) {
    console.log(`${name.padEnd(24)} ${String(files).padStart(4)} files ${String(lines).padStart(6)} lines`);
  }
  const sum = (key) => places.reduce((total, place) => total + place[key], 0);
  console.log(
    `${'total'.padEnd(24)} ${String(sum('files')).padStart(4)} files ${String(sum('lines')).padStart(6)} lines`,
  );
  const complaints = [
    ['circles between files', fileCircles],
    ['circles between folders', folderCircles],
    ['imports of what comes later', upward],
    ['files in no folder of the order', unlisted],
  ];
  for (const [title, list] of complaints) console.log([`\n${title}: ${list.length}`, ...list].join('\n  '));
  return complaints.every(([, list]) => list.length === 0);
}

if (process.argv[1] === import.meta.filename) {
  const isInOrder = print(analyzeProject());
  if (process.argv.includes('--check') && !isInOrder) process.exitCode = 1;
}
