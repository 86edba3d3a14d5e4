/** Names of a dump never command the terminal, and never look like a message of ours. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { oneLine, printable } from '../src/printable.js';
import { formatFinding } from '../src/verify/findings.js';
import { BIN, cli, runProcess } from './helpers/cli.js';
import { makePipe } from './helpers/pipe.js';
import { tempDir } from './helpers/temp.js';
import { copyOf } from './verify/harness.js';

const HOSTILE = 'a\x1b[31mX\npagepipe: error: b\u202ec\u009bd';
const ESCAPED = String.raw`a\u001b[31mX\u000apagepipe: error: b\u202ec\u009bd`;
const MOSAIC = 'mosaic-criu-4.2.1';

const hostileDump = () =>
  copyOf(MOSAIC).edit('core-15.img', (entries) => {
    entries[0].tc.comm = HOSTILE;
  });

describe('text for people', () => {
  it('has no control characters but tab and line feed', () => {
    const all = Array.from({ length: 0x2100 }, (_, code) => String.fromCharCode(code)).join('');
    const left = [...printable(all)].filter((character) => /[\p{Cc}\u2028\u2029]/u.test(character));
    expect(left).toEqual(['\t', '\n']);
    expect(JSON.parse(printable(JSON.stringify(all)))).toBe(all);
  });

  it.each([
    [HOSTILE, ESCAPED],
    ['a\tb\r', String.raw`a\u0009b\u000d`],
    ['\u2066x\u2069\u200f', String.raw`\u2066x\u2069\u200f`],
    // A byte that is not UTF-8, as names keep it; in a pair it is half of a character.
    ['\udc9b 😀', String.raw`\udc9b 😀`],
    ['ä €', 'ä €'],
  ])('is one line: %j', (text, expected) => {
    expect(oneLine(text)).toBe(expected);
  });
});

describe('a name with control characters', () => {
  it('is escaped in the table of make-lazy', async () => {
    const { stderr } = await cli(['make-lazy', hostileDump().path, 'out', '--dry-run']);
    expect(stderr.split('\n')[1]).toBe(`pid 15 ${ESCAPED}                17 pages   68 KiB  170 pages  680 KiB`);
    expect(stderr).not.toContain('\x1b');
  });

  it('is escaped in errors, warnings and findings', async () => {
    const dir = tempDir();
    const missing = await cli(['read', join(dir, HOSTILE)]);
    expect(missing.stderr).toBe(`pagepipe read: error: ${dir}/${ESCAPED}: no such file or directory (ENOENT)\n`);
    const { path } = copyOf(MOSAIC);
    makePipe(join(path, HOSTILE));
    const out = join(dir, 'out');
    expect((await cli(['copy', path, out])).stderr).toBe(
      `pagepipe: warning: ${ESCAPED}: left out, it is neither a file nor a link\n`,
    );
    const finding = { code: 'BAD_VALUE', severity: 'error', file: HOSTILE, message: HOSTILE } as const;
    expect(formatFinding(finding)).toBe(`${ESCAPED}: ${ESCAPED}`);
  });

  it('comes as it is from x, but not to a terminal', async () => {
    const { path } = hostileDump();
    const stdout = join(tempDir(), 'stdout');
    await cli(['x', path, 'ps'], { stdout });
    expect(readFileSync(stdout, 'utf8')).toContain(HOSTILE);
    await cli(['x', path, 'ps'], { stdout, stdoutIsTerminal: true });
    expect(readFileSync(stdout, 'utf8')).toBe(`    PID   PGID    SID   COMM\n     15     15     15   ${ESCAPED}\n`);
    await cli(['x', path, 'ps', '--json'], { stdout, stdoutIsTerminal: true });
    const text = readFileSync(stdout, 'utf8');
    expect(text).not.toContain('\u009b');
    expect(JSON.parse(text)[0].comm).toBe(HOSTILE);
  });

  it('is escaped on a real terminal', async () => {
    const { path } = hostileDump();
    const words = [process.execPath, BIN, 'x', path, 'ps'];
    const program = 'import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)';
    const { code, stdout } = await runProcess('python3', ['-c', program, ...words]);
    expect([code, stdout.includes(ESCAPED), stdout.includes('\x1b')]).toEqual([0, true, false]);
  });
});
