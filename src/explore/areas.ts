/** The areas of one process as rows of numbers, in the order of its mm image. */

import { type Images, readMm } from '../dump/images.js';
import { eachArea } from '../image/mm.js';
import { approximate, type Word } from '../image/number-fields.js';
import { VMA } from '../memory/vma.js';

/** Numbers in a row. */
const WIDTH = 8;
/** Their positions in a row. The lower half of a 64-bit number comes first. */
const START = 0;
const END = 2;
const SHMID = 4;
const FLAGS = 6;
const STATUS = 7;

/** A million areas take 32 MB. */
export class AreaRows {
  private constructor(
    private readonly rows: Uint32Array,
    readonly length: number,
  ) {}

  /** The areas of a process. */
  static of(images: Images, pid: number): AreaRows {
    let rows = new Uint32Array(0);
    readMm(images, pid, (message) => {
      let count = 0;
      eachArea(message, () => count++);
      rows = new Uint32Array(count * WIDTH);
      let at = 0;
      eachArea(message, ({ start, end, shmid, flags, status }) => {
        rows.set([start.lo, start.hi, end.lo, end.hi, shmid.lo, shmid.hi, flags.lo, status.lo], at);
        at += WIDTH;
      });
    });
    return new AreaRows(rows, rows.length / WIDTH);
  }

  start(index: number, to: Word): Word {
    return this.word(index * WIDTH + START, to);
  }

  end(index: number, to: Word): Word {
    return this.word(index * WIDTH + END, to);
  }

  shmid(index: number, to: Word): Word {
    return this.word(index * WIDTH + SHMID, to);
  }

  flags(index: number): number {
    return this.rows[index * WIDTH + FLAGS] as number;
  }

  /** VMA_AREA_*, unsigned. */
  status(index: number): number {
    return this.rows[index * WIDTH + STATUS] as number;
  }

  /** Areas by ascending addresses, without guards, which lie inside others. */
  ascending(): Uint32Array {
    const order = new Uint32Array(this.length);
    let count = 0;
    for (let index = 0; index < this.length; index++) {
      if (!(this.status(index) & VMA.GUARD)) order[count++] = index;
    }
    const word = { lo: 0, hi: 0 };
    const address = (index: number) => approximate(this.start(index, word));
    return order.subarray(0, count).sort((a, b) => address(a) - address(b));
  }

  private word(at: number, to: Word): Word {
    to.lo = this.rows[at] as number;
    to.hi = this.rows[at + 1] as number;
    return to;
  }
}
