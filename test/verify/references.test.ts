import { describe, expect, test } from 'vitest';
import { type Copy, copyOf, expectElsewhere, type Json, linesOf } from './harness.js';

const MOSAIC = 'mosaic-criu-4.2.1';
const FIFO = 'zdtm/h-fifo_upon_unix_socket01';
const PTY = 'zdtm/h-pty02';

/** The field that holds a file of a type. */
const file = (entries: Json[], field: string): Json => {
  const found = entries.find((entry) => entry[field]);
  if (!found) throw new Error(`no file has ${field}`);
  return found[field];
};

type Case = [what: string, fixture: string, damage: (copy: Copy) => void, ...lines: string[]];

const cases: Case[] = [
  [
    'a descriptor',
    MOSAIC,
    (copy) =>
      copy.edit('fdinfo-2.img', (entries) => {
        entries[0].id = 9999;
      }),
    'NO_FILE fdinfo-2.img entry 0: expected file 9999 (REG) of descriptor 0 in files.img, found none',
  ],
  [
    'a descriptor of another type',
    MOSAIC,
    (copy) =>
      copy.edit('fdinfo-2.img', (entries) => {
        entries[0].type = 'PIPE';
      }),
    'FILE_TYPE fdinfo-2.img entry 0: expected file 3 of type PIPE, found REG',
  ],
  [
    'a device that has two entries, of another type still',
    'zdtm/ns-tun',
    (copy) =>
      copy.edit('fdinfo-3.img', (entries) => {
        entries.find(({ type }: Json) => type === 'TUNF').type = 'TTY';
      }),
    'FILE_TYPE fdinfo-3.img entry 4: expected file 12 of type TTY, found REG, TUNF',
  ],
  [
    'directories',
    MOSAIC,
    (copy) =>
      copy.edit('fs-15.img', ([fs]) => {
        fs.cwd_id = 777;
        fs.root_id = 2;
      }),
    'NO_FILE fs-15.img entry 0: expected file 777 (cwd_id) in files.img, found none',
    'FILE_TYPE fs-15.img entry 0: expected root_id 2 of type REG, found MEMFD',
    'FILE_UNUSED files.img: warning: no process has file 5 (REG) open',
    'FILE_UNUSED files.img: warning: no process has file 6 (REG) open',
  ],
  [
    'a program, and a mapping',
    MOSAIC,
    (copy) =>
      copy.edit('mm-15.img', ([mm]) => {
        mm.exe_file_id = 778;
        mm.vmas.find(({ shmid }: Json) => shmid === 2).shmid = 779;
      }),
    'NO_FILE mm-15.img entry 0: expected file 778 (exe_file_id) in files.img, found none',
    'NO_FILE mm-15.img entry 0: expected file 779, mapped at 0x7efdbc5d0000, in files.img, found none',
    'FILE_UNUSED files.img: warning: no process has file 2 (MEMFD) open',
  ],
  [
    'the inode of a memfd',
    MOSAIC,
    (copy) =>
      copy.edit('files.img', (entries) => {
        file(entries, 'memfd').inode_id = 12;
      }),
    'NO_SEGMENT files.img entry 1: expected inode_id 12 in memfd.img, found none',
  ],
  [
    'a deleted file',
    'zdtm/h-ghost_holes00',
    (copy) => copy.remove('ghost-file-1.img'),
    'MISSING_IMAGE ghost-file-1.img: expected this image, named by entry 0 of remap-fpath.img, found none',
  ],
  [
    'a deleted file that nobody has',
    'zdtm/h-ghost_holes00',
    (copy) =>
      copy.edit('remap-fpath.img', ([remap]) => {
        remap.orig_id = 99;
      }),
    'NO_FILE remap-fpath.img entry 0: expected file 99 in files.img, found none',
  ],
  [
    'a file that was deleted and has another name',
    'zdtm/h-ghost_holes00',
    (copy) =>
      copy.remove('ghost-file-1.img').edit('remap-fpath.img', ([remap]) => {
        remap.remap_type = 'LINKED';
        remap.remap_id = 98;
      }),
    'NO_FILE remap-fpath.img entry 0: expected file 98 in files.img, found none',
  ],
  [
    'the path of a fifo',
    FIFO,
    (copy) =>
      copy.edit('files.img', (entries) => {
        file(entries, 'fifo').regf_id = 97;
      }),
    'NO_FILE files.img entry 10: expected file 97 in files.img, found none',
    'FILE_UNUSED files.img: warning: no process has file 11 (REG) open',
  ],
  [
    'a terminal',
    PTY,
    (copy) =>
      copy.edit('files.img', (entries) => {
        file(entries, 'tty').tty_info_id = 9;
      }),
    'NO_TTY files.img entry 8: expected terminal 9 in tty-info.img, found none',
  ],
  [
    'all terminals',
    PTY,
    (copy) => copy.remove('tty-info.img'),
    'NO_TTY tty-data.img entry 0: warning: expected terminal 0 in tty-info.img, found none',
    'NO_TTY tty-data.img entry 1: warning: expected terminal 1 in tty-info.img, found none',
    'NO_TTY files.img entry 8: expected terminal 0 in tty-info.img, found none',
    'NO_TTY files.img entry 14: expected terminal 1 in tty-info.img, found none',
  ],
  [
    'descriptors in a queue, and a queue',
    'zdtm/uns-scm05',
    (copy) =>
      copy.edit('sk-queues.img', ([first, second]) => {
        first.scm[0].rights = [50];
        second.id_for = 51;
      }),
    'NO_FILE sk-queues.img entry 0: expected file 50, which was sent through a socket, in files.img, found none',
    'NO_SOCKET sk-queues.img entry 1: expected socket 51 in files.img, found none',
  ],
  [
    'the peer of a socket',
    FIFO,
    (copy) =>
      copy.edit('files.img', (entries) => {
        entries.find(({ usk }: Json) => usk?.peer).usk.peer = 55;
      }),
    'NO_SOCKET files.img entry 8: expected a unix socket with inode 55, the peer, found none',
  ],
  [
    'data of pipes',
    PTY,
    (copy) =>
      copy.edit('pipes-data.img', ([first]) => {
        first.pipe_id = 1;
      }),
    'NO_PIPE pipes-data.img entry 0: expected a pipe with pipe_id 1 in files.img, found none',
    'NO_PIPE_DATA files.img entry 9: expected what pipe 276537 held in pipes-data.img, found nothing',
  ],
  [
    'data of fifos',
    FIFO,
    (copy) =>
      copy.edit('fifo-data.img', ([first]) => {
        first.pipe_id = 1;
      }),
    'NO_PIPE fifo-data.img entry 0: expected a fifo with pipe_id 1 in files.img, found none',
    'NO_PIPE_DATA files.img entry 10: expected what fifo 1798899 held in fifo-data.img, found nothing',
  ],
  [
    'data of pipes that are only written to',
    FIFO,
    (copy) =>
      copy.remove('fifo-data.img').edit('files.img', (entries) => {
        entries.find(({ id }: Json) => id === file(entries, 'fifo').regf_id).reg.flags = 1;
      }),
  ],
  [
    'a deleted file that was cut, and one that is longer',
    'zdtm/h-inotify00',
    (copy) => copy.resize('ghost-file-1.img', 3),
    'GHOST_SIZE ghost-file-1.img: expected 0 bytes of a deleted file, found 3',
  ],
  [
    'a deleted file in chunks, of another size',
    'zdtm/h-ghost_holes00',
    (copy) =>
      copy.edit('files.img', (entries) => {
        entries.find(({ id }: Json) => id === 8).reg.size = 9;
      }),
    'GHOST_SIZE ghost-file-1.img: expected 9 bytes of a deleted file, found 12288',
  ],
  [
    'a chunk behind the end of a deleted file',
    'zdtm/h-ghost_holes00',
    (copy) =>
      copy.edit('ghost-file-1.img', (entries) => {
        entries[2].off = 12288;
      }),
    'GHOST_SIZE ghost-file-1.img: expected chunks inside the 12288 bytes of a deleted file, found an end at 16384',
  ],
  [
    'deleted files of nobody',
    'zdtm/h-ghost_holes00',
    (copy) => copy.remove('remap-fpath.img'),
    'MISSING_IMAGE remap-fpath.img: expected this image, named by ghost-file-1.img, found none',
  ],
  [
    'data of a BPF map',
    'zdtm/bpf-h-bpf_hash',
    (copy) =>
      copy.edit('files.img', (entries) => {
        file(entries, 'bpf').map_id = 1;
      }),
    'NO_MAP bpfmap-data.img entry 0: warning: expected map_id 35 in files.img, found none',
  ],
  [
    'a connection',
    'zdtm/h-socket-tcp',
    (copy) => copy.remove('tcp-stream-47c08.img'),
    'MISSING_IMAGE tcp-stream-47c08.img: expected this image, named by entry 6 of files.img, found none',
  ],
  [
    'a connection that was to be closed',
    'zdtm/h-socket-tcp',
    (copy) =>
      copy.remove('tcp-stream-47c08.img').edit('inventory.img', ([inventory]) => {
        inventory.tcp_close = true;
      }),
  ],
  [
    'the mount of a file',
    'zdtm/ns-bridge',
    (copy) =>
      copy.edit('files.img', (entries) => {
        file(entries, 'reg').mnt_id = 5;
      }),
    'NO_MOUNT files.img entry 0: warning: expected mount 5 in the images of mountpoints, found none',
  ],
  [
    'parents, and pids',
    'family-criu-4.2.1',
    (copy) =>
      copy.edit('pstree.img', (entries) => {
        entries[1].ppid = 1234;
        entries.push(entries[2]);
      }),
    'NO_PROCESS pstree.img entry 1: expected a parent with pid 1234, found none',
    'PID_TWICE pstree.img entry 4: expected a pid of its own, found 20 again',
  ],
  [
    'the holder of a lock',
    'zdtm/h-file_locks06',
    (copy) =>
      copy.edit('filelocks.img', ([lock]) => {
        lock.pid = 1;
      }),
    'NO_PROCESS filelocks.img entry 0: expected a process with pid 1, found none',
  ],
  [
    'filters of system calls',
    'zdtm/h-seccomp_filter_inheritance',
    (copy) => copy.remove('seccomp.img'),
    'NO_FILTER core-63.img entry 0: expected filter 1 in seccomp.img, found 0 filters',
    'NO_FILTER core-64.img entry 0: expected filter 3 in seccomp.img, found 0 filters',
  ],
  [
    'control groups',
    'zdtm/h-cgroupns',
    (copy) =>
      copy.edit('cgroup.img', ([{ sets }]) => {
        sets[0].id = 7;
      }),
    'NO_CGROUP_SET core-62.img entry 0: expected cg_set 2 in cgroup.img, found none',
  ],
  [
    'the image of control groups',
    'zdtm/h-cgroupns',
    (copy) => copy.remove('cgroup.img'),
    'NO_CGROUP_SET core-62.img entry 0: expected cg_set 2 in cgroup.img, found none',
  ],
];

describe('ids that lead nowhere', () => {
  test.each(cases)('%s', async (_, name, damage, ...lines) => {
    const copy = copyOf(name);
    damage(copy);
    expect(linesOf(copy.path)).toEqual(lines);
    await expectElsewhere(copy.path, lines);
  });
});
