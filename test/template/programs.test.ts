/** Which programs keep their memory: those that may count on zeros. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readElf } from '../../src/template/elf.js';
import type { KnownFile } from '../../src/template/images.js';
import { programCheck } from '../../src/template/programs.js';
import { tempDir } from '../helpers/temp.js';

const known = (name: string, root = ''): KnownFile => ({ name, size: statSync(root + name).size, buildId: undefined });

/** The C library of this machine, as Node has it mapped. */
const LIBRARY = (process.report.getReport() as { sharedObjects: string[] }).sharedObjects.find((path) =>
  /\/(libc\.so\.6|ld-musl-.*|libc\.musl-.*)$/.test(path),
) as string;

const hasCompiler = spawnSync('gcc', ['--version']).status === 0;

/** Compiles a program for the root folder of a task. */
function compile(root: string, name: string, source: string, ...options: string[]): string {
  const path = join(root, name);
  mkdirSync(dirname(path), { recursive: true });
  const { stderr, status } = spawnSync('gcc', ['-x', 'c', '-', '-o', path, ...options], { input: source });
  expect(status, stderr?.toString()).toBe(0);
  return name;
}

function rootWithLibrary(): string {
  const root = tempDir();
  mkdirSync(join(root, dirname(LIBRARY)), { recursive: true });
  copyFileSync(LIBRARY, join(root, LIBRARY));
  return root;
}

const PLAIN = 'int main(void) { return 0; }';
const GIVES_BACK = '#include <sys/mman.h>\nint main(void) { return madvise(0, 0, MADV_DONTNEED); }';
const GROWS = '#define _GNU_SOURCE\n#include <sys/mman.h>\nint main(void) { return mremap(0, 0, 0, 0) != 0; }';
const ALLOCATES = 'void *mallocx(unsigned long n, int f) { return 0; }\nint main(void) { return mallocx(1, 0) != 0; }';

describe.runIf(hasCompiler)('a program', () => {
  it.each([
    ['that leaves memory to the C library is mapped', PLAIN, [], undefined],
    ['that takes madvise keeps its memory', GIVES_BACK, [], '/app/it uses madvise, and may count on zeros'],
    ['that takes mremap keeps its memory', GROWS, [], '/app/it uses mremap, and may count on zeros'],
    [
      'with an allocator keeps its memory',
      ALLOCATES,
      ['-rdynamic'],
      '/app/it has an allocator of its own, which may count on zeros',
    ],
    [
      'that is static keeps its memory',
      PLAIN,
      ['-static', '-nostartfiles', '-nodefaultlibs', '-Wl,-e,main'],
      '/app/it is linked statically, and may count on zeros',
    ],
  ] as const)('%s', (_, source, options, why) => {
    const root = rootWithLibrary();
    compile(root, '/app/it', source, ...options);
    expect(programCheck(root)([known('/app/it', root), known(LIBRARY, root)])).toBe(why);
  });

  it.runIf(process.arch === 'x64')('that makes the call on its own keeps its memory', () => {
    const root = rootWithLibrary();
    compile(root, '/app/it', 'int main(void) { __asm__("mov $28, %eax\\n\\tsyscall"); return 0; }');
    expect(programCheck(root)([known('/app/it', root), known(LIBRARY, root)])).toBe(
      '/app/it uses madvise or mremap, and may count on zeros',
    );
  });

  it('of another build keeps its memory', () => {
    const root = rootWithLibrary();
    compile(root, '/app/it', PLAIN, '-Wl,--build-id=0x0123456789abcdef');
    const file = known('/app/it', root);
    expect(readElf(join(root, '/app/it'), [])?.buildId).toBe('0123456789abcdef');
    const check = programCheck(root);
    expect(check([{ ...file, buildId: '0123456789abcdef' }, known(LIBRARY, root)])).toBeUndefined();
    expect(programCheck(root)([{ ...file, buildId: 'fedcba9876543210' }, known(LIBRARY, root)])).toBe(
      '/app/it is not the file here that was dumped',
    );
    expect(programCheck(root)([{ ...file, size: 17 }, known(LIBRARY, root)])).toBe(
      '/app/it is not the file here that was dumped',
    );
  });
});

