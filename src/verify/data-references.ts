/**
 * Data that belongs to files and has images of its own: the content of pipes, the queues of sockets, terminals, BPF maps and
 * connections. A restore ignores data of something that the dump does not have, so it is lost.
 */
import type { CheckedDump } from './checked-dump.js';
import { eachFile, type FileIds, isWriteOnly, placeOfFiles } from './file-ids.js';
import type { Survey } from './survey.js';
import { ValueCheck } from './values.js';

/** Types of files that have a queue of packets. */
const SOCKETS = ['UNIXSK', 'INETSK', 'PACKETSK', 'NETLINKSK'];

/** A pipe that nobody has resized; a size is rounded up to pages. */
const DEFAULT_PIPE_BYTES = 65536;
const PIPE_PAGE_BYTES = 4096;

const SOCK_STREAM = 1;
const IPPROTO_TCP = 6;
/** ESTABLISHED, FIN_WAIT2, CLOSE_WAIT: states whose connections were seen to have an image. */
const CONNECTED = [1, 5, 8];

export function checkDataReferences(dump: CheckedDump, { inventory }: Survey, ids: FileIds): void {
  const pipes = checkPipes(dump, 'pipes-data.img', 'pipe', ids.pipes);
  const fifos = checkPipes(dump, 'fifo-data.img', 'fifo', ids.fifos);
  dump.each('sk-queues.img', 'sk_packet_entry', ({ id_for: id }, entry) => {
    const types = ids.typesOf(id);
    if (types?.some((type) => SOCKETS.includes(type))) return;
    const found = types ? types.join(', ') : 'none';
    dump.error('NO_SOCKET', 'sk-queues.img', `expected socket ${id} in ${placeOfFiles(dump)}, found ${found}`, {
      entry,
    });
  });
  dump.each('bpfmap-data.img', 'bpfmap_data_entry', ({ map_id: id }, entry) => {
    if (ids.maps.has(id)) return;
    dump.warning('NO_MAP', 'bpfmap-data.img', `expected map_id ${id} in ${placeOfFiles(dump)}, found none`, { entry });
  });
  const terminals = readTerminals(dump);
  const mounts = readMounts(dump);
  eachFile(dump, ({ usk, tty, isk, reg, pipe, fifo }, image, entry) => {
    if (pipe && !isWriteOnly(pipe.flags)) pipes.need(pipe.pipe_id, image, entry);
    if (fifo?.regf_id && !ids.writeOnly.has(fifo.regf_id)) fifos.need(fifo.pipe_id, image, entry);
    if (usk?.peer && !ids.unixSockets.has(usk.peer)) {
      dump.error('NO_SOCKET', image, `expected a unix socket with inode ${usk.peer}, the peer, found none`, { entry });
    }
    if (tty && terminals && !terminals.has(tty.tty_info_id)) {
      dump.error('NO_TTY', image, `expected terminal ${tty.tty_info_id} in tty-info.img, found none`, { entry });
    }
    const connected = isk?.type === SOCK_STREAM && isk.proto === IPPROTO_TCP && CONNECTED.includes(isk.state);
    if (isk && connected && !inventory?.tcp_close) {
      dump.require(`tcp-stream-${isk.ino.toString(16)}.img`, `entry ${entry} of ${image}`);
    }
    if (mounts && reg?.mnt_id !== undefined && reg.mnt_id > 0 && !mounts.has(reg.mnt_id)) {
      dump.warning('NO_MOUNT', image, `expected mount ${reg.mnt_id} in the images of mountpoints, found none`, {
        entry,
      });
    }
  });
}

/** There is an entry for each pipe that a process of the dump can read, even if the pipe was empty. */
function checkPipes(dump: CheckedDump, name: string, what: string, known: ReadonlySet<number>) {
  const held = new Set<number>();
  const read = dump.each(name, 'pipe_data_entry', ({ pipe_id: id, bytes, size }, entry) => {
    const values = new ValueCheck(dump, name, entry);
    values.mustNot(held.has(id) && bytes > 0 && what === 'pipe', `the content of ${what} ${id} is there twice`);
    const most = Math.ceil((size || DEFAULT_PIPE_BYTES) / PIPE_PAGE_BYTES) * PIPE_PAGE_BYTES;
    values.must(bytes <= most, `at most ${most} bytes in ${what} ${id}, its size`, bytes);
    held.add(id);
    if (known.has(id)) return;
    const message = `expected a ${what} with pipe_id ${id} in ${placeOfFiles(dump)}, found none`;
    dump.error('NO_PIPE', name, message, { entry });
  });
  const isKnown = read || !dump.has(name);
  return {
    need(id: number, image: string, entry: number): void {
      if (!isKnown || held.has(id)) return;
      held.add(id);
      const message = `expected what ${what} ${id} held in ${name}, found nothing`;
      dump.error('NO_PIPE_DATA', image, message, { entry });
    },
  };
}

/** Ids of terminals; undefined if they cannot be known. */
function readTerminals(dump: CheckedDump): Set<number> | undefined {
  const terminals = new Set<number>();
  const has = dump.has('tty-info.img');
  if (has && !dump.each('tty-info.img', 'tty_info_entry', ({ id }) => void terminals.add(id))) return undefined;
  dump.each('tty-data.img', 'tty_data_entry', ({ tty_id: id }, entry) => {
    if (terminals.has(id)) return;
    dump.warning('NO_TTY', 'tty-data.img', `expected terminal ${id} in tty-info.img, found none`, { entry });
  });
  return terminals;
}

/** Ids of mounts; undefined if the dump has none, or if they cannot be known. */
function readMounts(dump: CheckedDump): Set<number> | undefined {
  const mounts = new Set<number>();
  let sound = true;
  for (const name of dump.sizes.keys()) {
    if (!/^mountpoints-\d+\.img$/.test(name)) continue;
    const read = dump.each(name, 'mnt_entry', ({ mnt_id: id }) => void mounts.add(id));
    sound &&= read;
  }
  return sound && mounts.size > 0 ? mounts : undefined;
}
