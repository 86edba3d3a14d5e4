/** The command line as a process: terminals, full disks, readers that leave, signals. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  watch,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, type TestContext } from 'vitest';
import { BIN, cli, runProcess } from './helpers/cli.js';
import { FILE, writeDump } from './helpers/dump-writer.js';
import { makePipe } from './helpers/pipe.js';
import { fixture, tempDir } from './helpers/temp.js';

/** Says why a test cannot run here, where everybody sees it. */
function skip(context: TestContext, reason: string): never {
  console.warn(`skipped: ${context.task.name}: ${reason}`);
  context.skip(reason);
}

const NO_SPACE = 'no space left on device (ENOSPC)';

describe('terminals, full disks and readers that leave', () => {
  const DUMP = fixture('mosaic-criu-4.2.1');
  const env = { ...process.env, NODE: process.execPath, BIN, DUMP };

  it.each([['read', DUMP], ['classify'], ['filter', '--drop', 'all'], ['rebuild'], ['run', 'classify']])(
    '%s writes no binary data to a terminal',
    async (...words) => {
      const out = join(tempDir(), 'stdout');
      const { code, stderr } = await cli(words, { stdoutIsTerminal: true, stdout: out });
      expect(stderr).toBe(
        `pagepipe ${words[0]}: refusing to write binary data to a terminal; pipe it, or send it to a file\n` +
          `pagepipe ${words[0]}: hint: pagepipe ${words[0]} --help\n`,
      );
      expect(code).toBe(2);
      expect(readFileSync(out)).toHaveLength(0);
    },
  );

  it.each([['write', 'OUT'], ['classify'], ['filter', '--drop', 'all'], ['rebuild'], ['run', 'classify']])(
    '%s reads no stream from a terminal',
    async (...words) => {
      const root = tempDir();
      const { code, stderr } = await cli(
        words.map((word) => (word === 'OUT' ? join(root, 'out') : word)),
        { stdinIsTerminal: true },
      );
      expect(stderr).toBe(
        `pagepipe ${words[0]}: stdin is a terminal; pipe a page stream into it, such as that of pagepipe read DUMP\n` +
          `pagepipe ${words[0]}: hint: pagepipe ${words[0]} --help\n`,
      );
      expect(code).toBe(2);
      expect(readdirSync(root)).toEqual([]);
    },
  );

  it('a real terminal', async (context) => {
    const probe = await runProcess('script', ['-qec', 'true', '/dev/null']).catch(() => undefined);
    if (probe?.code !== 0) skip(context, 'there is no script(1) to make a terminal');
    const { code, stdout } = await runProcess('script', ['-qec', '"$NODE" "$BIN" read "$DUMP"', '/dev/null'], { env });
    expect(stdout.replaceAll('\r', '')).toBe(
      'pagepipe read: refusing to write binary data to a terminal; pipe it, or send it to a file\n' +
        'pagepipe read: hint: pagepipe read --help\n',
    );
    expect(code).toBe(2);
  });

  it.each([
    ['read', '"$NODE" "$BIN" read "$DUMP"', '0 0\n'],
    ['a stage', '"$NODE" "$BIN" read "$DUMP" | "$NODE" "$BIN" classify', '0 0 0\n'],
    ['help', '"$NODE" "$BIN" --help', '0 0\n'],
  ])('%s does not mind that its reader leaves early', async (_, command, codes) => {
    const { stdout, stderr } = await runProcess(
      'bash',
      ['-c', `${command} | head -c 1 >/dev/null; echo "\${PIPESTATUS[*]}"`],
      { env },
    );
    expect({ stdout, stderr }).toEqual({ stdout: codes, stderr: '' });
  });

  it.each([
    ['read', `pagepipe read: error: stdout: ${NO_SPACE}\n`, '"$NODE" "$BIN" read "$DUMP"'],
    [
      'a stage',
      `pagepipe classify: error: stdout: ${NO_SPACE}\n`,
      '"$NODE" "$BIN" read "$DUMP" | "$NODE" "$BIN" classify',
    ],
    [
      'a report',
      `{"severity":"error","code":"SYSTEM","file":"stdout","message":"${NO_SPACE}","temporary":true}\n`,
      '"$NODE" "$BIN" make-lazy "$DUMP" "$OUT" --dry-run --json',
    ],
  ])('%s fails where its output does not fit', async (_, error, command) => {
    const out = join(tempDir(), 'out');
    const outcome = await runProcess('bash', ['-c', `${command} >/dev/full`], { env: { ...env, OUT: out } });
    expect([outcome.code, outcome.stderr]).toEqual([75, error]);
  });

  it.each([
    ['write', '"$NODE" "$BIN" write "$OUT" <&-'],
    ['classify', '"$NODE" "$BIN" classify <&-'],
  ])('%s fails where its stream is closed from the start', async (name, command) => {
    const out = join(tempDir(), 'out');
    const { code, stderr } = await runProcess('bash', ['-c', command], { env: { ...env, OUT: out } });
    expect([code, stderr]).toEqual([1, `pagepipe ${name}: error: stdin: it is empty; expected a page stream\n`]);
    expect(existsSync(out)).toBe(false);
  });
});

