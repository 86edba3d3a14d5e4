// Plays criu for the tests of migrate: `dump` sends a dump by the peer, or copies it, runs the action script, and kills the process or lets it go
// on; `restore` starts another process. What it does differently is in config.json of its folder:
//
//   peer     the program that plays its side of the socket
//   images   the dump that it sends
//   dump     'fails' before it connects, 'lost' after the first file
//   pause    'before-script' or 'after-script': it says so in the pipe "at", and waits for the pipe "go"
//   end      'leaves' the process running though it succeeds, 'half' kills only the children and then itself, 'killed' kills itself
//   restore  'fails', or is 'killed' with its processes left behind
import { spawn, spawnSync } from 'node:child_process';
import { appendFileSync, cpSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

const [folder, verb, ...words] = process.argv.slice(2);
const config = JSON.parse(readFileSync(join(folder, 'config.json'), 'utf8'));
const option = (name) => words[words.indexOf(name) + 1];
const LAST = 'inventory.img';

appendFileSync(join(folder, 'calls'), `${[verb, ...words].join(' ')}\n`);
process.exit(await (verb === 'dump' ? dump() : restore()));

function failWith(message) {
  writeFileSync(
    option('-o'),
    `(00.01) Warn  (criu/a.c:1): a warning\n(00.02) Error (criu/b.c:2): ${message}\n(00.03) Error (criu/c.c:3): FAILED.\n`,
  );
  return 1;
}

async function dump() {
  if (config.dump === 'fails') return failWith('it cannot be seized');
  const pid = Number(option('-t'));
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean).map(Number);
  const tree = [pid, ...children];
  const signal = (name, pids) => {
    for (const one of pids) process.kill(one, name);
  };
  signal('SIGSTOP', tree);
  try {
    if (words.includes('--stream')) await send(join(option('-D'), 'streamer-capture.sock'));
    else cpSync(config.images, option('-D'), { recursive: true });
  } catch (error) {
    signal('SIGCONT', tree);
    return failWith(error.message);
  }
  pause('before-script');
  const env = { ...process.env, CRTOOLS_SCRIPT_ACTION: 'post-dump' };
  const script = spawnSync('sh', ['-c', option('--action-script')], { env, stdio: 'ignore' });
  pause('after-script');
  if (script.status !== 0 || config.end === 'leaves' || config.end === 'killed') signal('SIGCONT', tree);
  else if (config.end === 'half') signal('SIGKILL', children);
  else signal('SIGKILL', tree);
  if (config.end === 'half' || config.end === 'killed') process.kill(process.pid, 'SIGKILL');
  return script.status;
}

function pause(where) {
  if (config.pause !== where) return;
  writeFileSync(join(folder, 'at'), where);
  readFileSync(join(folder, 'go'));
}

/** The order of CRIU: pages come before what describes them, the inventory is last. */
async function send(socket) {
  const peer = spawn(config.peer, { stdio: ['pipe', 'pipe', 'inherit'] });
  const lines = createInterface({ input: peer.stdout })[Symbol.asyncIterator]();
  const does = async (...parts) => {
    peer.stdin.write(`${parts.join(' ')}\n`);
    const { value } = await lines.next();
    if (!/^ok\b/.test(value)) throw new Error(`${parts[0]}: ${value}`);
  };
  await does('connect', socket);
  const rank = (name) => (name === LAST ? 2 : /^pages/.test(name) ? 0 : 1);
  const names = readdirSync(config.images).sort((a, b) => rank(a) - rank(b));
  for (const name of names) {
    await does('open', name);
    await does('write', name, join(config.images, name));
    await does('close', name);
    if (config.dump === 'lost') throw new Error('lost');
  }
}

function restore() {
  if (config.restore === 'fails') return failWith('a file is missing');
  const child = spawn('sleep', ['600'], { stdio: 'ignore', detached: true });
  child.unref();
  writeFileSync(join(folder, 'restored'), String(child.pid));
  if (config.restore === 'killed') process.kill(process.pid, 'SIGKILL');
  return 0;
}