/** An ELF file of one segment of code, with one section: the names of sections. */
function smallElf(): Buffer {
  const elf = Buffer.alloc(512);
  elf.write('\x7fELF\x02\x01\x01', 'latin1');
  elf.writeBigUInt64LE(64n, 32);
  elf.writeBigUInt64LE(128n, 40);
  for (const [value, at] of [
    [56, 54],
    [1, 56],
    [64, 58],
    [1, 60],
    [0, 62],
  ] as const)
    elf.writeUInt16LE(value, at);
  // PT_LOAD, read and execute, 256 bytes from 256 on.
  elf.writeUInt32LE(1, 64);
  elf.writeUInt32LE(5, 68);
  elf.writeBigUInt64LE(256n, 64 + 8);
  elf.writeBigUInt64LE(256n, 64 + 32);
  return elf;
}

describe('a task', () => {
  const check = programCheck('/');

  it.each([
    ['/usr/lib/x86_64-linux-gnu/libjemalloc.so.2', 'jemalloc may count on zeros behind MADV_DONTNEED'],
    ['/usr/lib/libtcmalloc_minimal.so.4', 'tcmalloc may count on zeros behind MADV_DONTNEED'],
    ['/usr/lib/libmimalloc.so.3', 'mimalloc may count on zeros behind MADV_DONTNEED'],
    ['/usr/lib/jvm/lib/server/libjvm.so', 'the Java virtual machine may count on zeros behind MADV_DONTNEED'],
    ['/usr/bin/node', 'V8 may count on zeros behind MADV_DONTNEED'],
  ])('with %s keeps its memory', (name, why) => {
    expect(check([known(LIBRARY), { name, size: 1, buildId: undefined }])).toBe(why);
  });

  it('whose program is not here keeps its memory', () => {
    const file = { name: '/no/such/program', size: 1, buildId: undefined };
    expect(check([file, known(LIBRARY)])).toBe(
      '/no/such/program is not here, so nobody can say whether it counts on zeros',
    );
  });

  it('without the C library keeps its memory', () => {
    expect(existsSync(LIBRARY)).toBe(true);
    expect(check([])).toBe('its program has an allocator that cannot be told');
  });

  it('whose program cannot be reached keeps its memory', () => {
    const root = tempDir();
    symlinkSync('loop', join(root, 'loop'));
    writeFileSync(join(root, 'file'), '');
    const long = `/${'x'.repeat(300)}`;
    for (const [name, why] of [
      ['/loop', 'cannot be looked at: too many levels of symbolic links (ELOOP)'],
      ['/file/it', 'cannot be looked at: not a directory (ENOTDIR)'],
      [long, 'cannot be looked at: file name too long (ENAMETOOLONG)'],
      ['/a\0b', 'is not here, so nobody can say whether it counts on zeros'],
    ] as const) {
      expect(programCheck(root)([{ name, size: undefined, buildId: undefined }])).toBe(`${name} ${why}`);
    }
  });

  it.each([
    ['entries of sections that are too short', (elf: Buffer) => elf.writeUInt16LE(32, 58)],
    ['entries of programs that are too short', (elf: Buffer) => elf.writeUInt16LE(32, 54)],
    ['code behind its end', (elf: Buffer) => elf.writeBigUInt64LE(4096n, 64 + 8)],
    ['more code than bytes', (elf: Buffer) => elf.writeBigUInt64LE(2n ** 40n, 64 + 32)],
  ])('with %s keeps its memory', (_, damage) => {
    const path = join(tempDir(), 'it');
    const elf = smallElf();
    writeFileSync(path, elf);
    expect(readElf(path, [], [Buffer.from('code')])).toMatchObject({ hasCode: false, isDynamic: false });
    damage(elf);
    writeFileSync(path, elf);
    expect(readElf(path, [], [Buffer.from('code')])).toBeUndefined();
  });

  it('with something that is no program keeps its memory', () => {
    const root = tempDir();
    for (const [name, bytes] of [
      ['text', 'no program'],
      ['cut', '\x7fELF\x02\x01'],
      // A header that promises tables far behind the end.
      ['liar', Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01', 'latin1'), Buffer.alloc(57, 0xff)])],
    ] as const) {
      writeFileSync(join(root, name), bytes);
      expect(programCheck(root)([known(`/${basename(name)}`, root)])).toBe(
        `/${name} cannot be looked at, and may count on zeros`,
      );
    }
  });
});
