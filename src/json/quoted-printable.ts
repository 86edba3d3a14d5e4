/**
 * Quoted-printable as Python's quopri writes it: crit has the names of unix sockets so, with a zero byte in front for
 * abstract ones. Its text mode normalises line ends and so loses bytes of odd names; those are written in binary mode.
 */

const MAX_LINE = 76;

const TAB = 0x09;
const NEWLINE = 0x0a;
const RETURN = 0x0d;
const SPACE = 0x20;
const DOT = 0x2e;
const EQUALS = 0x3d;

export function encodeQuotedPrintable(bytes: Uint8Array): string {
  const text = encode(bytes, true);
  const again = decodeQuotedPrintable(text);
  return Buffer.compare(again, bytes) === 0 ? text : encode(bytes, false);
}

/** @param textMode keep line ends as they are */
function encode(bytes: Uint8Array, textMode: boolean): string {
  const firstNewline = bytes.indexOf(NEWLINE);
  const lineEnd = firstNewline > 0 && bytes[firstNewline - 1] === RETURN ? '\r\n' : '\n';
  let out = '';
  let lineLength = 0;
  for (let i = 0; i < bytes.length; i++) {
    const byte = bytes[i] as number;
    const next = bytes[i + 1];
    if (mustQuote(byte, next, lineLength, textMode)) {
      if (lineLength + 3 >= MAX_LINE) {
        out += `=${lineEnd}`;
        lineLength = 0;
      }
      out += quoted(byte);
      lineLength += 3;
    } else if (byte === NEWLINE || (byte === RETURN && next === NEWLINE)) {
      const last = out.at(-1);
      // White space at the end of a line would not survive.
      if (last === ' ' || last === '\t') out = out.slice(0, -1) + quoted(last.charCodeAt(0));
      out += lineEnd;
      lineLength = 0;
      if (byte === RETURN) i++;
    } else {
      if (next !== undefined && next !== NEWLINE && lineLength + 1 >= MAX_LINE) {
        out += `=${lineEnd}`;
        lineLength = 0;
      }
      out += String.fromCharCode(byte);
      lineLength++;
    }
  }
  return out;
}

function mustQuote(byte: number, next: number | undefined, lineLength: number, textMode: boolean): boolean {
  if (byte > 0x7e || byte === EQUALS) return true;
  if (byte === NEWLINE || byte === RETURN) return !textMode;
  if (byte === SPACE || byte === TAB) return next === undefined;
  // A dot alone on a line ends a message in some protocols.
  if (byte === DOT) return lineLength === 0 && (!next || next === NEWLINE || next === RETURN);
  return byte < SPACE;
}

const quoted = (byte: number): string => `=${byte.toString(16).toUpperCase().padStart(2, '0')}`;

/** Quoted-printable has no characters beyond a byte: of such a character only the low byte counts. */
export function decodeQuotedPrintable(text: string): Uint8Array {
  const bytes = new Uint8Array(text.length);
  let length = 0;
  for (let i = 0; i < text.length; ) {
    const rest = text.slice(i, i + 3);
    const soft = /^=\r?\n/.exec(rest)?.[0];
    if (soft !== undefined) {
      i += soft.length;
    } else if (/^=[\da-fA-F]{2}/.test(rest)) {
      bytes[length++] = Number.parseInt(rest.slice(1), 16);
      i += 3;
    } else {
      bytes[length++] = text.charCodeAt(i++);
    }
  }
  return bytes.subarray(0, length);
}
