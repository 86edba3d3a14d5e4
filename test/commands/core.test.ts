/** `pagepipe core`: from every container, into a file, a directory or stdout, and what it refuses. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  chmodSync,
  closeSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { pagesOfProcess } from '../../src/core-dump/wanted-pages.js';
import { writeCore, writeCores } from '../../src/library/core.js';
import { ElfReader } from '../core-dump/elf-reader.js';
import { coreMessage } from '../core-dump/registers.js';
import { FIELD, file, image, mm, regularFile, TYPE } from '../explore/images.js';
import { BIN, cli } from '../helpers/cli.js';
import { directory, sourceFiles } from '../helpers/dump-files.js';
import { MAP, STATUS, writeDump } from '../helpers/dump-writer.js';
import { expectError } from '../helpers/expect-error.js';
import { faults } from '../helpers/faults.js';
import { expectFits } from '../helpers/json-schema.js';
import { copyFixture, dumpAndOut, fixture, openFiles, tempDir } from '../helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');

async function runs(words: string[], options = {}): Promise<{ stdout: string; stderr: string }> {
  const { code, stdout, stderr } = await cli(['core', ...words], options);
  expect(code, stderr).toBe(0);
  return { stdout, stderr };
}

async function refuses(words: string[], error: string | RegExp, hint?: string, options = {}): Promise<void> {
  expectError(await cli(['core', ...words], options), error, hint);
}

/** Of process 15 of the family. */
async function familyCore(): Promise<Buffer> {
  const core = join(tempDir(), 'core');
  await runs([FAMILY, '--pid', '15', '-o', core]);
  return readFileSync(core);
}

