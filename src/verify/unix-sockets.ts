/** Checks unix sockets: connected ones can be connected again, and listening ones have a name. */
import type { CheckedDump } from './checked-dump.js';
import { EXTERNAL_SOCKET, eachFile } from './file-ids.js';

interface Socket {
  state: number;
  peer: number;
  isExternal: boolean;
}

const SOCK_STREAM = 1;
const SOCK_SEQPACKET = 5;
const ESTABLISHED = 1;
const LISTEN = 10;
/** Of a path in struct sockaddr_un. */
const MAX_NAME_BYTES = 108;

export function checkUnixSockets(dump: CheckedDump): void {
  const sockets = new Map<number, Socket>();
  eachFile(dump, ({ usk }) => {
    if (!usk) return;
    const { ino, state, peer, uflags } = usk;
    sockets.set(ino, { state, peer, isExternal: (uflags & EXTERNAL_SOCKET) !== 0 });
  });
  eachFile(dump, ({ usk }, image, entry) => {
    if (!usk) return;
    const { ino, type, state, peer, name, uflags, shutdown = 'NONE' } = usk;
    const bad = (message: string) => dump.error('BAD_SOCKET', image, `unix socket ${ino} ${message}`, { entry });
    if (name.length > MAX_NAME_BYTES) bad(`has a name of more than ${MAX_NAME_BYTES} bytes`);
    if (state === LISTEN && peer === 0 && name.length === 0) bad('listens, but has no name');
    if (peer === ino) bad('is connected to itself');
    const isPaired = state === ESTABLISHED && (type === SOCK_STREAM || type === SOCK_SEQPACKET);
    if (!isPaired || uflags & EXTERNAL_SOCKET) return;
    if (peer === 0 && shutdown === 'NONE') bad('is connected, but has no peer');
    const other = sockets.get(peer);
    // One that listens has not accepted the connection yet.
    if (!other || peer === ino || other.state === LISTEN || other.isExternal) return;
    if (other.peer !== ino) bad(`is connected to ${peer}, which is not connected to it`);
  });
}
