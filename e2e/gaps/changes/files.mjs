// Files, descriptors, and what belongs to files: deleted ones, locks, pipes, sockets, events.
import { fileOf, of, swap, tolerated, undetectable, without } from './change.mjs';

const reg = (entries, end) => fileOf(entries, 'REG', (entry) => entry.reg.name.endsWith(end)).reg;
const onFile = (end, change) => (entries) => void change(reg(entries, end), entries);
const onType = (type, field, change) => (entries) => void change(fileOf(entries, type)[field], entries);
const gone = (type, test) => (entries) => without(entries, fileOf(entries, type, test));
const descriptor = (entries, type) => entries.find((entry) => entry.type === type);
/** Of the two ends of a pipe. */
const isReadEnd = ({ pipe }) => pipe.flags === 0;
const isListening = ({ usk }) => usk.state === 10;
const stream = (entries) => fileOf(entries, 'UNIXSK', ({ usk }) => usk.type === 1 && usk.peer).usk;
const listening = (entries) => fileOf(entries, 'UNIXSK', isListening).usk;

const goneTypes = ['EVENTFD', 'TIMERFD', 'SIGNALFD', 'EVENTPOLL', 'INOTIFY', 'MEMFD', 'FIFO', 'PIPE', 'UNIXSK'];

export const files = [
  ...of('files', {
    'entries in another order': (entries) => entries.reverse(),
    ...Object.fromEntries(goneTypes.map((type) => [`an entry of type ${type} not there`, gone(type)])),
    'one end of a pipe is missing': gone('PIPE', isReadEnd),
    'the other end of a pipe is missing': gone('PIPE', (entry) => !isReadEnd(entry)),
    'a listening socket is missing': gone('UNIXSK', isListening),
    'the file of a fifo is missing': (entries) =>
      without(
        entries,
        entries.find((entry) => entry.reg?.name.endsWith('/fifo')),
      ),
    'the program is missing': (entries) => entries.slice(1),
    'two files of one id': (entries) => void entries.push({ ...entries.at(-1), id: entries[0].id }),
    'an id that is not the one inside': (entries) => void (entries[0].reg.id = 999),
    'a type without its message': (entries) => void delete entries[0].reg,
    'a type with the message of another': (entries) => void (entries[0].type = 'PIPE'),
    'an unknown type': (entries) => void (entries[0].type = 99),
    'a path that is relative': onFile('/report', (file) => (file.name = 'report')),
    'an empty path': onFile('/report', (file) => (file.name = '')),
    'a position beyond the end of the file': onFile('/belongings', (file) => (file.pos = 1 << 30)),
    'a negative position': onFile('/report', (file) => (file.pos = '18446744073709551608')),
    'flags of an unknown kind': onFile('/report', (file) => (file.flags = 0x7fffffff)),
    'a mount that is missing': onFile('/report', (file) => (file.mnt_id = 999)),
    'an owner that is no process': onFile('/report', (file) =>
      Object.assign(file.fown, { pid: 999, pid_type: 1, signum: 10 }),
    ),
    'an owner of an unknown kind': onFile('/report', (file) => Object.assign(file.fown, { pid: 1, pid_type: 77 })),
    'an owner with a signal that there is not': onFile('/report', (file) => (file.fown.signum = 200)),
    'no owner': onFile('/report', (file) => (file.fown = { uid: 0, euid: 0, signum: 0, pid_type: 0, pid: 0 })),
    'a pipe with an end in no other': onType('PIPE', 'pipe', (pipe) => (pipe.pipe_id = 999)),
    'a pipe of unknown flags': onType('PIPE', 'pipe', (pipe) => (pipe.flags = 0x7fffffff)),
    'a fifo without a file': onType('FIFO', 'fifo', (fifo) => (fifo.regf_id = 999)),
    'a fifo whose file is another': onType('FIFO', 'fifo', (fifo) => (fifo.regf_id = 4)),
    'a fifo with another pipe': onType('FIFO', 'fifo', (fifo) => (fifo.pipe_id = 999)),
    'a memfd that is missing': onType('MEMFD', 'memfd', (memfd) => (memfd.inode_id = 999)),
    'a socket whose peer is missing': (entries) => void (stream(entries).peer = 999),
    'a socket that is its own peer': (entries) => void (stream(entries).peer = stream(entries).ino),
    'a socket whose peer has another one': (entries) => {
      const { ino } = fileOf(entries, 'UNIXSK', ({ usk }) => usk.type === 2).usk;
      stream(entries).peer = ino;
    },
    'a connected socket without a peer': (entries) => void (stream(entries).peer = 0),
    'two sockets of one inode': (entries) => void (listening(entries).ino = stream(entries).ino),
    'a connected socket that listens': (entries) => void (stream(entries).state = 10),
    'a socket of an unknown state': (entries) => void (stream(entries).state = 99),
    'a socket of an unknown type': (entries) => void (stream(entries).type = 99),
    'a listening socket without a name': (entries) => void (listening(entries).name = ''),
    'a socket of a namespace that is missing': (entries) => void (stream(entries).ns_id = 999),
    'a socket shut down in an unknown way': (entries) => void (stream(entries).shutdown = 99),
    'a name of a socket that is too long': (entries) =>
      void (listening(entries).name = Buffer.alloc(200, 'a').toString()),
    'an epoll of a descriptor that is not open': onType('EVENTPOLL', 'epfd', (epoll) => (epoll.tfd[0].tfd = 60)),
    'an epoll of a file that cannot be polled': onType('EVENTPOLL', 'epfd', (epoll) => (epoll.tfd[0].tfd = 4)),
    'an epoll of itself': onType('EVENTPOLL', 'epfd', (epoll) => (epoll.tfd[0].tfd = 19)),
    'an epoll of one descriptor twice': onType('EVENTPOLL', 'epfd', (epoll) => epoll.tfd.push(epoll.tfd[0])),
    'an eventfd of unknown flags': onType('EVENTFD', 'efd', (event) => (event.flags = 0x7fffffff)),
    'an eventfd that counts too far': onType('EVENTFD', 'efd', (event) => (event.counter = '18446744073709551615')),
    'a timerfd of an unknown clock': onType('TIMERFD', 'tfd', (timer) => (timer.clockid = 99)),
    'a timerfd of too many nanoseconds': onType('TIMERFD', 'tfd', (timer) => (timer.vnsec = 2_000_000_000)),
    'two watches of one number': onType('INOTIFY', 'ify', ({ wd }) => void wd.push(wd[0])),
    'a watch of a negative number': onType('INOTIFY', 'ify', ({ wd: [watch] }) => void (watch.wd = 0)),
    'a watch of no events': onType('INOTIFY', 'ify', ({ wd: [watch] }) => void (watch.mask = 0)),
  }),
  ...undetectable(
    of('files', {
      'a file opened for writing that was for reading': onFile('/null', (file) => (file.flags |= 2)),
      'a watch without a path': onType('INOTIFY', 'ify', ({ wd: [watch] }) => void delete watch.f_handle.path),
    }),
  ),
  ...undetectable(
    of('files', {
      'a path where nothing is': onFile('/belongings', (file) => (file.name = '/no/such/program')),
      'a file of another size': onFile('/belongings', (file) => (file.size = 1)),
      'a file of another mode': onFile('/belongings', (file) => (file.mode = 0o40755)),
      'another build id': onFile('/belongings', (file) => (file.build_id[0] = 1)),
      'a listening socket in a folder that is missing': (entries) =>
        void (listening(entries).name_dir = '/no/such/folder'),
      'a watch of a path that is missing': onType('INOTIFY', 'ify', ({ wd: [watch] }) => {
        watch.f_handle.path = '/no/such/folder';
      }),
    }),
  ),
  ...of('fdinfo-FILES', {
    'a descriptor twice': (entries) => void (entries.at(-1).fd = entries.at(-2).fd),
    'descriptors in another order': (entries) => entries.reverse(),
    'a descriptor of no file': (entries) => void (entries.at(-1).id = 999),
    'a descriptor of the wrong type': (entries) => void (entries.at(-1).type = 'REG'),
    'a type that there is not': (entries) => void (entries.at(-1).type = 99),
    'a negative descriptor': (entries) => void (entries.at(-1).fd = 4294967295),
    'a descriptor far above the limit': (entries) => void (entries.at(-1).fd = 2_000_000_000),
    'flags of an unknown kind': (entries) => void (entries.at(-1).flags = 99),
    'the read end of a pipe not open': (entries) => without(entries, descriptor(entries, 'PIPE')),
    'a socket of a pair not open': (entries) => without(entries, descriptor(entries, 'UNIXSK')),
    'a regular file not open': (entries) => entries.filter(({ fd }) => fd !== 4),
    'the target of an epoll not open': (entries) => without(entries, descriptor(entries, 'EVENTFD')),
  }),
  ...undetectable(
    of('fdinfo-FILES', {
      // The machine has the limit.
      'a descriptor above the limit': (entries) => void (entries.at(-1).fd = 30_000),
      'the fifo not open': (entries) => without(entries, descriptor(entries, 'FIFO')),
      'two descriptors for other files': (entries) => {
        const [a, b] = [entries.at(-1), entries.at(-2)];
        [a.id, b.id] = [b.id, a.id];
      },
    }),
  ),
  ...of('fdinfo-CHILDFILES', {
    'a descriptor twice': (entries) => void (entries.at(-1).fd = entries.at(-2).fd),
  }),
  ...undetectable(
    of('fdinfo-CHILDFILES', {
      'one descriptor fewer': (entries) => entries.slice(0, -1),
      'no descriptors': () => [],
    }),
  ),
  ...of('ghost-file-1', {
    'a shorter content': ([ghost]) => void (ghost.extra = 'b24=\n'),
    'a longer content': ([ghost]) => void (ghost.extra = Buffer.alloc(5000, 'x').toString('base64')),
    'a folder': ([ghost]) => void (ghost.mode = 0o40755),
    'a mode of no kind': ([ghost]) => void (ghost.mode = 0o644),
    'another owner': ([ghost]) => void (ghost.uid = 12345),
    'another device and inode': ([ghost]) => void Object.assign(ghost, { dev: 1, ino: 1 }),
  }),
  ...of('remap-fpath', {
    'a file that is not in the dump': ([remap]) => void (remap.orig_id = 999),
    'a ghost that is not in the dump': ([remap]) => void (remap.remap_id = 999),
    'a link that is not in the dump': (entries) =>
      void (entries.find((remap) => remap.remap_type === 'LINKED').remap_id = 999),
    'an unknown kind': ([remap]) => void (remap.remap_type = 99),
    'a process instead of a ghost': ([remap]) => void (remap.remap_type = 'PROCFS'),
    'a link instead of a ghost': ([remap]) => void (remap.remap_type = 'LINKED'),
    'a ghost instead of a link': (entries) => void (entries.at(-1).remap_type = 'GHOST'),
    'in another order': (entries) => swap(entries, 0, 1),
  }),
  ...tolerated(
    of('remap-fpath', {
      'a file with two ghosts': (entries) => void entries.push({ ...entries[0], remap_id: 2 }),
    }),
  ),
  ...of('filelocks', {
    'of no process': ([lock]) => void (lock.pid = 999),
    'of a descriptor that is not open': ([lock]) => void (lock.fd = 60),
    'of a pipe': ([lock], { PIPEFD }) => void (lock.fd = PIPEFD),
    'of an unknown kind': ([lock]) => void (lock.flag = 99),
    'of an unknown type': ([lock]) => void (lock.type = 99),
    'of another process that has the file': ([lock], { CHILD }) => void (lock.pid = CHILD),
  }),
  ...undetectable(
    of('filelocks', {
      'for writing': ([lock]) => void (lock.type = 1),
    }),
  ),
  ...of('pipes-data', {
    'of a pipe that is missing': ([data]) => void (data.pipe_id = 999),
    'twice for one pipe': (entries) => void (entries[1].pipe_id = entries[0].pipe_id),
    'a pipe of no size': ([data]) => void (data.size = 0),
    'a pipe smaller than what it holds': ([data]) => void (data.size = 3),
    'more than a pipe holds': ([data]) =>
      void Object.assign(data, { bytes: 70000, extra: Buffer.alloc(70000, 'x').toString('base64') }),
  }),
  ...undetectable(
    of('pipes-data', {
      'a pipe larger than the machine allows': ([data]) => void (data.size = 1 << 30),
      'nothing in the pipe': ([data]) => void Object.assign(data, { bytes: 0, extra: '' }),
    }),
  ),
  ...of('fifo-data', {
    'of a pipe that is missing': ([data]) => void (data.pipe_id = 999),
    'twice for one fifo': (entries) => void entries.push(entries[0]),
  }),
  ...of('sk-queues', {
    'of a socket that is missing': ([packet]) => void (packet.id_for = 999),
    'of a file that is no socket': ([packet], { PIPE }) => void (packet.id_for = PIPE),
    'a descriptor that is not in the dump': (entries) => void (entries.at(-1).scm[0].rights[0] = 999),
    'a message of an unknown kind beside it': (entries) => void (entries.at(-1).scm[0].type = 99),
    'packets in another order': (entries) => swap(entries, 0, 1),
  }),
  ...undetectable(
    of('sk-queues', {
      'no descriptor beside it': (entries) => void delete entries.at(-1).scm,
      'a packet of no bytes': ([packet]) => void Object.assign(packet, { length: 0, extra: '' }),
    }),
  ),
];
