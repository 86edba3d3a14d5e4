// Shows what pagepipe does, on a real dump that comes with it. Run by `npm run demo`, after the build.
import { spawnSync } from 'node:child_process';
import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const root = join(import.meta.dirname, '..');
const dump = 'fixtures/family-criu-4.2.1';
const work = mkdtempSync(join(tmpdir(), 'pagepipe-demo-'));

try {
  demo();
} finally {
  rmSync(work, { recursive: true, force: true });
}

function demo() {
  say(
    '# A dump by CRIU 4.2.1 of three processes (and a zombie) that share a memory segment. A restore loads all of it',
  );
  say('# before the first instruction runs, although most pages could come later, on demand. We take those out');
  say('# ("pagepipe" means "node bin/pagepipe.js"):');
  const { stderr } = sh(`pagepipe make-lazy ${dump} $TMP/small`);
  const report = stderr.split('\n\n')[0].trimEnd().split('\n');
  const second = report.findIndex((line) => line.startsWith('pid 19'));
  const kinds = (line, i) => i > second && /^ +[a-z]/.test(line);
  say(report.filter((line, i) => !kinds(line, i)).join('\n'));
  say('(The kinds of memory of pid 19 and 20 are left out here. What is locked or belongs to a file must stay.)');

  say('\n# Only what a restore must have at once is left. The files that hold the pages, before and after:');
  const names = readdirSync(join(root, dump)).filter((name) => /^pages-\d+\.img$/.test(name));
  for (const name of names) {
    const [before, after] = [join(root, dump), join(work, 'small')].map((at) => lstatSync(join(at, name)).size);
    say(`  ${name}  ${String(before).padStart(7)} bytes  ${String(after).padStart(7)} bytes`);
    check(after <= before, `${name} grew`);
  }
  say('  (pages-1.img is the shared segment, which CRIU cannot restore lazily: nothing was taken.)');

  say('\n# make-lazy is a shortcut for five stages, which can also be five processes, on several machines:');
  sh(
    `pagepipe read ${dump} | pagepipe classify | pagepipe filter --drop lazy | pagepipe rebuild | pagepipe write $TMP/piped`,
  );
  const files = compare(join(work, 'small'), join(work, 'piped'));
  say(`= the same directory, byte for byte: ${files} files`);

  say('\n# With no stage in between, the dump comes out as it went in:');
  sh(`pagepipe read ${dump} | pagepipe write $TMP/copy`);
  say(`= the same as the dump, byte for byte: ${compare(join(root, dump), join(work, 'copy'))} files`);

  say('\n# To restore such a directory takes two commands, and never without --lazy-pages:');
  say('  criu lazy-pages -D DUMP -W SMALL &                      serves the pages that were taken out');
  say('  criu restore --lazy-pages -D SMALL -W SMALL -d          starts at once');
}

/** Shows a command line and runs it; ends the demo if it fails. */
function sh(line) {
  say(`$ ${line}`);
  const script = `set -o pipefail\npagepipe() { "$NODE" bin/pagepipe.js "$@"; }\n${line}`;
  const env = { ...process.env, NODE: process.execPath, TMP: work };
  const result = spawnSync('bash', ['-c', script], { cwd: root, env, encoding: 'utf8' });
  check(result.status === 0, `it failed: ${result.error?.message ?? result.stderr}`);
  return result;
}

/** Throws unless two directories hold the same files; returns how many. */
function compare(a, b) {
  const [left, right] = [a, b].map((path) => readdirSync(path).sort());
  check(left.join() === right.join(), `${a} and ${b} hold different files`);
  for (const name of left) {
    check(readFileSync(join(a, name)).equals(readFileSync(join(b, name))), `${name} differs in ${b}`);
  }
  return left.length;
}

function check(condition, complaint) {
  if (!condition) throw new Error(complaint);
}

function say(text) {
  console.log(text);
}
