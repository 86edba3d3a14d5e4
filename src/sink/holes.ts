/** Pages that stand in a pagemap as lazy, and nowhere else. */
import { PE_LAZY, PE_PARENT, PE_PRESENT, type RunBatch } from '../memory/runs.js';

export function countHolePages({ bits, pages }: RunBatch): number {
  let count = 0;
  for (let i = 0; i < bits.length; i++) {
    if (((bits[i] as number) & (PE_LAZY | PE_PRESENT | PE_PARENT)) === PE_LAZY) count += pages[i] as number;
  }
  return count;
}
