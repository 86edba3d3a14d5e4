// What is done to an image of each type: it is not there, it is cut off, it is empty, an entry is not there or is there twice.
import { whole } from './change.mjs';

const PLAIN = [
  'inventory',
  'pstree',
  'files',
  'core-ROOT',
  'core-THREAD',
  'core-CHILD',
  'core-ZOMBIE',
  'mm-ROOT',
  'mm-CHILD',
  'pagemap-ROOT',
  'pagemap-CHILD',
  'pages-PAGES',
  'pagemap-shmem-SHMEM',
  'fs-ROOT',
  'fs-CHILD',
  'ids-ROOT',
  'ids-CHILD',
  'fdinfo-FILES',
  'fdinfo-CHILDFILES',
  'ghost-file-1',
  'remap-fpath',
  'filelocks',
  'pipes-data',
  'fifo-data',
  'sk-queues',
  'seccomp',
  'memfd',
];
const NAMESPACES = [
  'utsns-UTSNS',
  'timens-TIMENS',
  'ipcns-var-IPCNS-VAR',
  'ipcns-msg-IPCNS-VAR',
  'ipcns-sem-IPCNS-VAR',
  'ipcns-shm-IPCNS-VAR',
  'pagemap-shmem-0',
];

const changesOf = (image) =>
  whole(image, {
    'not there': (dump) => dump.remove(image),
    'of no bytes': (dump) => dump.write(image, ''),
    'cut in the middle': (dump) => {
      const bytes = dump.read(image);
      dump.write(image, bytes.subarray(0, Math.floor(bytes.length / 2)));
    },
    // The content of a deleted file goes to the end of its image.
    ...(/^pages|^ghost/.test(image)
      ? {}
      : {
          'the last entry not there': (dump) => dump.edit(image, (entries) => entries.slice(0, -1)),
          'the last entry twice': (dump) => dump.edit(image, (entries) => [...entries, entries.at(-1)]),
        }),
  });

export const everyImage = PLAIN.flatMap(changesOf);
export const everyImageOfNamespaces = NAMESPACES.flatMap(changesOf);
