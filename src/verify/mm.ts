/**
 * Checks the parts of an mm image other than its areas: the addresses that prctl(PR_SET_MM_MAP) sets, and the auxiliary
 * vector. The kernel does not check that there are areas at the addresses.
 */
import { MAX_MM_BYTES } from '../dump/dump.js';
import { readAll } from '../dump/files.js';
import { mmName } from '../dump/names.js';
import type { RawMessage } from '../image/decoder.js';
import { decodeAreas, eachArea, repeatedNumbers } from '../image/mm.js';
import { approximate, decimal, hex, isBelow, NumberFields, type Word } from '../image/number-fields.js';
import { type AreaTable, VMA } from '../memory/vma.js';
import { AreaChecks } from './areas.js';
import type { CheckedDump } from './checked-dump.js';
import type { Survey } from './survey.js';
import { ValueCheck } from './values.js';

/** The least that `vm.mmap_min_addr` is set to: on ARM. */
const MIN_ADDRESS = 0x8000;
/** More words than any kernel has in the vector, with its end. */
const MAX_AUXV_WORDS = 64;
/** In the auxiliary vector: where the vdso is. */
const AT_SYSINFO_EHDR = 33;

const MAX_DUMPABLE = 2;

/** Start and end of each part. */
const ORDER = [
  ['mm_start_code', 'mm_end_code'],
  ['mm_start_data', 'mm_end_data'],
  ['mm_start_brk', 'mm_brk'],
  ['mm_arg_start', 'mm_arg_end'],
  ['mm_env_start', 'mm_env_end'],
] as const;

const FIELDS = [...ORDER.flat(), 'mm_start_stack', 'dumpable'] as const;

/** The areas of a process, if they can be read. Very old dumps have an image of their own for them. */
export function areasOf(dump: CheckedDump, pid: number, pageSize: number): AreaTable | undefined {
  const file = mmName(pid);
  let areas: AreaTable | undefined;
  if (dump.isSound(file) && !dump.has(`vmas-${pid}.img`)) {
    dump.attempt(file, () => {
      areas = decodeAreas(readAll(dump.files, file, MAX_MM_BYTES), pageSize, file);
    });
  }
  return areas;
}

/** Checks the memory of all processes. */
export function checkMms(dump: CheckedDump, { tasks, march }: Survey): void {
  for (const { pid, state } of tasks) {
    const file = mmName(pid);
    if (state === 'alive') dump.raw(file, (message) => checkMm(dump, file, message, march));
  }
}

function checkMm(dump: CheckedDump, file: string, message: RawMessage, march: number | undefined): void {
  checkAddresses(dump, file, message);
  const vdso = checkAuxv(dump, file, message);
  const areas = new AreaChecks(dump, file, march);
  eachArea(message, (area) => {
    areas.check(area);
    const { start, status } = area;
    if (!vdso || start.lo !== vdso.lo || start.hi !== vdso.hi || status.lo & VMA.VDSO) return;
    const text = `0x${hex(start)}`;
    dump.error('BAD_AREA', file, `expected the vdso at ${text}, as the auxiliary vector says, found another area`, {
      entry: 0,
    });
  });
}

function checkAddresses(dump: CheckedDump, file: string, message: RawMessage): void {
  const mm = new NumberFields('mm_entry', FIELDS);
  mm.read(message);
  const values = new ValueCheck(dump, file);
  const { dumpable, mm_start_stack: stack } = mm.fields;
  const mapped = (name: string, at: Word) =>
    values.must(at.hi > 0 || at.lo >= MIN_ADDRESS, `${name} in user space`, `0x${hex(at)}`);
  for (const [first, second] of ORDER) {
    const [start, end] = [mm.fields[first], mm.fields[second]];
    mapped(first, start);
    mapped(second, end);
    values.must(!isBelow(end, start), `${second} behind ${first} 0x${hex(start)}`, `0x${hex(end)}`);
  }
  mapped('mm_start_stack', stack);
  values.must(dumpable.hi === 0 && dumpable.lo <= MAX_DUMPABLE, 'dumpable of 0, 1 or 2', decimal(dumpable));
}

/** @returns the address of the vdso in the vector */
function checkAuxv(dump: CheckedDump, file: string, message: RawMessage): Word | undefined {
  const words = repeatedNumbers(message, 'mm_saved_auxv', MAX_AUXV_WORDS + 1);
  const isRight = words.length > 0 && words.length % 2 === 0 && words.length <= MAX_AUXV_WORDS;
  const found = words.length > MAX_AUXV_WORDS ? 'more' : words.length;
  new ValueCheck(dump, file).must(isRight, `an auxiliary vector of pairs, up to ${MAX_AUXV_WORDS} numbers`, found);
  const at = words.findIndex((word, i) => i % 2 === 0 && approximate(word) === AT_SYSINFO_EHDR);
  return at < 0 ? undefined : words[at + 1];
}
