/**
 * The map of an extract, as text: a line for each part of it, `OFFSET START-END STATE KIND NAME`. Offsets are bytes in the
 * extract, `-` for what was left out; both and the addresses are in hexadecimal.
 */
import type { TaskMemory } from '../explore/task-memory.js';
import type { AtomicFile } from '../io/atomic-file.js';
import { oneLine } from '../printable.js';
import type { ExtractPiece } from './extract.js';
import { namesOf } from './extract.js';

interface Part {
  offset: number | undefined;
  address: bigint;
  bytes: number;
  state: ExtractPiece['state'];
  area: number;
}

export class ExtractMap {
  private last: Part | undefined;

  constructor(
    private readonly memory: TaskMemory,
    private readonly file: AtomicFile,
  ) {}

  /** @param offset of the piece in the extract; undefined if it was left out */
  add(offset: number | undefined, { address, bytes, state, area }: ExtractPiece): void {
    const { last } = this;
    const follows = last && last.address + BigInt(last.bytes) === address && last.state === state && last.area === area;
    if (last && follows && (last.offset === undefined) === (offset === undefined)) {
      last.bytes += bytes;
      return;
    }
    this.print();
    this.last = { offset, address, bytes, state, area };
  }

  commit(): void {
    this.print();
    this.file.commit();
  }

  discard(): void {
    this.file.discard();
  }

  private print(): void {
    const { last, memory } = this;
    if (!last) return;
    const { offset, address, bytes, state, area } = last;
    const hex = (value: number | bigint) => `0x${value.toString(16)}`;
    const range = `${hex(address)}-${hex(address + BigInt(bytes))}`;
    const kind = area < 0 ? 'none' : memory.areas.kind(area);
    const name = area < 0 ? '' : ` ${oneLine(namesOf(memory, area)[0] ?? '')}`;
    const line = `${offset === undefined ? '-' : hex(offset)} ${range} ${state} ${kind}${name}`.trimEnd();
    this.file.write(Buffer.from(`${line}\n`));
    this.last = undefined;
  }
}
