/**
 * Shared memory: which segments there are, which image says so, and whether their pages have a pagemap.
 *
 *     mapping of a memfd     vma.shmid is a file id; file: inode_id; memfd.img: inode_id to shmid and size
 *     anonymous and shared   the same in dumps of today; before, vma.shmid is the id of the segment
 *     System V               vma.shmid is the id in ipcns-shm of the IPC namespace
 *
 * The pages are in `pagemap-shmem-<id of the segment>`, even where a segment has none; but a memfd of 0 bytes has no pagemap.
 */
import { VMA } from '../memory/vma.js';
import type { CheckedDump } from './checked-dump.js';
import type { SurveyedTask } from './survey.js';
import { ValueCheck } from './values.js';

/** Of a file name, without what the kernel puts before it. */
const MAX_MEMFD_NAME_BYTES = 249;
/** F_SEAL_SEAL to F_SEAL_EXEC. */
const SEALS = 0x3f;

/** A segment whose size is known. */
export interface Segment {
  sizeBytes: number;
  /** The image that says so. */
  by: string;
}

export interface Segments {
  /** By the name of the pagemap. */
  sizes: Map<string, Segment>;
  /** Inodes of memfds; undefined if their image cannot be read. */
  memfds: Set<number> | undefined;
  /** Bytes: the end of an area is rounded up to it. */
  pageSize: number;
  /** Bytes of System V segments by id, by the IPC namespace; one whose image cannot be read is missing here. */
  systemV: Map<number, Map<number, number>>;
}

const pagemapOf = (id: number): string => `pagemap-shmem-${id}.img`;

/** Reads the segments, and requires their pagemaps. */
export function readSegments(dump: CheckedDump, pageSize: number): Segments {
  const segments: Segments = { sizes: new Map(), memfds: undefined, pageSize, systemV: new Map() };
  // Two segments may have one pagemap: ids of memfds and of System V come from different places.
  const add = (id: number, size: bigint, by: string) => {
    const known = segments.sizes.get(pagemapOf(id));
    if (!known || known.sizeBytes < Number(size)) segments.sizes.set(pagemapOf(id), { sizeBytes: Number(size), by });
    dump.require(pagemapOf(id), by);
  };
  const memfds = new Set<number>();
  const owners = new Map<number, bigint>();
  const read = dump.each('memfd.img', 'memfd_inode_entry', ({ inode_id: inode, shmid, size, name, seals }, entry) => {
    const values = new ValueCheck(dump, 'memfd.img', entry);
    values.mustNot((owners.get(shmid) ?? inode) !== inode, `another memfd has its segment ${shmid}`);
    values.mustNot(
      Buffer.byteLength(name) > MAX_MEMFD_NAME_BYTES,
      `its name is longer than ${MAX_MEMFD_NAME_BYTES} bytes`,
    );
    values.onlyBits('seals', seals, SEALS);
    owners.set(shmid, inode);
    memfds.add(Number(inode));
    if (size > 0n) add(shmid, size, 'memfd.img');
    else segments.sizes.set(pagemapOf(shmid), { sizeBytes: 0, by: 'memfd.img' });
  });
  if (read || !dump.has('memfd.img')) segments.memfds = memfds;
  for (const name of dump.sizes.keys()) {
    const namespace = /^ipcns-shm-(\d+)\.img$/.exec(name)?.[1];
    if (namespace === undefined) continue;
    const ids = new Map<number, number>();
    const read = dump.each(name, 'ipc_shm_entry', ({ desc, size, in_pagemaps: inPagemaps }) => {
      ids.set(desc.id, Number(size));
      if (inPagemaps) add(desc.id, size, name);
    });
    if (read) segments.systemV.set(Number(namespace), ids);
  }
  return segments;
}

/** A mapping of shared memory. */
export interface SharedMapping {
  status: number;
  shmid: number;
  sizeBytes: number;
  /** For findings. */
  address: string;
}

/** Checks that the segment of an anonymous shared or System V mapping exists. */
export function checkMapping(
  dump: CheckedDump,
  { sizes, systemV, pageSize }: Segments,
  { pid, ids }: SurveyedTask,
  { status, shmid, sizeBytes, address }: SharedMapping,
): void {
  const by = `the area at 0x${address} of mm-${pid}.img`;
  if (status & VMA.SYSVIPC) {
    const image = `ipcns-shm-${ids?.ipc_ns_id}.img`;
    if (ids?.ipc_ns_id === undefined || (dump.has(image) && !dump.isSound(image))) return;
    const found = systemV.get(ids.ipc_ns_id)?.get(shmid);
    if (found !== undefined && found > sizeBytes - pageSize) return;
    const expected = `segment ${shmid} of at least ${sizeBytes} bytes, mapped at 0x${address}, in ${image}`;
    const message = `expected ${expected}, found ${found === undefined ? 'none' : `${found} bytes`}`;
    dump.error('NO_SEGMENT', `mm-${pid}.img`, message, { entry: 0 });
  } else if (status & VMA.ANON_SHARED && !sizes.has(pagemapOf(shmid))) {
    dump.require(pagemapOf(shmid), by);
  }
}
