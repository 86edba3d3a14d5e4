/** Small images made by hand: one at least of each thing that the grammar of images knows (src/image/grammar.ts). */
import type { ImageType } from '../../src/image/magic.js';
import { Message, pagemapBlocks } from './dump-writer.js';
import { imageOf, oldImageOf } from './images.js';

export interface Sample {
  what: string;
  type: ImageType;
  image: Buffer;
  /** Lengths at which the image could end: behind its magic, and behind each entry with its extra. */
  ends: number[];
  /** From here on it could end anywhere. */
  openFrom: number;
  /** Keys with @ that its JSON has. */
  marks: string[];
}

type Part = Message | Uint8Array | string;
/** An entry with its extra. */
type Unit = Part[];

interface Options {
  marks?: string[];
  /** Bytes at the end that go to the end of the file, however many there are. */
  openBytes?: number;
  /** Begins with the magic of the type alone. */
  old?: boolean;
}

function sample(what: string, type: ImageType, units: Unit[], options: Options = {}): Sample {
  const { marks = [], openBytes, old = false } = options;
  const make = (count: number) => (old ? oldImageOf : imageOf)(type, ...units.slice(0, count).flat());
  const ends = Array.from({ length: units.length + 1 }, (_, count) => make(count).length);
  const image = make(units.length);
  const openFrom = openBytes === undefined ? Number.POSITIVE_INFINITY : image.length - openBytes;
  return { what, type, image, ends, openFrom, marks };
}

/** Bytes that are no text: 0, 7, 14, … */
export const noise = (count: number): Uint8Array => Uint8Array.from({ length: count }, (_, i) => (i * 7) & 255);
const zeros = (count: number): Uint8Array => new Uint8Array(count);
const numbers = (...values: number[]): Uint8Array => new Uint8Array(Uint16Array.from(values).buffer);

const desc = (id: number): Message =>
  new Message().int(1, 4096).int(2, 0).int(3, 0).int(4, 0).int(5, 0).int(6, 384).int(7, id);
const fown = new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0);

export const pipeData = (bytes: number, id = 7): Message => new Message().int(1, id).int(2, bytes);
const packet = (length: number): Message => new Message().int(1, 9).int(2, length);
const tcpStream = (inq: number, outq: number): Message =>
  new Message().int(1, inq).int(2, 100).int(3, outq).int(4, 4294967295).int(5, 6).int(6, 7).int(7, 1460);
const semaphores = (count: number): Message => new Message().field(1, desc(count)).int(2, count);
const queue = (count: number): Message => new Message().field(1, desc(count)).int(2, 16384).int(3, count);
const queued = (size: number): Message => new Message().int(1, 1).int(2, size);
const segment = (size: number): Message => new Message().field(1, desc(size)).int(2, size);
const ghost = new Message().int(1, 0).int(2, 0).int(3, 0o100644).int(4, 0x100002).int(6, 0x12345678);
const chunk = (length: number, offset: number): Message => new Message().int(1, length).int(2, offset);
const utsname = (name: string | Uint8Array): Message => new Message().field(1, name).field(2, '(none)');

/** Fields that no CRIU has: of all wire types, a group among them. */
export const UNKNOWN = new Message()
  .int(1000, 2n ** 64n - 1n)
  .field(1001, 'text')
  .fixed32(1002, 7)
  // 1003: a group of a varint; 1004: eight bytes.
  .raw(Uint8Array.of(0xdb, 0x3e, 0x08, 0x01, 0xdc, 0x3e))
  .raw(Uint8Array.of(0xe1, 0x3e, 1, 2, 3, 4, 5, 6, 7, 8))
  .finish();

