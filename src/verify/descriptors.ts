/**
 * Checks what refers to descriptors by number: each is open once in a process, and locks and epolls name descriptors that are
 * open in the process that restores them.
 */
import type { Messages } from '../generated/entries.js';
import type { CheckedDump } from './checked-dump.js';
import { eachFile } from './file-ids.js';
import { fdinfoName, type Survey } from './survey.js';
import { ValueCheck } from './values.js';

type Lock = Messages['file_lock_entry'] & { entry: number };
type Epoll = Messages['eventpoll_file_entry'] & { image: string; entry: number };
type Descriptors = ReadonlyMap<number, Pick<Messages['fdinfo_entry'], 'id' | 'type'>>;

/** The most that `fs.nr_open` may be. */
const MAX_DESCRIPTOR = 2 ** 30 - 1;
const FD_CLOEXEC = 1;
/** Bits for posix, flock, of an open file, lease: CRIU's own numbers. */
const LOCK_KINDS = 0xf;
/** F_RDLCK, WRLCK and UNLCK, with those of LOCK_MAND or without. */
const LOCK_TYPE = 3;
const LOCK_TYPE_BITS = 0xe3;
/** A file at a path, of whatever type it is dumped as. */
const LOCKABLE = ['REG', 'EXT', 'MEMFD'];

export function checkDescriptors(dump: CheckedDump, survey: Survey): void {
  const locks = readLocks(dump, survey);
  const epolls = new Map<number, Epoll>();
  eachFile(dump, ({ epfd }, image, entry) => {
    if (epfd) epolls.set(epfd.id, { ...epfd, image, entry });
  });
  const checked = new Set<string>();
  // An epoll is restored in the process with the lowest pid of those that have it, and there its targets are open.
  for (const task of survey.tasks.filter(({ state }) => state === 'alive').sort((a, b) => a.pid - b.pid)) {
    const name = fdinfoName(task, survey);
    const own = locks.get(task.pid) ?? [];
    if (name === undefined || !dump.isSound(name) || (checked.has(name) && own.length === 0)) continue;
    const descriptors = readDescriptors(dump, name, !checked.has(name));
    checked.add(name);
    if (!descriptors) continue;
    for (const lock of own) checkLock(dump, lock, descriptors);
    for (const { id } of descriptors.values()) {
      const epoll = epolls.get(id);
      if (epoll) checkEpoll(dump, epoll, descriptors, task.pid);
      epolls.delete(id);
    }
  }
}

/** @param tell whether to report findings: several processes may share one image */
function readDescriptors(dump: CheckedDump, name: string, tell: boolean): Descriptors | undefined {
  const descriptors = new Map<number, Pick<Messages['fdinfo_entry'], 'id' | 'type'>>();
  const read = dump.each(name, 'fdinfo_entry', ({ fd, id, type, flags }, entry) => {
    if (tell) {
      if (descriptors.has(fd)) dump.error('FD_TWICE', name, `descriptor ${fd} is there twice`, { entry });
      const values = new ValueCheck(dump, name, entry);
      values.between('a descriptor', fd, 0, MAX_DESCRIPTOR);
      values.onlyBits(`flags of descriptor ${fd}`, flags, FD_CLOEXEC);
      values.must(typeof type === 'string', `a known type of descriptor ${fd}`, type);
    }
    descriptors.set(fd, { id, type });
  });
  return read ? descriptors : undefined;
}

/** By pid. */
function readLocks(dump: CheckedDump, { tasks }: Survey): Map<number, Lock[]> {
  const name = 'filelocks.img';
  const locks = new Map<number, Lock[]>();
  const pids = new Set(tasks.map(({ pid }) => pid));
  dump.each(name, 'file_lock_entry', (lock, entry) => {
    const { pid, type, flag } = lock;
    const values = new ValueCheck(dump, name, entry);
    values.must((flag & LOCK_KINDS) !== 0, 'a known kind of lock', flag);
    values.must((type & LOCK_TYPE) !== LOCK_TYPE && (type & ~LOCK_TYPE_BITS) === 0, 'a known type of lock', type);
    if (!pids.has(pid)) dump.error('NO_PROCESS', name, `expected a process with pid ${pid}, found none`, { entry });
    const own = locks.get(pid);
    if (own) own.push({ ...lock, entry });
    else locks.set(pid, [{ ...lock, entry }]);
  });
  return locks;
}

function checkLock(dump: CheckedDump, { pid, fd, entry }: Lock, descriptors: Descriptors): void {
  const type = descriptors.get(fd)?.type;
  if (type !== undefined && LOCKABLE.includes(String(type))) return;
  const found = type === undefined ? 'not open' : `a ${type}`;
  dump.error('BAD_LOCK', 'filelocks.img', `descriptor ${fd} of process ${pid} is locked, but is ${found}`, { entry });
}

function checkEpoll(dump: CheckedDump, epoll: Epoll, descriptors: Descriptors, pid: number): void {
  const { id, tfd: targets = [], image, entry } = epoll;
  const bad = (message: string) => dump.error('BAD_EPOLL', image, `epoll ${id} ${message}`, { entry });
  const seen = new Set<number>();
  for (const { tfd: fd } of targets) {
    const target = descriptors.get(fd);
    if (seen.has(fd)) bad(`waits for descriptor ${fd} twice`);
    else if (!target) bad(`waits for descriptor ${fd}, which process ${pid} does not have open`);
    else if (target.id === id) bad('waits for itself');
    else if (target.type === 'REG') bad(`waits for descriptor ${fd}, a file that is always ready`);
    seen.add(fd);
  }
}
