// Namespaces, parents, and other files in the folder of the dump.
import { mkdirSync, symlinkSync } from 'node:fs';
import { of, pagesOf, undetectable, whole } from './change.mjs';

const PAGE = 4096;

/** The folder of a parent, inside the dump, because CRIU sees nothing outside of it. */
function makeParent(dump, folder, images) {
  mkdirSync(`${dump.directory}/${folder}`);
  for (const image of images) dump.link(image, `${folder}/${image}`);
}

const linkParent = (dump, target) => symlinkSync(target, `${dump.directory}/parent`);

/** Makes the pages of one entry those of the parent. */
async function takePages(dump) {
  let at = 0;
  await dump.edit('pagemap-ROOT', ([, ...entries]) => {
    const taken = entries.find((entry) => entry.flags === 6 && pagesOf(entry) > 20);
    for (const entry of entries.slice(0, entries.indexOf(taken))) at += pagesOf(entry) * PAGE;
    const pages = dump.read('pages-PAGES');
    dump.write('pages-PAGES', Buffer.concat([pages.subarray(0, at), pages.subarray(at + pagesOf(taken) * PAGE)]));
    taken.flags = 1;
  });
}

const MEMORY = ['inventory', 'pagemap-ROOT', 'pages-PAGES'];

export const surroundings = [
  ...whole('parent', {
    'pages in a parent that has them': async (dump) => {
      makeParent(dump, 'earlier', MEMORY);
      linkParent(dump, 'earlier');
      await takePages(dump);
    },
    'pages in a parent that is a folder and no link': async (dump) => {
      makeParent(dump, 'parent', MEMORY);
      await takePages(dump);
    },
    'pages in a parent, and no parent': takePages,
    'pages in a parent that is missing': async (dump) => {
      linkParent(dump, 'earlier');
      await takePages(dump);
    },
    'pages in a parent without this pagemap': async (dump) => {
      makeParent(dump, 'earlier', ['inventory']);
      linkParent(dump, 'earlier');
      await takePages(dump);
    },
    'pages in a parent whose pagemap has none': async (dump) => {
      makeParent(dump, 'earlier', MEMORY);
      linkParent(dump, 'earlier');
      await dump.edit('earlier/pagemap-ROOT', (entries) => entries.slice(0, 1));
      dump.write('earlier/pages-PAGES', '');
      await takePages(dump);
    },
    'pages in a parent that has them in its parent, which is missing': async (dump) => {
      makeParent(dump, 'earlier', MEMORY);
      linkParent(dump, 'earlier');
      await takePages(dump);
      dump.copy('pagemap-ROOT', 'earlier/pagemap-ROOT');
      dump.copy('pages-PAGES', 'earlier/pages-PAGES');
    },
    'a parent that nobody asks for, and that is missing': (dump) => linkParent(dump, 'earlier'),
    'a parent that nobody asks for': (dump) => {
      makeParent(dump, 'earlier', MEMORY);
      linkParent(dump, 'earlier');
    },
    'a dump that is its own parent': (dump) => linkParent(dump, '.'),
  }),
  ...whole('next to the dump', {
    'statistics is missing': (dump) => dump.remove('stats-dump'),
    'a core of an earlier dump': (dump) => dump.copy('core-CHILD', 'core-7777'),
    'memory of an earlier dump': async (dump) => {
      dump.copy('mm-CHILD', 'mm-7777');
      dump.write('pages-7777', Buffer.alloc(2 * PAGE));
      await dump.encode('pagemap-7777', {
        magic: 'PAGEMAP',
        entries: [{ pages_id: 7777 }, { vaddr: PAGE * 64, compat_nr_pages: 2, flags: 4 }],
      });
    },
    'a segment of an earlier dump': (dump) => dump.copy('pagemap-shmem-SHMEM', 'pagemap-shmem-7777'),
    'pages of an earlier dump': (dump) => dump.write('pages-7777', Buffer.alloc(PAGE)),
    'descriptors of an earlier dump': (dump) => dump.copy('fdinfo-CHILDFILES', 'fdinfo-7777'),
    'ids and folders of an earlier dump': (dump) => {
      dump.copy('ids-CHILD', 'ids-7777');
      dump.copy('fs-CHILD', 'fs-7777');
    },
    'a deleted file of an earlier dump': (dump) => dump.copy('ghost-file-1', 'ghost-file-77'),
    'a namespace of an earlier dump': (dump) =>
      dump.encode('utsns-77', { magic: 'UTSNS', entries: [{ nodename: 'a', domainname: 'b' }] }),
    'an image of another type by name': (dump) => dump.copy('fs-CHILD', 'tty-info'),
    'a damaged image that nobody reads': (dump) => dump.write('core-7777', 'x'),
    'an unknown field': (dump) => {
      // Field 127, a number, at the end of the only entry.
      const image = Buffer.concat([dump.read('fs-CHILD'), Buffer.from([0xf8, 0x07, 1])]);
      image.writeUInt32LE(image.readUInt32LE(8) + 3, 8);
      dump.write('fs-CHILD', image);
    },
    'a file that is no image': (dump) => dump.write('notes', 'x'),
  }),
];

export const namespaces = [
  ...of('utsns-UTSNS', {
    'a host name that is too long': ([uts]) => void (uts.nodename = 'a'.repeat(100)),
  }),
  ...undetectable(
    of('utsns-UTSNS', {
      'another host name': ([uts]) => void (uts.nodename = 'another'),
    }),
  ),
  ...of('timens-TIMENS', {
    'too many nanoseconds': ([time]) => void (time.monotonic.tv_nsec = 2_000_000_000),
    'a time that is too far': ([time]) => void (time.monotonic.tv_sec = '9223372036854775807'),
  }),
  ...of('ipcns-shm-IPCNS-VAR', {
    'a segment smaller than its pages': ([segment]) => void (segment.size = 100),
    'a segment of no size': ([segment]) => void (segment.size = 0),
    'a segment of another number': ([segment]) => void (segment.desc.id = 5),
    'two segments of one key': (entries) => void entries.push({ ...entries[0], desc: { ...entries[0].desc, id: 1 } }),
  }),
  ...of('ipcns-sem-IPCNS-VAR', {
    'a value out of range': ([set]) => void (set.extra[1] = 65535),
  }),
  ...undetectable(
    of('ipcns-sem-IPCNS-VAR', {
      'semaphores of another number': ([set]) => void (set.desc.id = 5),
    }),
  ),
  ...of('ipcns-msg-IPCNS-VAR', {
    'a message of type 0': ([queue]) => void (queue.extra[0].mtype = 0),
  }),
  ...undetectable(
    of('ipcns-msg-IPCNS-VAR', {
      'fewer messages than there are': ([queue]) => void Object.assign(queue, { qnum: 0, extra: [] }),
    }),
  ),
  ...of('ipcns-var-IPCNS-VAR', {
    'values out of range': ([values]) => void (values.msg_ctlmax = 4294967295),
    'no semaphore limits': ([values]) => void (values.sem_ctls = []),
  }),
  ...whole('mm', {
    'a System V segment that is missing': (dump) =>
      dump.edit('mm-ROOT', ([mm]) => void (mm.vmas.find(({ status }) => status & (1 << 10)).shmid = 99)),
  }),
];
