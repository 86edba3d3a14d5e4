/** The memory areas of each process, printed while its mm image is read. */

import { type Images, readMm } from '../dump/images.js';
import { mmName } from '../dump/names.js';
import { type Area, eachArea, exeFileId } from '../image/mm.js';
import { approximate, decimal, hex, type Word } from '../image/number-fields.js';
import { hasFile, kindOfArea, type MapFlags, VMA } from '../memory/vma.js';
import { FileTable } from './file-table.js';
import { type Print, printArray } from './output.js';
import { lacksAsZombie, mapFlagsOfTask, processesOf } from './processes.js';

/** Width of the column of addresses. */
const WIDTH = 36;

/** `vma_entry.status`: an area whose pages are dumped. */
const REGULAR = 1;
const SHARED_SEGMENT = VMA.SYSVIPC | VMA.ANON_SHARED | VMA.SOCKET;
/** MAP_SHARED, on every machine. */
const MAP_SHARED = 1;
/** The number of x86-64. As in crit, it is used for every machine. */
const MAP_GROWSDOWN = 0x100;

/** Prints the program of each process and its areas: addresses, protection, and the kind of memory. */
export function printAreas(images: Images, print: Print): void {
  const describe = areaDescriber(new FileTable(images));
  for (const { pid } of processesOf(images)) {
    const zombie = lacksAsZombie(images, pid, mmName(pid));
    print(`${pid}\n`);
    if (zombie) continue;
    readMm(images, pid, (message) => {
      print(`\t${'exe'.padEnd(WIDTH)}    ${describe.files.pathText(exeFileId(message))}\n`);
      eachArea(message, (area) => {
        const addresses = `${hex(area.start).padStart(8, '0')}-${hex(area.end).padStart(8, '0')}`;
        print(`\t${addresses.padEnd(WIDTH)}${protection(area.prot.lo)}${describe.area(area)}\n`);
      });
    });
  }
}

function protection(prot: number): string {
  return `${prot & 1 ? 'r' : '-'}${prot & 2 ? 'w' : '-'}${prot & 4 ? 'x' : '-'}`;
}

/** The kind of an area, with a blank before it. Segments are numbered in their order. */
function areaDescriber(files: FileTable) {
  const segments = new Map<string, string>();
  const segment = (id: Word): string => {
    const key = hex(id);
    let number = segments.get(key);
    if (number === undefined) {
      number = (segments.size + 1).toString(16);
      segments.set(key, number);
    }
    return number;
  };
  const what = ({ shmid, pgoff, status, flags }: Area): string => {
    const bits = status.lo;
    if (bits & VMA.SYSVIPC) return ` ips[${segment(shmid)}]`;
    if (bits & VMA.ANON_SHARED) return ` shmem[${segment(shmid)}]`;
    if (bits & VMA.SOCKET) return ` packet[${segment(shmid)}]`;
    if (hasFile(bits)) {
      const offset = hex(pgoff);
      const from = offset === '0' ? '' : ` + 0x${offset}`;
      return ` ${files.pathText(approximate(shmid))}${from}${bits & VMA.FILE_SHARED ? ' (s)' : ''}`;
    }
    if (bits & VMA.STACK) return ' [stack]';
    if (bits & VMA.VSYSCALL) return ' [vsyscall]';
    if (bits & VMA.VDSO) return ' [vdso]';
    return flags.lo & MAP_GROWSDOWN ? ' [stack?]' : '';
  };
  return { files, area: (area: Area) => `${what(area)}${area.status.lo & REGULAR ? '' : ' *'}` };
}

/**
 * The same as a list of `{pid, exe, areas}`; an area is `{start, end, bytes, prot, shared, kind, regular}` with `file` and
 * `pgoff`, or `segment`.
 */
export function printAreasJson(images: Images, print: Print): void {
  const files = new FileTable(images);
  printArray(print, (array) => {
    for (const { pid } of processesOf(images)) {
      const zombie = lacksAsZombie(images, pid, mmName(pid));
      array.next();
      if (zombie) {
        print(`{"pid":${pid},"exe":null,"areas":[]}`);
        continue;
      }
      const map = mapFlagsOfTask(images, pid);
      readMm(images, pid, (message) => {
        print(`{"pid":${pid},"exe":${JSON.stringify(files.path(exeFileId(message)))},"areas":`);
        printArray(print, (areas) => {
          eachArea(message, (area) => {
            areas.next();
            print(areaJson(area, files, map));
          });
        });
        print('}');
      });
    }
  });
}

/** Not by JSON.stringify: a process may have a million areas. */
function areaJson(area: Area, files: FileTable, map: MapFlags): string {
  const { start, end, pgoff, shmid, prot, flags, status } = area;
  const bits = status.lo;
  let behind = '';
  if (hasFile(bits)) behind = `,"file":${JSON.stringify(files.path(approximate(shmid)))},"pgoff":"0x${hex(pgoff)}"`;
  else if (bits & SHARED_SEGMENT) behind = `,"segment":${decimal(shmid)}`;
  return `{"start":"0x${hex(start)}","end":"0x${hex(end)}","bytes":${approximate(end) - approximate(start)},"prot":"${protection(
    prot.lo,
  )}","shared":${(flags.lo & MAP_SHARED) !== 0},"kind":"${kindOfArea(flags.lo, bits, map)}","regular":${(bits & REGULAR) !== 0}${behind}}`;
}
