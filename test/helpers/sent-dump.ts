/** A dump as CRIU sends it to a page server, and the files that its own page server makes of it. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { image, Message, PE, pageContent } from './dump-writer.js';
import { ADD_F, CLOSE, type Form, message } from './page-client.js';

export const ADD = 1;
export const HOLE = 2;
export const OPEN = 3;
export const OPEN2 = 4;
export const PARENT = 5;
export const TASK = 1;
export const SHMEM = 2;
export const PAGE = 4096;

export const dst = (id: number | bigint, type = TASK): bigint => (BigInt(id) << 8n) | BigInt(type);

/** One pagemap of a dump, as it is sent and as it must be written. */
export interface SentSpace {
  id: number;
  type: number;
  entries: { vaddr: bigint; pages: number; flags: number }[];
}

const nameOf = ({ id, type }: SentSpace) => `pagemap-${type === TASK ? '' : 'shmem-'}${id}.img`;

export const open = (form: Form, space: SentSpace) =>
  message(form, { command: OPEN2, dstId: dst(space.id, space.type) });

export function add(form: Form, space: SentSpace, { vaddr, pages, flags }: SentSpace['entries'][number]): Buffer[] {
  const head = message(form, { command: ADD_F, flags, pages, vaddr, dstId: dst(space.id, space.type) });
  return flags & PE.PRESENT ? [head, contentOf(nameOf(space), vaddr, pages)] : [head];
}

const contentOf = (pagemap: string, vaddr: bigint, pages: number): Buffer =>
  Buffer.concat(Array.from({ length: pages }, (_, i) => pageContent(pagemap, vaddr + BigInt(i * PAGE))));

/** All that CRIU sends of a dump. */
export const conversation = (form: Form, spaces: readonly SentSpace[]): Buffer =>
  Buffer.concat([
    ...spaces.flatMap((space) => [open(form, space), ...space.entries.flatMap((entry) => add(form, space, entry))]),
    message(form, { command: CLOSE }),
  ]);

/** The files that CRIU's page server makes of it. */
export function filesOf(form: Form, spaces: readonly SentSpace[]): Map<string, Buffer> {
  const files = new Map<string, Buffer>();
  spaces.forEach((space, i) => {
    const pagesId = 0x10001 + i;
    const entries = space.entries.map(({ vaddr, pages, flags }) => {
      const entry = new Message()
        .int(1, vaddr)
        .int(2, form === 24 ? pages : 0)
        .int(4, flags);
      return form === 24 ? entry : entry.int(5, pages);
    });
    files.set(nameOf(space), Buffer.from(image('PAGEMAP', [new Message().int(1, pagesId), ...entries])));
    const present = space.entries.filter(({ flags }) => flags & PE.PRESENT);
    const bytes = present.map(({ vaddr, pages }) => contentOf(nameOf(space), vaddr, pages));
    files.set(`pages-${pagesId}.img`, Buffer.concat(bytes));
  });
  return files;
}

/** The regular files of a directory. */
export const filesIn = (directory: string): Map<string, Buffer> =>
  new Map(
    readdirSync(directory, { withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map(({ name }) => [name, readFileSync(join(directory, name))]),
  );

/** In order, each by its length and checksum: quicker to compare than the bytes. */
export const sorted = (files: Map<string, Buffer>) =>
  [...files].map(([name, bytes]) => `${name} ${bytes.length} ${createHash('sha1').update(bytes).digest('hex')}`).sort();

/** A process, a segment of shared memory and a process without a page, with entries in every state. */
export const SPACES: SentSpace[] = [
  { id: 0x12a, type: SHMEM, entries: [{ vaddr: 0n, pages: 3, flags: PE.PRESENT }] },
  {
    id: 1000,
    type: TASK,
    entries: [
      { vaddr: 0x400000n, pages: 1, flags: PE.PRESENT },
      { vaddr: 0x401000n, pages: 2, flags: PE.PRESENT },
      { vaddr: 0x7f00_0000_0000n, pages: 5, flags: PE.PRESENT | PE.LAZY },
      { vaddr: 0x7f00_0000_5000n, pages: 300, flags: PE.LAZY },
      { vaddr: 0xffff_ffff_ff60_0000n, pages: 1, flags: PE.PRESENT },
    ],
  },
  { id: 1001, type: TASK, entries: [] },
];
