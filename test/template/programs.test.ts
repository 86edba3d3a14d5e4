/** Which programs keep their memory: those that may count on zeros. */
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, statSync, writeFileSync } from 'node:fs';
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