describe('a signal', () => {
  /** Large enough that nobody writes it before a signal arrives; nothing of it is on the disk. */
  function largeDump(root: string): string {
    const pages = (512 * 1024 * 1024) / 4096;
    const end = 0x10000n + BigInt(pages) * 4096n;
    writeDump(join(root, 'dump'), {
      tasks: [{ pid: 7, vmas: [{ start: 0x10000n, end, ...FILE }], entries: [{ vaddr: 0x10000n, pages }] }],
      sparse: true,
    });
    return join(root, 'dump');
  }

  /** Starts a process, and sends it a signal when it has begun to write beside OUT. */
  async function signalled(words: string[], stdin: 'ignore' | number, box: string, signal: NodeJS.Signals) {
    const watcher = watch(box);
    const begun = once(watcher, 'change');
    const child = spawn(process.execPath, [BIN, ...words], { stdio: [stdin, 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      stderr += text;
    });
    const closed = once(child, 'close');
    try {
      await Promise.race([begun, closed]);
    } finally {
      watcher.close();
    }
    child.kill(signal);
    const [code, by] = await closed;
    return { code, by, stderr };
  }

  it('SIGKILL leaves no OUT', async () => {
    const root = tempDir();
    const box = join(root, 'box');
    mkdirSync(box);
    const outcome = await signalled(['make-lazy', largeDump(root), join(box, 'out')], 'ignore', box, 'SIGKILL');
    expect(outcome).toMatchObject({ by: 'SIGKILL', stderr: '' });
    const left = readdirSync(box);
    expect(left).toEqual([expect.stringMatching(/^\.out\.pagepipe-\d+-[0-9a-f]{8}$/)]);
    // What is left is in nobody's way.
    rmSync(join(root, 'dump'), { recursive: true });
    writeDump(join(root, 'dump'), { tasks: [{ pid: 7 }] });
    expect((await cli(['make-lazy', join(root, 'dump'), join(box, 'out')])).code).toBe(0);
    expect(readdirSync(box).sort()).toEqual([...left, 'out']);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
    ['SIGHUP', 129],
  ] as const)('%s ends make-lazy with %i, and nothing is left', async (signal, exitCode) => {
    const root = tempDir();
    const box = join(root, 'box');
    mkdirSync(box);
    const dump = largeDump(root);
    const outcome = await signalled(['make-lazy', dump, join(box, 'out')], 'ignore', box, signal);
    expect(outcome).toEqual({ code: exitCode, by: null, stderr: '' });
    expect(readdirSync(box)).toEqual([]);
  });

  it.each([
    ['SIGINT', 130],
    ['SIGTERM', 143],
  ] as const)('%s ends write, which waits for its stdin, with %i', async (signal, exitCode) => {
    const root = tempDir();
    const box = join(root, 'box');
    const fifo = join(root, 'fifo');
    mkdirSync(box);
    makePipe(fifo);
    const fd = openSync(fifo, 'r+');
    try {
      writeSync(fd, 'PAGEPIPE\x02\0\0\0');
      const outcome = await signalled(['write', join(box, 'out')], fd, box, signal);
      expect(outcome).toEqual({ code: exitCode, by: null, stderr: '' });
    } finally {
      closeSync(fd);
    }
    expect(readdirSync(box)).toEqual([]);
  });

  it('ends what has nothing to clean up as signals do', async () => {
    const root = tempDir();
    const fifo = join(root, 'fifo');
    makePipe(fifo);
    const fd = openSync(fifo, 'r+');
    const child = spawn(process.execPath, [BIN, 'read', fixture('mosaic-criu-4.2.1')], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      // It has begun, and waits for its reader.
      await once(child.stdout as NodeJS.ReadableStream, 'readable');
      child.kill('SIGINT');
      expect(await once(child, 'exit')).toEqual([null, 'SIGINT']);
    } finally {
      closeSync(fd);
    }
  });
});
