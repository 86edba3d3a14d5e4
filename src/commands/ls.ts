import prettyBytes from 'pretty-bytes';
import { isS3Name } from '../containers/s3/address.js';
import { DumpError } from '../errors.js';
import { type FoundDump, findDumps } from '../listing/find.js';
import { findInStore } from '../listing/store.js';
import { counted, oneLine, printable } from '../printable.js';
import { type Command, inputs } from './command.js';
import { s3Settings } from './s3-settings.js';

/** So many places that could not be read are named. */
const MAX_NAMED = 20;

export const command: Command = {
  async run(args, io) {
    const place = args.input.length === 0 ? '.' : (inputs(args, 'PLACE')[0] as string);
    const json = args.flags['json'] === true;
    let unread = 0;
    const dumps = isS3Name(place)
      ? findInStore(place, s3Settings(args))
      : findDumps(place, (path, why) => {
          if (++unread <= MAX_NAMED) io.warn(`${path}: ${why}`);
        });
    let isFirst = true;
    for await (const dump of dumps) {
      const line = json ? JSON.stringify(dumpObject(dump)) : dumpText(dump);
      if (isFirst && !json) io.out(HEAD);
      isFirst = false;
      io.out(`${json && !io.stdoutIsTerminal ? line : printable(line)}\n`);
    }
    if (unread > 0) {
      throw new DumpError('SYSTEM', `the list is not complete: ${counted(unread, 'place')} could not be looked at`, {
        file: place,
      });
    }
  },
};

/** To the second. */
const timeText = (timeMs: number): string => `${new Date(timeMs).toISOString().slice(0, 19)}Z`;

const dumpObject = ({ timeMs, ...dump }: FoundDump): object => ({ ...dump, time: timeText(timeMs) });

const row = (bytes: string, time: string, kind: string, complete: string, path: string): string =>
  `${bytes.padStart(8)}  ${time.padEnd(20)}  ${kind.padEnd(10)}  ${complete.padEnd(10)}  ${path}`;

const HEAD = `${row('SIZE', 'TIME', 'KIND', 'COMPLETE', 'PATH')}\n`;

const SUFFIX = { gzip: '.gz', zstd: '.zst' };
const COMPLETE = new Map([
  [true, 'yes'],
  [false, 'no'],
]);

function dumpText({ path, kind, compression, bytes, timeMs, complete }: FoundDump): string {
  const size = prettyBytes(bytes, { binary: true });
  const isWhole = complete === null ? '-' : (COMPLETE.get(complete) as string);
  return row(size, timeText(timeMs), kind + (compression ? SUFFIX[compression] : ''), isWhole, oneLine(path));
}
