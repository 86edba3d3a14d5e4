/**
 * Which programs a task runs, and whether one of them may depend on zeros. MADV_DONTNEED gives anonymous memory back, and it
 * reads as zeros from then on. In a mapping of a file it brings back the bytes of the file. mremap(2) of a part of an area that
 * grows shows what the file has behind it. A program that counts on zeros there would compute on old bytes, so memory is mapped
 * only for programs that are known not to do so.
 *
 * A program that takes neither function from the C library leaves both to it, and the C library does not count on zeros.
 * docs/template.md has the measurements.
 */
import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { DumpError, onFile, systemReason } from '../errors.js';
import { eachArea } from '../image/mm.js';
import { approximate } from '../image/number-fields.js';
import { pathInRoot } from '../io/in-root.js';
import { hasFile } from '../memory/vma.js';
import { type ElfFile, readElf } from './elf.js';
import type { KnownFile } from './images.js';

/** @returns why a task that runs code of these files must keep its memory; undefined if it need not */
export type ProgramCheck = (files: readonly KnownFile[]) => string | undefined;

const PROT_EXEC = 4;

/** The files that a task runs code of, by its areas. */
export function programsOf(
  mm: { bytes: Uint8Array; start: number; end: number },
  regular: ReadonlyMap<number, KnownFile>,
): KnownFile[] {
  const files = new Map<number, KnownFile>();
  eachArea(mm, ({ prot, status, shmid }) => {
    if (!(prot.lo & PROT_EXEC) || !hasFile(status.lo)) return;
    const id = approximate(shmid);
    files.set(id, regular.get(id) ?? { name: '', size: undefined, buildId: undefined });
  });
  return [...files.values()];
}

/** Allocators and runtimes that count on zeros, or are not known well enough, by the names of their files. */
const COUNTS_ON_ZEROS: readonly [name: RegExp, what: string][] = [
  [/^libjemalloc/, 'jemalloc'],
  [/^libtcmalloc/, 'tcmalloc'],
  [/^libmimalloc/, 'mimalloc'],
  [/^libjvm\.so/, 'the Java virtual machine'],
  [/^(node|nodejs|libnode\.so.*|chrome|chromium|electron|deno)$/, 'V8'],
];

/** Functions that give memory back or grow it. */
const USES = ['madvise', 'process_madvise', 'mremap'];
/** madvise(2) and mremap(2) without the C library: on x86-64, and on aarch64 as far as the numbers of the calls. */
const SYSTEM_CALLS = ['b81c0000000f05', 'b8190000000f05', '281d80d2', '081b80d2'].map((code) =>
  Buffer.from(code, 'hex'),
);
/** Functions of allocators that may be linked into a program. */
const ALLOCATORS = ['mallctl', 'je_mallctl', 'mallocx', 'mi_malloc', 'tc_malloc', 'malloc'];

/** The C libraries and their loaders, which give malloc to others. */
const C_LIBRARY = [
  /^libc\.so(\.6)?$/,
  /^libc\.musl-.*\.so/,
  /^libc-2\.\d+\.so$/,
  /^ld-linux.*\.so/,
  /^ld-2\.\d+\.so$/,
  /^ld64\.so/,
  /^ld-musl-.*\.so/,
  /^libpthread/,
];

/** Files that use such a function where zeros do not matter: for huge pages, for what a core dump has, for stacks of their own. */
const HARMLESS = [
  ...C_LIBRARY,
  /^libcrypto\.so/,
  /^libpcre2-8\.so/,
  /^libselinux\.so/,
  /^libsqlite3\.so/,
  /^libgomp\.so/,
  /^(lib)?python3\.\d+(\.so.*)?$/,
  /^_multiarray_umath\./,
];

/** Looks at the programs of tasks. @param root folder of the tasks, here: where their programs are looked for */
export function programCheck(root: string): ProgramCheck {
  const known = new Map<string, string | undefined>();
  const judged = (file: KnownFile): string | undefined => {
    if (!known.has(file.name)) known.set(file.name, judge(file, root));
    return known.get(file.name);
  };
  return (files) => {
    const names = files.map(({ name }) => basename(name));
    for (const [pattern, what] of COUNTS_ON_ZEROS) {
      if (names.some((name) => pattern.test(name))) return `${what} may count on zeros behind MADV_DONTNEED`;
    }
    for (const file of files) {
      const why = judged(file);
      if (why !== undefined) return why;
    }
    const hasLibrary = names.some((name) => C_LIBRARY.some((pattern) => pattern.test(name)));
    return hasLibrary ? undefined : `${files[0]?.name ?? 'its program'} has an allocator that cannot be told`;
  };
}

/** Why the memory of a task that runs this file must stay as it is. */
function judge(file: KnownFile, root: string): string | undefined {
  const { name, size } = file;
  try {
    const isName = name !== '' && !name.includes('\0');
    const path = isName ? pathInRoot(root, name) : '';
    const found = isName ? onFile(path, () => statSync(path, { throwIfNoEntry: false })) : undefined;
    if (!found) return `${name || 'its program'} is not here, so nobody can say whether it counts on zeros`;
    if (size !== undefined && found.size !== size) return `${name} is not the file here that was dumped`;
    const elf = readElf(path, [...USES, ...ALLOCATORS], SYSTEM_CALLS);
    if (!elf) return `${name} cannot be looked at, and may count on zeros`;
    if (file.buildId !== undefined && elf.buildId !== undefined && elf.buildId !== file.buildId) {
      return `${name} is not the file here that was dumped`;
    }
    return judgeElf(elf, name);
  } catch (error) {
    if (!(error instanceof DumpError)) throw error;
    const reason = error.code === 'SYSTEM' ? systemReason(error.cause) : 'it is no regular file';
    return `${name} cannot be looked at: ${reason}`;
  }
}

function judgeElf(elf: ElfFile, name: string): string | undefined {
  const { sections, isDynamic, imports, exports } = elf;
  if (sections.includes('.go.buildinfo')) return `Go may count on zeros behind MADV_DONTNEED (${name})`;
  if (!isDynamic) return `${name} is linked statically, and may count on zeros`;
  const isOneOf = (patterns: readonly RegExp[]) => patterns.some((pattern) => pattern.test(basename(name)));
  if (exports.some((symbol) => ALLOCATORS.includes(symbol)) && !isOneOf(C_LIBRARY)) {
    return `${name} has an allocator of its own, which may count on zeros`;
  }
  if (isOneOf(HARMLESS)) return undefined;
  const use = imports.find((symbol) => USES.includes(symbol)) ?? (elf.hasCode ? 'madvise or mremap' : undefined);
  return use === undefined ? undefined : `${name} uses ${use}, and may count on zeros`;
}
