// Passes a page stream on and says where the largest run of pages is:
//   pagepipe read DUMP | node largest-run.mjs | pagepipe write OUT
import { pump } from 'pagepipe';
import { pageStreamSink, readPageStream } from 'pagepipe/containers';

const [STDIN, STDOUT] = [0, 1];

let largest = { pages: 0, text: 'there are no pages' };
let pageSize = 0;

/** A stage: gets each record, and returns what becomes of it. */
function seeRuns(record) {
  if (record.type === 'header') ({ pageSize } = record);
  if (record.type !== 'runs') return record;
  for (const [i, pages] of record.runs.pages.entries()) {
    if (pages <= largest.pages) continue;
    const address = BigInt(record.runs.pageNumbers[i]) * BigInt(pageSize);
    largest = { pages, text: `${pages} pages at 0x${address.toString(16)} of ${record.space.pagemap}` };
  }
  return record;
}

await pump(readPageStream(STDIN), [seeRuns], pageStreamSink(STDOUT));
console.error(largest.text);