export const SAMPLES: Sample[] = [
  sample('pipes', 'PIPES_DATA', [[pipeData(5), noise(5)], [pipeData(0)], [pipeData(200, 8), noise(200)]]),
  sample('fifos', 'FIFO_DATA', [
    [pipeData(57), noise(57)],
    [pipeData(58), noise(58)],
  ]),
  sample('packets', 'SK_QUEUES', [
    [packet(3), noise(3)],
    [packet(1).field(4, new Message().int(1, 1).int(2, 3).int(2, 4)), noise(1)],
  ]),
  sample('TCP', 'TCP_STREAM', [[tcpStream(3, 70), noise(3), noise(70)]]),
  sample('TCP without data', 'TCP_STREAM', [[tcpStream(0, 0)]]),
  sample('BPF maps', 'BPFMAP_DATA', [
    [new Message().int(1, 1).int(2, 4).int(3, 9).int(4, 1), noise(13)],
    [new Message().int(1, 2).int(2, 0).int(3, 0).int(4, 0)],
  ]),
  sample('semaphores', 'IPCNS_SEM', [
    [semaphores(1), numbers(65535), zeros(6)],
    [semaphores(4), numbers(1, 2, 3, 32768)],
    [semaphores(0)],
  ]),
  sample('message queues', 'IPCNS_MSG', [
    [queue(0)],
    [queue(2), queued(5), noise(5), zeros(3), queued(8), noise(8)],
    [queue(1), queued(0)],
  ]),
  sample('segments', 'IPCNS_SHM', [
    [segment(5), noise(5), zeros(3)],
    [segment(5000).int(3, true)],
    [segment(8).int(3, false), noise(8)],
  ]),
  sample('a ghost file', 'GHOST_FILE', [[ghost, noise(100)]], { openBytes: 100 }),
  sample('a ghost file with chunks', 'GHOST_FILE', [
    [new Message().raw(ghost.finish()).int(9, true).int(10, 9000)],
    [chunk(10, 0), noise(10)],
    [chunk(0, 4096)],
    [chunk(60, 8192), noise(60)],
  ]),
  sample('a pagemap', 'PAGEMAP', [
    [new Message().int(1, 3)],
    [new Message().int(1, 0x10000).int(2, 0).int(4, 4).int(5, 300)],
    [new Message().int(1, 0xffffffffff600000n).int(2, 0).int(4, 2).int(5, 1)],
  ]),
  sample('a compressed pagemap', 'PAGEMAP', [
    [new Message().int(1, 3)],
    [
      new Message()
        .int(1, 0x10000)
        .int(2, 0)
        .int(4, 4)
        .int(5, 3)
        .field(6, pagemapBlocks([0, 4096, 100], 1)),
    ],
  ]),
  sample('an inventory of a compressed dump', 'INVENTORY', [[new Message().int(1, 3).int(15, 1).int(16, 262144)]]),
  sample('statistics', 'STATS', [[new Message()], [new Message()]]),
  sample('process handles', 'PIDFD', [
    [new Message().int(1, 1).int(2, 4026531836).int(3, 2).int(4, -1n).field(5, fown)],
  ]),
  sample('signals', 'SIGNAL', [[new Message().field(1, noise(128))], [new Message().field(1, noise(128))]]),
  sample('binary formats', 'BINFMT_MISC', [
    [new Message().field(1, 'qemu').int(2, true).field(3, '/usr/bin/qemu').field(6, '7f454c46').int(8, 0)],
  ]),
  sample('no entries', 'CORE', []),
  sample('names of odd bytes', 'UTSNS', [[utsname(Uint8Array.of(0x61, 0xff, 0xc3, 0xa9, 0xed, 0xa0, 0x80, 0, 0x22))]]),
  sample('unknown fields', 'UTSNS', [[utsname('host').raw(UNKNOWN)], [utsname('')]], { marks: ['@unknown'] }),
  sample('an unknown field in a payload', 'PIPES_DATA', [[pipeData(2).raw(UNKNOWN), noise(2)]], {
    marks: ['@unknown'],
  }),
  sample('fields out of order', 'UTSNS', [[new Message().field(2, 'domain').field(1, 'host')], [utsname('b')]], {
    marks: ['@raw'],
  }),
  sample('fields out of order before a payload', 'PIPES_DATA', [[new Message().int(2, 4).int(1, 7), noise(4)]], {
    marks: ['@raw'],
  }),
  sample(
    'a queued message out of order',
    'IPCNS_MSG',
    [[queue(1), new Message().int(2, 3).int(1, 1), noise(3), zeros(5)]],
    { marks: ['@raw'] },
  ),
  sample('odd padding of semaphores', 'IPCNS_SEM', [[semaphores(3), numbers(1, 2, 3), noise(2)]], {
    marks: ['@padding'],
  }),
  sample(
    'odd padding of messages',
    'IPCNS_MSG',
    [
      [queue(2), queued(7), noise(7), Uint8Array.of(9), queued(1), noise(1), noise(7)],
      [queue(1), queued(7), noise(7), zeros(1)],
    ],
    { marks: ['@padding'] },
  ),
  sample(
    'odd padding of segments',
    'IPCNS_SHM',
    [
      [segment(1), noise(1), noise(3)],
      [segment(2), noise(4)],
    ],
    {
      marks: ['@padding'],
    },
  ),
  sample('an image of CRIU 1', 'UTSNS', [[utsname('old')]], { old: true, marks: ['@header'] }),
];

export const sampleOf = (what: string): Sample => {
  const found = SAMPLES.find((candidate) => candidate.what === what);
  if (!found) throw new Error(`no sample ${what}`);
  return found;
};
