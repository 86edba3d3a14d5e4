/** Small dumps for exploring, put together by hand; nothing of the code under test is used. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Message } from '../helpers/dump-writer.js';

/** Type magics of the images that are written here. */
const MAGIC = {
  CORE: 0x55053847,
  FDINFO: 0x56213732,
  FILES: 0x56303138,
  FS: 0x51403912,
  IDS: 0x54432030,
  MM: 0x57492820,
  PAGEMAP: 0x56084025,
  PIPES: 0x56513555,
  PSTREE: 0x50273030,
  REG_FILES: 0x50363636,
  UNIXSK: 0x54373943,
} as const;

const COMMON = 0x54564319;

/** Numbers of `fd_types`. */
export const TYPE = { REG: 1, PIPE: 2, FIFO: 3, INETSK: 4, UNIXSK: 5 } as const;

/** An image of these entries. */
export function image(type: keyof typeof MAGIC, entries: readonly (Message | Uint8Array)[]): Buffer {
  const parts: Uint8Array[] = [words(COMMON, MAGIC[type])];
  for (const entry of entries) {
    const body = entry instanceof Message ? entry.finish() : entry;
    parts.push(words(body.length), body);
  }
  return Buffer.concat(parts);
}

const words = (...values: number[]): Buffer => Buffer.from(Uint32Array.from(values).buffer);

export const processEntry = (pid: number, ppid: number, threads: readonly number[] = [pid]): Message =>
  threads.reduce((entry, tid) => entry.int(5, tid), new Message().int(1, pid).int(2, ppid).int(3, pid).int(4, 1));

export const core = (comm: string | Uint8Array, state = 1, march = 1): Message => {
  const task = new Message().int(1, state).int(2, 0).int(3, 0).int(4, 0).int(5, 0).field(6, comm);
  return new Message().int(1, march).field(3, task);
};

const fown = (): Message => new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0);

export const regularFile = (id: number, name: string | Uint8Array): Message =>
  new Message().int(1, id).int(2, 0).int(3, 0).field(5, fown()).field(6, name);

export const pipe = (id: number, pipeId: number): Message =>
  new Message().int(1, id).int(2, pipeId).int(3, 0).field(4, fown());

export function unixSocket(id: number, ino: number, peer: number, name: string | Uint8Array): Message {
  const options = new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0).int(6, 0);
  const socket = new Message().int(1, id).int(2, ino);
  for (let field = 3; field <= 7; field++) socket.int(field, 0);
  return socket.int(8, peer).field(9, fown()).field(10, options).field(11, name);
}

/** An entry of `files.img`; `field` is where its type has its message. */
export const file = (type: number, id: number, field?: number, message?: Message): Message => {
  const entry = new Message().int(1, type).int(2, id);
  return field === undefined || !message ? entry : entry.field(field, message);
};

/** Fields of `file_entry`. */
export const FIELD = { reg: 3, fifo: 17, pipe: 18, usk: 16 } as const;

export const descriptor = (fd: number, type: number, id: number): Message =>
  new Message().int(1, id).int(2, 0).int(3, type).int(4, fd);

export interface AreaSpec {
  start: bigint;
  end: bigint;
  pgoff?: bigint;
  shmid?: bigint;
  prot?: number;
  flags?: number;
  status?: number;
}

export function mm(exe: number, areas: readonly AreaSpec[]): Message {
  const entry = new Message();
  for (let field = 1; field <= 11; field++) entry.int(field, 0);
  entry.int(12, exe);
  for (const area of areas) entry.field(14, vma(area));
  return entry;
}

export const vma = ({
  start,
  end,
  pgoff = 0n,
  shmid = 0n,
  prot = 3,
  flags = 0x22,
  status = 0x201,
}: AreaSpec): Message =>
  new Message()
    .int(1, start)
    .int(2, end)
    .int(3, pgoff)
    .int(4, shmid)
    .int(5, prot)
    .int(6, flags)
    .int(7, status)
    .int(8, 1);

/** Of CRIU 4.2. */
export const run = (vaddr: bigint, pages: number | bigint, flags = 4): Message =>
  new Message().int(1, vaddr).int(2, 0).int(4, flags).int(5, pages);

export const pagemap = (runs: readonly Message[]): Buffer => image('PAGEMAP', [new Message().int(1, 1), ...runs]);

/** Writes a directory of images. */
export function writeImages(directory: string, images: Record<string, Uint8Array>): string {
  mkdirSync(directory, { recursive: true });
  for (const [name, bytes] of Object.entries(images)) writeFileSync(join(directory, name), bytes);
  return directory;
}

/** A dump of one process with the id 7, `images` in place of its own or beside them. */
export function oneProcess(directory: string, images: Record<string, Uint8Array> = {}): string {
  return writeImages(directory, {
    'pstree.img': image('PSTREE', [processEntry(7, 0)]),
    'core-7.img': image('CORE', [core('one')]),
    'ids-7.img': image('IDS', [new Message().int(1, 1).int(2, 2).int(3, 1).int(4, 1)]),
    'fdinfo-2.img': image('FDINFO', [descriptor(0, TYPE.REG, 1)]),
    'fs-7.img': image('FS', [new Message().int(1, 2).int(2, 3)]),
    'files.img': image('FILES', [
      file(TYPE.REG, 1, FIELD.reg, regularFile(1, '/dev/null')),
      file(TYPE.REG, 2, FIELD.reg, regularFile(2, '/tmp')),
      file(TYPE.REG, 3, FIELD.reg, regularFile(3, '/')),
      file(TYPE.REG, 4, FIELD.reg, regularFile(4, '/bin/one')),
    ]),
    'mm-7.img': image('MM', [mm(4, [{ start: 0x10000n, end: 0x20000n }])]),
    'pagemap-7.img': pagemap([run(0x10000n, 3)]),
    ...images,
  });
}
