/** Checks the registers of a thread: they point into areas of its process. */
import type { Messages } from '../generated/entries.js';
import { type AreaTable, firstAreaEndingAfter } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import { ValueCheck } from './values.js';

/** Numbers in the two areas of an x86 image of floating point registers. */
const ST_NUMBERS = 32;
const XMM_NUMBERS = 64;
const X86_PAGE_BYTES = 4096n;

/** @param areas of the process, if they are known */
export function checkRegisters(
  dump: CheckedDump,
  file: string,
  core: Messages['core_entry'],
  areas: AreaTable | undefined,
): void {
  const { thread_info: x86, thread_core: thread } = core;
  if (!x86) return;
  const values = new ValueCheck(dump, file);
  const { st_space: st = [], xmm_space: xmm = [] } = x86.fpregs;
  values.must(st.length === ST_NUMBERS, `${ST_NUMBERS} numbers in st_space`, st.length);
  values.must(xmm.length === XMM_NUMBERS, `${XMM_NUMBERS} numbers in xmm_space`, xmm.length);
  if (!areas) return;
  const { ip, sp, fs_base: tls } = x86.gpregs;
  const rseq = thread?.rseq_entry?.rseq_abi_pointer ?? 0n;
  const inArea = (name: string, address: bigint, isRight = isInside(areas, address)) =>
    values.mustNot(!isRight, `${name} 0x${address.toString(16)} is in no area`);
  inArea('ip', ip);
  // An empty stack begins where its area ends.
  inArea('sp', sp, isInside(areas, sp) || isInside(areas, sp - 1n));
  inArea('rseq_abi_pointer', rseq);
  // A program may keep there what is no address.
  if (!isInside(areas, tls)) {
    dump.warning('BAD_VALUE', file, `fs_base 0x${tls.toString(16)} is in no area`, { entry: 0 });
  }
}

/** Whether an address is in an area. 0 means no address. */
function isInside(areas: AreaTable, address: bigint): boolean {
  const page = Number(address / X86_PAGE_BYTES);
  const at = firstAreaEndingAfter(areas, page);
  return address === 0n || (at < areas.starts.length && (areas.starts[at] as number) <= page);
}
