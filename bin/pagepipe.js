#!/usr/bin/env node
// Starts the command. Its code is one file in dist/. V8's compiled form of what a command uses is kept between runs, because
// compiling takes most of the time of a short command. See ARCHITECTURE.md, "Start".
'use strict';
const fs = require('node:fs');
const { dirname, join } = require('node:path');
const v8 = require('node:v8');
const { Script } = require('node:vm');
const { crc32 } = require('node:zlib');
/**
 * The commands of each bundle. A process reads all of its bundle when it starts, so commands that often run for a moment share
 * small ones. Any other command is in dist/pagepipe.cjs, which has all of them. scripts/build.mjs reads this table, too.
 */
const bundles = JSON.parse(fs.readFileSync(join(__dirname, 'bundles.json'), 'utf8'));
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

/** A folder of compiled code whose time is older gets a new time when it is used. */
const HOUR_MS = 3600 * 1000;
const RECENT_MS = 2 * HOUR_MS;
/** Two versions have no more: one for each bundle. */
const KEPT_FOLDERS = 2 * (Object.keys(bundles).length + 1);

const bundleName = Object.keys(bundles).find((name) => bundles[name].includes(command)) ?? 'pagepipe';
const bundle = join(__dirname, `../dist/${bundleName}.cjs`);
/** For the bundle and then for its compiled form: to touch new memory is most of what reading takes. Larger than either. */
let buffer = Buffer.allocUnsafeSlow(4 * 1024 * 1024);
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
  let fd;
  try {
    // The build leaves ASCII only, which V8 keeps in one byte a character.
    fd = fs.openSync(bundle);
    return readAll(fd, fs.fstatSync(fd).size).latin1Slice();
  } catch (error) {
    if (error.code !== 'ENOENT') throw error;
    fs.writeSync(2, 'pagepipe: error: dist/ is missing\npagepipe: hint: npm ci && npm run build\n');
    process.exit(1);
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** A file of this size, in the buffer. */
function readAll(fd, size) {
  if (size > buffer.length) buffer = Buffer.allocUnsafeSlow(size);
  let read = 0;
  while (read < size) {
    const bytes = fs.readSync(fd, buffer, read, size - read);
    if (bytes === 0) break;
    read += bytes;
  }
  return buffer.subarray(0, read);
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
  // A bundle begins with a hash of itself in a comment. V8 compares no more than the length of the code.
  const hash = /^\/\*([0-9a-f]+)/.exec(code)?.[1];
  // The help uses little of the code of a command: its compiled form is of no use to the command.
  const isHelp = process.argv.includes('--help', 3) || process.argv.includes('-h', 3);
  const name = isHelp ? `${command}--help` : command;
  return hash && join(caches, 'pagepipe', `${hash}-${v8.cachedDataVersionTag().toString(16)}`, name);
}

/**
 * The compiled form; undefined if there is none, or if somebody else could have written it. V8 trusts its input and crashes
 * on a damaged file, such as one that a full disk or a power cut has left. So the checksum is compared first.
 */
function readCache(file) {
  const folder = dirname(file);
  let fd;
  try {
    // A home that is not ours may be closed to us: HOME is often still that of another user.
    const stats = privateFolder(dirname(folder)) && privateFolder(folder);
    if (!stats) return;
    fd = fs.openSync(file, fs.constants.O_RDONLY | fs.constants.O_NOFOLLOW);
    const { uid, mode, size } = fs.fstatSync(fd);
    if (uid !== process.geteuid() || (mode & 0o7777) !== 0o600) return;
    const bytes = readAll(fd, size);
    // V8 copies data that is not aligned, so the checksum comes after it.
    const data = bytes.subarray(0, -4);
    if (bytes.length <= 4 || crc32(data) !== bytes.readUInt32LE(data.length)) return;
    // Its time tells removeUnused that it is in use.
    if (Date.now() - stats.mtimeMs > HOUR_MS) fs.utimesSync(folder, new Date(), new Date());
    return data;
  } catch {
    // The command runs without it.
  } finally {
    if (fd !== undefined) fs.closeSync(fd);
  }
}

/** The status of a folder that is ours and closed to everybody else; otherwise undefined. */
function privateFolder(folder) {
  const stats = fs.lstatSync(folder, { throwIfNoEntry: false });
  if (stats?.isDirectory() && stats.uid === process.geteuid() && (stats.mode & 0o7777) === 0o700) return stats;
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
    const isNew = !privateFolder(folder);
    for (const path of [ours, folder]) {
      if (!privateFolder(path)) fs.mkdirSync(path, { mode: 0o700 });
    }
    // V8 takes it only under the flags that it was made under.
    atStart();
    const data = script.createCachedData();
    const sum = Buffer.alloc(4);
    sum.writeUInt32LE(crc32(data));
    fs.writeFileSync(temporary, Buffer.concat([data, sum]), { flag: 'wx', mode: 0o600 });
    fs.renameSync(temporary, file);
    if (isNew) removeUnused(ours);
  } catch {
    try {
      fs.rmSync(temporary, { force: true });
    } catch {
      // The folder is closed to us, so nothing was written.
    }
  }
}

/**
 * Every version leaves a folder for each of its bundles. Those used last are kept, and those that were used recently: several
 * versions may be in use, one of which may just write there.
 */
function removeUnused(ours) {
  const folders = fs.readdirSync(ours).map((name) => join(ours, name));
  const timeOf = new Map(folders.map((path) => [path, fs.lstatSync(path).mtimeMs]));
  folders.sort((a, b) => timeOf.get(b) - timeOf.get(a));
  for (const path of folders.slice(KEPT_FOLDERS)) {
    if (Date.now() - timeOf.get(path) > RECENT_MS) fs.rmSync(path, { recursive: true, force: true });
  }
}
