/** A small reader of ELF cores, which knows nothing of the code that writes them. */

export interface ReadSegment {
  flags: number;
  offset: number;
  address: bigint;
  fileBytes: number;
  memoryBytes: number;
  align: number;
}

export interface ReadNote {
  name: string;
  type: number;
  data: Buffer;
}

export class ElfReader {
  readonly isWide: boolean;
  readonly machine: number;
  readonly segments: ReadSegment[] = [];
  readonly notes: ReadNote[] = [];

  constructor(private readonly core: Buffer) {
    if (core.readUInt32BE(0) !== 0x7f454c46 || core.readUInt16LE(16) !== 4) throw new Error('no ELF core');
    this.isWide = core[4] === 2;
    this.machine = core.readUInt16LE(18);
    const [tableAt, sectionsAt, sizesAt] = this.isWide ? [32, 40, 54] : [28, 32, 42];
    const entryBytes = core.readUInt16LE(sizesAt);
    const count = core.readUInt16LE(sizesAt + 2);
    const table = this.word(tableAt);
    const programs = count < 0xffff ? count : core.readUInt32LE(this.word(sectionsAt) + (this.isWide ? 44 : 28));
    for (let i = 0; i < programs; i++) this.program(table + i * entryBytes);
  }

  /** The bytes at an address: zeros where a segment has none in the file; undefined in no segment. */
  at(address: bigint, bytes: number): Buffer | undefined {
    let [low, high] = [0, this.segments.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      const { address: start, memoryBytes } = this.segments[middle] as ReadSegment;
      if (start + BigInt(memoryBytes) <= address) low = middle + 1;
      else high = middle;
    }
    const found = this.segments[low];
    const end = found ? found.address + BigInt(found.memoryBytes) : 0n;
    if (!found || found.address > address || address + BigInt(bytes) > end) return undefined;
    const start = Number(address - found.address);
    if (start >= found.fileBytes) return Buffer.alloc(bytes);
    return this.core.subarray(found.offset + start, found.offset + start + bytes);
  }

  note(type: number): ReadNote | undefined {
    return this.notes.find((note) => note.type === type);
  }

  private program(at: number): void {
    const { core, isWide } = this;
    const type = core.readUInt32LE(at);
    const flags = core.readUInt32LE(at + (isWide ? 4 : 24));
    const [offset, address, fileBytes, memoryBytes, align] = (isWide ? [8, 16, 32, 40, 48] : [4, 8, 16, 20, 28]).map(
      (field) => this.word(at + field),
    ) as [number, number, number, number, number];
    if (type === 4) this.readNotes(offset, offset + fileBytes);
    else if (type !== 1) throw new Error(`a segment of type ${type}`);
    const exact = isWide ? core.readBigUInt64LE(at + 16) : BigInt(address);
    if (type === 1) this.segments.push({ flags, offset, address: exact, fileBytes, memoryBytes, align });
  }

  private readNotes(start: number, end: number): void {
    const padded = (bytes: number) => (bytes + 3) & ~3;
    for (let at = start; at < end; ) {
      const [nameBytes, dataBytes, type] = [0, 4, 8].map((field) => this.core.readUInt32LE(at + field)) as [
        number,
        number,
        number,
      ];
      const data = at + 12 + padded(nameBytes);
      const name = this.core.toString('latin1', at + 12, at + 12 + nameBytes - 1);
      this.notes.push({ name, type, data: this.core.subarray(data, data + dataBytes) });
      at = data + padded(dataBytes);
      if (at > end) throw new Error('a note ends behind the notes');
    }
  }

  private word(at: number): number {
    return this.isWide ? Number(this.core.readBigUInt64LE(at)) : this.core.readUInt32LE(at);
  }
}