describe('a core', () => {
  it('is a private file, and the report says what is in it', async () => {
    const out = join(tempDir(), 'core.15');
    const { stdout, stderr } = await runs([FAMILY, '--pid', '15', '-o', out]);
    expect([stdout, stderr]).toEqual(['', 'pagepipe: process 15 (x86-64): 3 threads, 824 KiB\n']);
    expect(statSync(out).mode & 0o777).toBe(0o600);
    expect(new ElfReader(readFileSync(out)).notes).toHaveLength(15);
    const json = JSON.parse((await runs([FAMILY, '--pid', '15', '-o', out, '--force', '--json'])).stdout);
    expectFits('core', json);
    const [core] = json.cores;
    expect(core).toMatchObject({ pid: 15, machine: 'x86-64', threads: 3, bytes: statSync(out).size, missing: 0 });
  });

  it('is the same from every container, and on stdout', async () => {
    const expected = await familyCore();
    const dir = tempDir();
    const tar = join(dir, 'dump.tar');
    for (const [place, ...options] of [[tar], [join(dir, 'dump.tar.gz')], [join(dir, 'a,b'), '--to', 'shards']] as [
      string,
      ...string[],
    ][]) {
      const source = place.replace(',', `,${dir}/`);
      expect((await cli(['copy', FAMILY, source, ...options])).code).toBe(0);
      const out = join(dir, `core-${place.length}`);
      await runs([source, ...(options.length > 0 ? ['--from', 'shards'] : []), '--pid', '15', '-o', out]);
      expect(readFileSync(out).equals(expected)).toBe(true);
    }
    const stdout = join(dir, 'stdout');
    const { stderr } = await runs(['-', '--pid', '15', '--json'], { stdin: tar, stdout });
    expect(readFileSync(stdout).equals(expected)).toBe(true);
    expectFits('core', JSON.parse(stderr));
  });

  it('needs no pages of other processes while the dump arrives', async () => {
    const archive = join(tempDir(), 'dump.tar.gz');
    expect((await cli(['copy', FAMILY, archive])).code).toBe(0);
    const files = await sourceFiles(archive, { pages: pagesOfProcess(15) });
    await writeCore(files, 15, join(tempDir(), 'core'));
    const other = writeCore(files, 19, join(tempDir(), 'core'));
    await expect(other).rejects.toThrow('this part of the file was not held');
  });

  it('is there for each process but zombies, by --all', async () => {
    const out = join(tempDir(), 'cores');
    const { stderr } = await runs([FAMILY, '--all', '-o', out]);
    expect(readdirSync(out)).toEqual(['core.15', 'core.19', 'core.20']);
    expect(stderr.split('\n')).toHaveLength(4);
    expect(readFileSync(join(out, 'core.15')).equals(await familyCore())).toBe(true);
    expect([statSync(out).mode & 0o777, statSync(join(out, 'core.15')).mode & 0o777]).toEqual([0o700, 0o600]);
    await refuses(
      [FAMILY, '--all', '-o', out],
      `${out}: expected a new or empty directory, found files in it`,
      'use --force to replace it',
    );
    await runs([FAMILY, '--all', '-o', out, '--force']);
    writeFileSync(join(out, 'notes.txt'), '');
    await refuses(
      [FAMILY, '--all', '-o', out, '--force'],
      `${out}: expected cores to replace, found notes.txt in it`,
      '--force replaces nothing but cores: remove it yourself if nothing of it is needed',
    );
  });

  it('needs no --pid for a dump of one process', async () => {
    const out = join(tempDir(), 'core');
    const { stderr } = await runs([fixture('mosaic-criu-4.2.1'), '-o', out]);
    expect(stderr).toMatch(/^pagepipe: process \d+ \(x86-64\): 3 threads/);
  });

  it('goes into a stream of a program', async () => {
    const stream = new PassThrough();
    const pieces: Buffer[] = [];
    stream.on('data', (piece: Buffer) => pieces.push(piece));
    const report = await writeCore(directory(FAMILY), 15, stream);
    expect(report).toMatchObject({ pid: 15, threads: 3 });
    expect(Buffer.concat(pieces).equals(await familyCore())).toBe(true);
  });

  it('has the notes that readelf finds', async () => {
    const out = join(tempDir(), 'core');
    await runs([FAMILY, '--pid', '15', '-o', out]);
    let found: string;
    try {
      found = execFileSync('readelf', ['-nlW', out], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
    } catch (error) {
      // Binutils are not everywhere.
      expect((error as NodeJS.ErrnoException).code).toBe('ENOENT');
      return;
    }
    for (const type of ['PRPSINFO', 'PRSTATUS', 'FPREGSET', 'SIGINFO', 'X86_XSTATE', 'AUXV', 'FILE']) {
      expect(found).toContain(`NT_${type}`);
    }
    expect(found.match(/^ {2}LOAD /gm)).toHaveLength(98);
  });
});

describe('what is refused', () => {
  it('a command line that makes no sense', async () => {
    const usage = async (words: string[], message: string, options = {}) => {
      const { code, stderr } = await cli(['core', ...words], options);
      expect([code, stderr.split('\n')[0]]).toEqual([2, `pagepipe: ${message}`]);
    };
    await usage([], 'expected DUMP, found nothing');
    await usage([FAMILY], '--pid: expected one of the 3 processes of the dump, or --all -o DIR');
    await usage(
      [FAMILY, '--pid', '15', '--pid', '19'],
      '--pid: expected one process, found several; --all is for all of them',
    );
    await usage([FAMILY, '--all', '--pid', '15', '-o', 'x'], '--all and --pid: expected one of them, found both');
    await usage([FAMILY, '--all'], '--all: expected a directory for the cores, as -o DIR');
    await usage([FAMILY, '--pid', '15', '--root', '/'], '--root is for --files');
    await usage([FAMILY, '--pid', '15'], 'refusing to write binary data to a terminal; pipe it, or send it to a file', {
      stdoutIsTerminal: true,
    });
  });

  it('a process that is not there, and a zombie', async () => {
    const out = join(tempDir(), 'core');
    await refuses(
      [FAMILY, '--pid', '16', '-o', out],
      'pstree.img: no process has the id 16',
      'pagepipe x DUMP ps lists the processes; ids are those inside their pid namespace',
    );
    await refuses(
      [FAMILY, '--pid', '21', '-o', out],
      'core-21.img: process 21 is a zombie, which has no memory and no registers',
    );
    expect(existsSync(out)).toBe(false);
  });

  it('a dump whose lazy pages are elsewhere, unless --incomplete is given', async () => {
    const dir = tempDir();
    const [small, out] = [join(dir, 'small'), join(dir, 'core')];
    expect((await cli(['make-lazy', FAMILY, small])).code).toBe(0);
    await refuses(
      [small, '--pid', '15', '-o', out],
      '168 pages of process 15 are not in the dump',
      'of a lazy dump take the one that it was made from; --incomplete makes a core without these pages',
    );
    expect(existsSync(out)).toBe(false);
    const { stderr } = await runs([small, '--pid', '15', '-o', out, '--incomplete']);
    expect(stderr).toContain('warning: process 15: 168 pages are not in the dump, so a debugger cannot read them\n');
  });

  it('a partial dump, unless --incomplete is given', async () => {
    const dir = tempDir();
    const [stream, partial, out] = [join(dir, 'stream'), join(dir, 'partial'), join(dir, 'core')];
    const filter = ['run', 'classify | filter --drop eager --kind file-private | rebuild'];
    expect((await cli(['read', FAMILY], { stdout: stream })).code).toBe(0);
    expect((await cli(filter, { stdin: stream, stdout: `${stream}2` })).code).toBe(0);
    expect((await cli(['write', partial], { stdin: `${stream}2` })).code).toBe(0);
    await refuses(
      [partial, '--pid', '15', '-o', out],
      'pagepipe-partial.json: pages were taken out of this dump that no lazy restore can fetch',
      '--incomplete accepts such a dump',
    );
    expect((await runs([partial, '--pid', '15', '-o', out, '--incomplete'])).stderr).toContain(
      'warning: pages were taken out',
    );
  });

  it('an output that exists, or is part of the dump', async () => {
    const { dump, out } = dumpAndOut('family-criu-4.2.1');
    writeFileSync(out, 'mine');
    chmodSync(out, 0o640);
    await refuses(
      [dump, '--pid', '15', '-o', out],
      `${out}: expected a new file, found a file`,
      'use --force to replace it',
    );
    expect(readFileSync(out, 'utf8')).toBe('mine');
    await runs([dump, '--pid', '15', '-o', out, '--force']);
    expect(new ElfReader(readFileSync(out)).machine).toBe(62);
    const inside = join(dump, 'core');
    await refuses(
      [dump, '--pid', '15', '-o', inside],
      `${inside}: the output must be outside of what is read: ${dump}`,
    );
    const hard = `${out}-hard`;
    linkSync(join(dump, 'pages-1.img'), hard);
    const link = `${out}-link`;
    symlinkSync(join(dump, 'pages-1.img'), link);
    await refuses(
      [dump, '--pid', '15', '-o', link, '--force'],
      `${link}: the output must be outside of what is read: ${dump}`,
    );
    const cores = join(dump, 'cores');
    await refuses([dump, '--all', '-o', cores], `${cores}: the output must be outside of what is read: ${dump}`);
  });

  it('pages that cannot be read, and nothing of the core is left', async () => {
    const dir = tempDir();
    const dump = copyFixture('family-criu-4.2.1', dir);
    truncateSync(join(dump, 'pages-1.img'), 40_960);
    const before = readdirSync(dir);
    for (const words of [
      ['--pid', '15', '-o', join(dir, 'core')],
      ['--all', '-o', join(dir, 'cores')],
    ]) {
      await refuses(
        [dump, ...words],
        'pages-1.img@0xa000: expected at least 65536 bytes of pages by entry 0 of pagemap-shmem-1188.img, found 40960',
      );
      expect(readdirSync(dir)).toEqual(before);
    }
    expect(openFiles(dir)).toEqual([]);
  });

  it('a full disk behind stdout', () => {
    const full = openSync('/dev/full', 'w');
    const words = [BIN, 'core', FAMILY, '--pid', '15'];
    const { stderr } = spawnSync(process.execPath, words, { stdio: ['ignore', full, 'pipe'], encoding: 'utf8' });
    closeSync(full);
    expect(stderr).toBe('pagepipe: error: stdout: no space left on device (ENOSPC)\n');
  });

  it('an output that fails, and nothing of it is left', async () => {
    const dir = tempDir();
    for (const call of ['writeSync', 'fsyncSync', 'fchmodSync', 'renameSync'] as const) {
      faults.fail(call, 1, 'ENOSPC');
      const outcome = await cli(['core', FAMILY, '--pid', '15', '-o', join(dir, 'core')]);
      expectError(outcome, `${join(dir, 'core')}: no space left on device (ENOSPC)`, undefined, 75);
      faults.fail(call, 1, 'ENOSPC');
      await expect(writeCores(directory(FAMILY), join(dir, 'cores')), call).rejects.toThrow(/ENOSPC/);
      expect(readdirSync(dir)).toEqual([]);
    }
    expect(openFiles(dir)).toEqual([]);
  });

  it('goes on no longer when it is interrupted', async () => {
    const dir = tempDir();
    const stop = new AbortController();
    const progress = () => stop.abort(new Error('enough'));
    const options = { signal: stop.signal, progress };
    await expect(writeCore(directory(FAMILY), 15, join(dir, 'core'), options)).rejects.toThrow('enough');
    await expect(writeCores(directory(FAMILY), join(dir, 'cores'), options)).rejects.toThrow('enough');
    expect(readdirSync(dir)).toEqual([]);
  });
});

describe('--files', () => {
  const TEXT = Buffer.alloc(3 * 4096 - 100, 'text of the program ');

  /** A process that maps five pages of a program, of which the dump has the second. */
  function mapping(dir: string, name: string, { size = TEXT.length, start = 0n } = {}): string {
    const dump = join(dir, 'dump');
    writeDump(dump, { tasks: [{ pid: 7, entries: [{ vaddr: 0x41000n, pages: 1 }] }] });
    const area = { start: 0x40000n, end: 0x45000n, prot: 5, pgoff: start, shmid: 4n };
    const areas = mm(1, [{ ...area, flags: MAP.PRIVATE, status: STATUS.REGULAR | STATUS.FILE_PRIVATE }]);
    const files = image('FILES', [file(TYPE.REG, 4, FIELD.reg, regularFile(4, name).int(8, size))]);
    const images = {
      'mm-7.img': image('MM', [areas]),
      'files.img': files,
      'core-7.img': image('CORE', [coreMessage()]),
    };
    for (const [image, bytes] of Object.entries(images)) writeFileSync(join(dump, image), bytes);
    return dump;
  }

  function rootWith(dir: string): string {
    mkdirSync(join(dir, 'root/bin'), { recursive: true });
    writeFileSync(join(dir, 'root/bin/app'), TEXT);
    return join(dir, 'root');
  }

  it('puts the pages of mapped files into the core, to their end', async () => {
    const dir = tempDir();
    const root = rootWith(dir);
    for (const start of [0n, 4096n]) {
      const out = join(dir, 'core');
      await runs([mapping(dir, '/bin/app', { start }), '--files', '--root', root, '--force', '-o', out]);
      const elf = new ElfReader(readFileSync(out));
      const text = Buffer.concat([TEXT, Buffer.alloc(100)]).subarray(Number(start));
      expect(elf.at(0x40000n, 4096)?.equals(text.subarray(0, 4096))).toBe(true);
      expect(elf.at(0x41000n, 4096)?.equals(text.subarray(4096, 8192))).toBe(false);
      const tail = text.length - 8192;
      if (tail > 0) expect(elf.at(0x42000n, tail)?.equals(text.subarray(8192))).toBe(true);
      const stored = elf.segments.filter(({ fileBytes }) => fileBytes > 0);
      expect(stored.reduce((sum, { fileBytes }) => sum + fileBytes, 0)).toBe(start === 0n ? 12288 : 8192);
    }
  });

  it.each([
    { what: 'is not there', name: '/bin/other', reason: 'it is not here' },
    { what: 'is a folder', name: '/bin', reason: 'it is no regular file' },
    { what: 'has another size', name: '/bin/app', size: 5, reason: 'it is not the file that was dumped' },
  ])('leaves out a file that $what', async ({ name, size, reason }) => {
    const dir = tempDir();
    const dump = mapping(dir, name, size === undefined ? {} : { size });
    const { stderr } = await runs([dump, '--files', '--root', rootWith(dir), '-o', join(dir, 'core')]);
    expect(stderr).toContain(`pagepipe: warning: ${name}: left out, ${reason}\n`);
    expect(new ElfReader(readFileSync(join(dir, 'core'))).segments).toHaveLength(3);
  });

  it('stays below the root, and never writes over a mapped file', async () => {
    const dir = tempDir();
    const root = rootWith(dir);
    const out = join(dir, 'core');
    writeFileSync(join(dir, 'secret'), TEXT);
    const outside = await runs([mapping(dir, '/../secret'), '--files', '--root', root, '-o', out]);
    expect(outside.stderr).toContain('/../secret: left out, it is not here');
    symlinkSync(join(dir, 'secret'), join(root, 'bin/link'));
    const linked = await runs([mapping(dir, '/bin/link'), '--files', '--root', root, '-o', out, '--force']);
    expect(linked.stderr).toContain('/bin/link: left out, it is not here');
    const app = join(root, 'bin/app');
    await refuses(
      [mapping(dir, '/bin/app'), '--files', '--root', root, '-o', app, '--force'],
      `${app}: the output must be outside of what is read: ${app}`,
    );
    expect(readFileSync(app).equals(TEXT)).toBe(true);
  });
});
