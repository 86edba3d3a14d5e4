/** The option `--eager-list FILE`. */
import { closeSync, openSync, readSync } from 'node:fs';
import type { Stage } from '../dump/pump.js';
import { onFile } from '../errors.js';
import { type FaultList, FaultListParser } from '../memory/fault-list.js';
import { type KeepOptions, keepEager } from '../stages/keep.js';
import type { Arguments, Io } from './command.js';

const CHUNK_BYTES = 1024 * 1024;

/** The list, and where its warnings go; undefined if the option is not given. Reads the list at once. */
export function eagerListOf(args: Arguments, io: Io): ({ list: FaultList } & KeepOptions) | undefined {
  const { eagerList } = args.flags as { eagerList?: string };
  return eagerList === undefined
    ? undefined
    : {
        list: readFaultList(eagerList),
        warn: (message) => io.warn(`${eagerList}: ${message}`),
        note: (message) => io.note(`${eagerList}: ${message}`),
      };
}

/** The stages that the option asks for: none if it is not given. */
export function eagerListStages(args: Arguments, io: Io): Stage[] {
  const keep = eagerListOf(args, io);
  return keep ? [keepEager(keep.list, keep)] : [];
}

/**
 * Reads a list of faults.
 * @param each called for each fault in the order of the list, with its page number
 * @throws {DumpError} with the line number, for a malformed list
 */
export function readFaultList(path: string, each?: (pid: number, pageNumber: number) => void): FaultList {
  const parser = new FaultListParser(path, each);
  const fd = onFile(path, () => openSync(path, 'r'));
  try {
    const buffer = new Uint8Array(CHUNK_BYTES);
    for (;;) {
      const bytes = onFile(path, () => readSync(fd, buffer, 0, CHUNK_BYTES, null));
      if (bytes === 0) return parser.finish();
      parser.push(buffer.subarray(0, bytes));
    }
  } finally {
    closeSync(fd);
  }
}
