/**
 * The page size of the dumped machine. No image has it. Most machines have only one; for the others it is the size of a pages
 * file divided by the number of its pages.
 */
import { DumpError } from '../errors.js';
import { PagemapDecoder } from '../image/pagemap.js';
import { PAGE_SIZES, PAYLOAD_ALIGNED } from '../memory/runs.js';
import { MARCH } from '../memory/vma.js';
import type { DumpFiles, ReadableFiles } from './files.js';
import { Images } from './images.js';
import { isPagemapName, pagesName } from './names.js';
import { decodePagemap } from './pagemap.js';
import { marchOf } from './tasks.js';

/** Page size of most machines, and the smallest one, in bytes. */
export const MIN_PAGE_BYTES = 4096;

/** Machines whose kernels come with several page sizes, and the size that most of them have, in bytes. */
const VARIABLE_PAGE_SIZE = new Map<number, { machine: string; usual?: number }>([
  [MARCH.AARCH64, { machine: 'AArch64', usual: 4096 }],
  [MARCH.PPC64, { machine: 'ppc64', usual: 65536 }],
  [MARCH.MIPS, { machine: 'MIPS' }],
  [MARCH.LOONGARCH64, { machine: 'LoongArch', usual: 16384 }],
]);

/** Whether a machine, by `core_entry.mtype`, may have had any of several page sizes. */
export const hasSeveralPageSizes = (march: number | undefined): boolean => VARIABLE_PAGE_SIZE.has(march ?? 0);

/** A machine that {@link hasSeveralPageSizes}, for messages. */
export const machineOf = (march: number | undefined) =>
  VARIABLE_PAGE_SIZE.get(march ?? 0) ?? { machine: 'such', usual: undefined };

/**
 * @param march `core_entry.mtype`; by default that of the first core image
 * @returns bytes
 * @throws {DumpError} for a core that cannot be read
 */
export function findPageSize(files: DumpFiles, march = anyMarch(files)): number {
  if (files.pageSize !== undefined) return files.pageSize;
  if (!hasSeveralPageSizes(march)) return MIN_PAGE_BYTES;
  for (const { name } of files.entries()) {
    const pageSize = isPagemapName(name) ? pageSizeBy(files, name) : undefined;
    if (pageSize !== undefined) return pageSize;
  }
  return MIN_PAGE_BYTES;
}

function anyMarch(files: DumpFiles): number | undefined {
  const core = files.entries().find(({ name }) => /^core-\d+\.img$/.test(name));
  return core && marchOf(new Images(files), core.name);
}

/** The page size by one pages file; undefined if it does not show it. Another one may. */
function pageSizeBy(files: ReadableFiles, name: string): number | undefined {
  const decoder = new PagemapDecoder(MIN_PAGE_BYTES, name);
  let bytes = 0;
  try {
    for (const runs of decodePagemap(files, name, decoder)) {
      for (const { compressed } of runs.details?.values() ?? []) if (compressed) return undefined;
      if (runs.bits.some((bits) => (bits & PAYLOAD_ALIGNED) !== 0)) return undefined;
      bytes += runs.payloadBytes;
    }
  } catch (error) {
    // The error is reported when this pagemap is read for its pages.
    if (error instanceof DumpError) return undefined;
    throw error;
  }
  const pageSize = ((files.stat(pagesName(decoder))?.size ?? 0) / bytes) * MIN_PAGE_BYTES;
  return PAGE_SIZES.includes(pageSize) ? pageSize : undefined;
}
