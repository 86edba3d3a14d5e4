#!/usr/bin/env node
// Starts the command. Its code is one file in dist/. V8's compiled form of what a command uses is kept between runs, because
// compiling takes most of the time of a short command. See ARCHITECTURE.md, "Start".
'use strict';
const fs = require('node:fs');
const { dirname, join } = require('node:path');
const v8 = require('node:v8');
const { Script } = require('node:vm');
const { crc32 } = require('node:zlib');
const bundles = require('./bundles.js');
// Node has a compiled form of each of its modules, which V8 takes only before a flag has been changed. So what every command
// needs is loaded first.
for (const name of ['events', 'os', 'stream', 'stream/promises', 'url', 'util']) require(`node:${name}`);

// Batches of records die as soon as they are written. A young generation of one MiB collects them while they are few,
// so that a process takes the same memory for a dump of 1 GiB and for one of 64 GiB. The many tokens of a piece of JSON
// live a little longer. Collecting them so early would take half of the time of encode.
const command = process.argv[2] ?? '';
if (command === 'encode') {
  v8.setFlagsFromString('--max-semi-space-size=4');
} else {
  v8.setFlagsFromString('--max-semi-space-size=1');
  v8.setFlagsFromString('--semi-space-growth-factor=1');
}
// So little is collected before helper threads have woken up.
v8.setFlagsFromString('--no-parallel-scavenge');
// V8 would optimize functions that a short command is just about to be done with. So it gets 15 times its usual patience
// until a command has turned out to be a longer one.
const atStart = () => v8.setFlagsFromString('--interrupt-budget=1000000');
const afterStart = () => v8.setFlagsFromString('--interrupt-budget=67584');
const START_MS = 300;
atStart();
setTimeout(afterStart, START_MS).unref();

const bundleName = Object.keys(bundles).find((name) => bundles[name].includes(command)) ?? 'pagepipe';
const bundle = join(__dirname, `../dist/${bundleName}.cjs`);
const code = readBundle();
const cacheFile = findCacheFile();
const cachedData = cacheFile && readCache(cacheFile);
const script = new Script(code, { filename: bundle, cachedData });
const module_ = { exports: {} };
script.runInThisContext()(module_.exports, require, module_, bundle, dirname(bundle));
module_.exports.runProcess().then(() => {
  if (cacheFile && (!cachedData || script.cachedDataRejected) && process.exitCode === 0) writeCache(cacheFile);
});
// Nothing is left to do. Node would now take its heap apart before it ends.
process.once('beforeExit', () => process.exit());

function readBundle() {
  try {
    // The build leaves ASCII only, which V8 keeps in one byte a character.
    return fs.readFileSync(bundle, 'latin1');
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    fs.writeSync(2, 'pagepipe: error: dist/ is missing\npagepipe: hint: npm ci && npm run build\n');
    process.exit(1);
  }
}

/**
 * Where the compiled form is kept: below XDG_CACHE_HOME or ~/.cache, in a folder for this bundle, this V8 and its flags, with
 * one file for each command. Undefined if that place is not ours: nobody else may supply code that is run.
 */
function findCacheFile() {
  const { HOME, XDG_CACHE_HOME, NODE_DISABLE_COMPILE_CACHE } = process.env;
  if (NODE_DISABLE_COMPILE_CACHE || !/^[a-z-]+$/.test(command)) return;
  const caches = XDG_CACHE_HOME || (HOME && join(HOME, '.cache'));
  if (!caches?.startsWith('/')) return;
  const { size, mtimeMs } = fs.statSync(bundle);
  const key = `${size}-${Math.round(mtimeMs)}-${v8.cachedDataVersionTag().toString(16)}`;
  return join(caches, 'pagepipe', key, command);
}

/**
 * The compiled form; undefined if there is none, or if somebody else could have written it. V8 trusts its input and crashes
 * on a damaged file, such as one that a full disk or a power cut has left. So the checksum is compared first.
 */
function readCache(file) {
  if (!isPrivate(dirname(dirname(file))) || !isPrivate(dirname(file))) return;
  let fd;
  try {
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    const { uid, mode } = fs.fstatSync(fd);
    if (uid !== process.geteuid() || (mode & 0o7777) !== 0o600) return;
    const bytes = fs.readFileSync(fd);
    const data = bytes.subarray(4);
    if (bytes.length > 4 && crc32(data) === bytes.readUInt32LE()) return data;
  } catch {
    // The command runs without it.
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** Whether a folder is ours, and closed to everybody else. */
function isPrivate(folder) {
  const stats = fs.lstatSync(folder, { throwIfNoEntry: false });
  return !!stats?.isDirectory() && stats.uid === process.geteuid() && (stats.mode & 0o7777) === 0o700;
}

/** Keeps the compiled form. A failure is not an error: the next run compiles again. */
function writeCache(file) {
  const folder = dirname(file);
  const ours = dirname(folder);
  const temporary = `${file}.${process.pid}`;
  try {
    fs.mkdirSync(dirname(ours), { recursive: true, mode: 0o700 });
    // Root must not leave files in the home of a user who called sudo.
    if (fs.statSync(dirname(ours)).uid !== process.geteuid()) return;
    for (const path of [ours, folder]) {
      if (!isPrivate(path)) fs.mkdirSync(path, { mode: 0o700 });
    }
    // V8 takes it only under the flags that it was made under.
    atStart();
    const data = script.createCachedData();
    const sum = Buffer.alloc(4);
    sum.writeUInt32LE(crc32(data));
    fs.writeFileSync(temporary, Buffer.concat([sum, data]), { flag: 'wx', mode: 0o600 });
    fs.renameSync(temporary, file);
    removeOld(ours);
  } catch {
    fs.rmSync(temporary, { force: true });
  }
}

/** Removes the files of versions that have not been run for a month. */
function removeOld(ours) {
  const month = 30 * 24 * 3600 * 1000;
  for (const name of fs.readdirSync(ours)) {
    if (Date.now() - fs.statSync(join(ours, name)).mtimeMs > month)
      fs.rmSync(join(ours, name), { recursive: true, force: true });
  }
}
