// What can happen to an image of any type: it is missing or cut off, or an entry is missing or there twice.
import { of, tolerated, undetectable, whole } from './change.mjs';

const PLAIN = `inventory pstree files core-ROOT core-THREAD core-ZOMBIE mm-ROOT pagemap-ROOT pages-PAGES pagemap-shmem-SHMEM
  fs-ROOT ids-ROOT fdinfo-FILES fdinfo-CHILDFILES ghost-file-1 remap-fpath filelocks pipes-data fifo-data sk-queues seccomp memfd`;
const NAMESPACES = `utsns-UTSNS timens-TIMENS ipcns-var-IPCNS-VAR ipcns-msg-IPCNS-VAR ipcns-sem-IPCNS-VAR
  ipcns-shm-IPCNS-VAR pagemap-shmem-0`;

/** Images without entries, or whose content goes to the end of the file. */
const HAS_NO_NEXT = /^(pages|ghost)-/;

/** Nothing refers to these images, so nothing shows that there were more of them. */
const NOT_REFERRED_TO = /^(filelocks|sk-queues|ipcns-msg|ipcns-sem|fdinfo-CHILDFILES)/;
/** The last pipe happens to be empty. */
const LAST_IS_EMPTY = 'pipes-data';
/** Nor does anything show that there was another entry. */
const NOT_COUNTED = /^(filelocks|sk-queues|ipcns-msg|ipcns-sem|pstree|fdinfo)/;

function changesOf(image) {
  const missing = whole(image, { missing: (dump) => dump.remove(image) });
  const cut = whole(image, {
    'cut in the middle': (dump) => {
      const bytes = dump.read(image);
      dump.write(image, bytes.subarray(0, Math.floor(bytes.length / 2)));
    },
  });
  const changes = [...(NOT_REFERRED_TO.test(image) ? undetectable(missing) : missing), ...cut];
  if (HAS_NO_NEXT.test(image)) return changes;
  const last = of(image, { 'the last entry missing': (entries) => entries.slice(0, -1) });
  const twice = of(image, { 'the last entry twice': (entries) => [...entries, entries.at(-1)] });
  return [
    ...changes,
    ...(NOT_COUNTED.test(image) ? undetectable(last) : image === LAST_IS_EMPTY ? tolerated(last) : last),
    ...(image.startsWith('pagemap-shmem') ? tolerated(twice) : twice),
  ];
}

const changesOfAll = (images) => images.split(/\s+/).flatMap(changesOf);

export const everyImage = changesOfAll(PLAIN);
export const everyImageOfNamespaces = changesOfAll(NAMESPACES);
