/** The option `--eager-list FILE` of make-lazy and classify. */
import { closeSync, openSync, readSync } from 'node:fs';
import type { Stage } from '../dump/pump.js';
import { onFile } from '../errors.js';
import { type FaultList, FaultListParser } from '../memory/fault-list.js';
import { oneLine } from '../printable.js';
import { keepEager } from '../stages/keep.js';
import type { Arguments, Io } from './command.js';

const CHUNK_BYTES = 1024 * 1024;

/** The stages that the option asks for: none if it is not given. Reads the list at once. */
export function eagerListStages(args: Arguments, io: Io): Stage[] {
  const { eagerList } = args.flags as { eagerList?: string };
  if (eagerList === undefined) return [];
  const say = (what: string) => (message: string) =>
    io.err(`pagepipe: ${what}: ${oneLine(`${eagerList}: ${message}`)}\n`);
  return [keepEager(readFaultList(eagerList), { warn: say('warning'), note: say('note') })];
}

/** Reads a list of faults. Throws {@link DumpError} with the line if there is something wrong with it. */
function readFaultList(path: string): FaultList {
  const parser = new FaultListParser(path);
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
