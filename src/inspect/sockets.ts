/** Sockets: their addresses, their states, and what is queued in them. */
import type { Images } from '../dump/images.js';
import type { Messages } from '../generated/entries.js';
import { addressText } from '../json/hints.js';
import { decodeText } from '../protobuf/object.js';
import type { Attempt } from './gaps.js';
import { netlinkWord, socketWord } from './words.js';

export interface SocketData {
  /** Of the open file. */
  id: number;
  /** `tcp`, `tcp6`, `udp`, `unix`, `netlink`, `packet` and others. */
  protocol: string;
  /** STREAM, DGRAM, … */
  type: string;
  state: string;
  /** Address and port, path, name of an abstract socket with `@` in front, port id; null for none. */
  local: string | null;
  remote: string | null;
  /** Inode, of unix sockets that of the peer as well: `remote` is its name. */
  inode: number | null;
  peer?: number;
  /** Bytes that have been received, or that are to be sent. */
  received: number;
  unsent: number;
  /** Who has it open. */
  owners: { pid: number; fd: number }[];
}

/** Bytes that wait in sockets, by the id of the receiving one. */
export function readQueues(images: Images, attempt: Attempt): Map<number, number> {
  const queues = new Map<number, number>();
  if (!images.has('sk-queues.img')) return queues;
  attempt('sk-queues.img', () =>
    images.each('sk-queues.img', 'sk_packet_entry', ({ id_for: id, length }) => {
      queues.set(id, (queues.get(id) ?? 0) + length);
    }),
  );
  return queues;
}

const SOCK_RAW = 3;

export function inetSocket(entry: Messages['inet_sk_entry'], images: Images, attempt: Attempt): SocketData {
  const { id, ino, family, type, proto, state, src_addr: source, src_port: from } = entry;
  const word = type === SOCK_RAW ? 'raw' : socketWord('proto', proto).toLowerCase();
  const protocol = `${word}${socketWord('family', family) === 'INET6' ? '6' : ''}`;
  const stateWord = socketWord('state', state);
  const stream = `tcp-stream-${ino.toString(16)}.img`;
  const queues =
    word === 'tcp' && images.has(stream) ? attempt(stream, () => images.first(stream, 'tcp_stream_entry')) : undefined;
  const remote = entry.dst_port === 0 && isUnspecified(entry.dst_addr) ? null : place(entry.dst_addr, entry.dst_port);
  return {
    id,
    protocol,
    type: socketWord('type', type),
    state: stateWord,
    local: place(source, from),
    remote,
    inode: ino,
    received: queues?.inq_len ?? 0,
    unsent: queues?.outq_len ?? 0,
    owners: [],
  };
}

const isUnspecified = (words: readonly number[] = []): boolean => words.every((word) => word === 0);

function place(words: readonly number[] = [], port: number): string {
  const address = addressText(words) ?? '?';
  return `${address.includes(':') ? `[${address}]` : address}:${port}`;
}

export function unixSocket({ id, ino, type, state, peer, name }: Messages['unix_sk_entry']): SocketData {
  return {
    id,
    protocol: 'unix',
    type: socketWord('type', type),
    state: socketWord('state', state),
    local: unixName(name),
    remote: null,
    inode: ino,
    ...(peer === 0 ? {} : { peer }),
    received: 0,
    unsent: 0,
    owners: [],
  };
}

/** A path; or the name of an abstract socket, as ss(8) writes it. */
export function unixName(bytes: Uint8Array): string | null {
  if (bytes.length === 0) return null;
  if (bytes[0] === 0) return `@${decodeText(bytes.subarray(1))}`;
  return decodeText(bytes.at(-1) === 0 ? bytes.subarray(0, -1) : bytes);
}

export function netlinkSocket(entry: Messages['netlink_sk_entry']): SocketData {
  const { id, ino, protocol, state, portid, groups = [], dst_portid: to, dst_group: group } = entry;
  const listens = groups.some((word) => word !== 0) ? `, groups ${groups.map((word) => `0x${word.toString(16)}`)}` : '';
  return {
    id,
    protocol: 'netlink',
    type: netlinkWord(protocol),
    state: socketWord('state', state),
    local: `${portid}${listens}`,
    remote: to === 0 && group === 0 ? null : `${to}${group === 0 ? '' : `, group ${group}`}`,
    inode: ino,
    received: 0,
    unsent: 0,
    owners: [],
  };
}

export function packetSocket({ id, type, protocol, ifindex }: Messages['packet_sock_entry']): SocketData {
  return {
    id,
    protocol: 'packet',
    type: socketWord('type', type),
    state: '-',
    // In network byte order, as packet(7) has it.
    local: `protocol 0x${(((protocol & 255) << 8) | ((protocol >>> 8) & 255)).toString(16).padStart(4, '0')}, interface ${ifindex}`,
    remote: null,
    inode: null,
    received: 0,
    unsent: 0,
    owners: [],
  };
}
