/** Bytes as xxd prints them: `xxd -o START`, with addresses in place of offsets. */

const PER_LINE = 16;
const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, '0'));
const TEXT = Array.from({ length: 256 }, (_, byte) => (byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : '.'));
/** Of the hexadecimal digits, in characters. */
const WIDTH = 2 * PER_LINE + PER_LINE / 2;
const ADDRESS_DIGITS = 8;

export class Hexdump {
  private readonly line = new Uint8Array(PER_LINE);
  private used = 0;
  /** Of the line. */
  private address = 0n;

  constructor(private readonly print: (text: string) => void) {}

  /** Prints bytes that are at an address; where it does not follow the last one, a new line begins. */
  push(address: bigint, bytes: Uint8Array): void {
    if (address !== this.address + BigInt(this.used)) this.end();
    if (this.used === 0) this.address = address;
    for (let at = 0; at < bytes.length; ) {
      const count = Math.min(PER_LINE - this.used, bytes.length - at);
      this.line.set(bytes.subarray(at, at + count), this.used);
      this.used += count;
      at += count;
      if (this.used < PER_LINE) return;
      this.end();
    }
  }

  /** Prints a line that is not full. */
  end(): void {
    const { line, used } = this;
    if (used === 0) return;
    let digits = '';
    let text = '';
    for (let i = 0; i < used; i++) {
      digits += HEX[line[i] as number] as string;
      if (i % 2 === 1) digits += ' ';
      text += TEXT[line[i] as number] as string;
    }
    const address = this.address.toString(16).padStart(ADDRESS_DIGITS, '0');
    this.print(`${address}: ${digits.padEnd(WIDTH)} ${text}\n`);
    this.address += BigInt(used);
    this.used = 0;
  }
}
