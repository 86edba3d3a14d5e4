/** The open files of each process. */

import { type Images, readMm } from '../dump/images.js';
import { mmName } from '../dump/names.js';
import type { Messages } from '../generated/entries.js';
import { exeFileId } from '../image/mm.js';
import { FileTable } from './file-table.js';
import { type Print, printArray } from './output.js';
import { lacksAsZombie, processesOf } from './processes.js';

/** The descriptors of a process. An image without entries is not written, so one without open files has none. */
function eachDescriptor(images: Images, pid: number, take: (entry: Messages['fdinfo_entry']) => void): void {
  const { files_id } = images.first(idsName(pid), 'task_kobj_ids_entry', 'pstree.img');
  const name = `fdinfo-${files_id}.img`;
  if (images.has(name)) images.each(name, 'fdinfo_entry', take);
}

const idsName = (pid: number): string => `ids-${pid}.img`;

const fsOf = (images: Images, pid: number) => images.first(`fs-${pid}.img`, 'fs_entry', 'pstree.img');

/** Prints the descriptors of each process, its current directory and its root. A zombie has none of these. */
export function printDescriptors(images: Images, print: Print): void {
  const files = new FileTable(images);
  for (const { pid } of processesOf(images)) {
    const line = (what: number | string, file: string) => print(`\t${String(what).padStart(7)}: ${file}\n`);
    const zombie = lacksAsZombie(images, pid, idsName(pid));
    print(`${pid}\n`);
    if (zombie) continue;
    eachDescriptor(images, pid, (entry) => line(entry.fd, files.describe(entry)));
    const { cwd_id, root_id } = fsOf(images, pid);
    line('cwd', files.pathText(cwd_id));
    line('root', files.pathText(root_id));
  }
}

/** The same as a list of `{pid, fds: [{fd, type, id, path | pipe | unix}], cwd, root, exe}`. */
export function printDescriptorsJson(images: Images, print: Print): void {
  const files = new FileTable(images);
  printArray(print, (array) => {
    for (const { pid } of processesOf(images)) {
      const zombie = lacksAsZombie(images, pid, idsName(pid));
      array.next();
      print(`{"pid":${pid},"fds":`);
      printArray(print, (fds) => {
        if (zombie) return;
        eachDescriptor(images, pid, (entry) => fds.add({ fd: entry.fd, ...files.data(entry) }));
      });
      const fs = zombie ? undefined : fsOf(images, pid);
      const rest = {
        cwd: fs ? files.path(fs.cwd_id) : null,
        root: fs ? files.path(fs.root_id) : null,
        exe: exeOf(images, files, pid),
      };
      print(`,${JSON.stringify(rest).slice(1)}`);
    }
  });
}

/** The program of a process, if the dump has its mm image. */
function exeOf(images: Images, files: FileTable, pid: number): string | null {
  if (!images.has(mmName(pid))) return null;
  let path: string | null = null;
  readMm(images, pid, (message) => {
    path = files.path(exeFileId(message));
  });
  return path;
}
