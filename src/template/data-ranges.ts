/** Where a file has data: what is between is holes, which read as zeros. */
import { fstatSync, readSync } from 'node:fs';
import { constants } from 'node:os';
import { DumpError, onFile } from '../errors.js';
import { linux } from '../io/linux.js';

const PIECE_BYTES = 256 * 1024;

export interface Range {
  /** Bytes; whole units. */
  start: number;
  end: number;
}

/**
 * The ranges of a file that may have other bytes than zeros, ascending. Without the system call, all is read and looked at.
 * @param from bytes, as `to`: a range of whole units
 * @param unit bytes; the ranges begin and end at multiples of it, seen from `from`
 */
export function* dataRanges(fd: number, name: string, from: number, to: number, unit: number): Generator<Range> {
  const size = onFile(name, () => fstatSync(fd)).size;
  const end = Math.min(to, from + Math.ceil(Math.max(0, size - from) / unit) * unit);
  const system = linux();
  if (!system || system.seekData(fd, 0) === -constants.errno.EINVAL) {
    yield* nonzeroRanges(fd, name, from, end, unit);
    return;
  }
  for (let at = from; at < end; ) {
    const data = system.seekData(fd, at);
    if (data === -constants.errno.ENXIO || data >= end) return;
    if (data < 0) throw new DumpError('SYSTEM', `where it has data cannot be told (errno ${-data})`, { file: name });
    const start = from + Math.floor((data - from) / unit) * unit;
    const hole = system.seekHole(fd, data);
    at = Math.min(end, from + Math.ceil(((hole < 0 ? end : hole) - from) / unit) * unit);
    yield { start: Math.max(start, from), end: at };
  }
}

function* nonzeroRanges(fd: number, name: string, from: number, end: number, unit: number): Generator<Range> {
  const piece = Buffer.alloc(Math.ceil(PIECE_BYTES / unit) * unit);
  const zeros = Buffer.alloc(unit);
  let open: Range | undefined;
  for (let at = from; at < end; at += piece.length) {
    const count = onFile(name, () => readSync(fd, piece, 0, Math.min(piece.length, end - at), at), at);
    for (let page = 0; page < count; page += unit) {
      const start = at + page;
      const bytes = piece.subarray(page, Math.min(page + unit, count));
      if (bytes.equals(zeros.subarray(0, bytes.length))) continue;
      if (open?.end === start) open.end += unit;
      else {
        if (open) yield open;
        open = { start, end: start + unit };
      }
    }
  }
  if (open) yield open;
}
