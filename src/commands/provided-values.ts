/** The values that `provide` changes on their way to CRIU. */
import type { DumpFiles } from '../dump/files.js';
import { Images } from '../dump/images.js';
import { UsageError } from '../errors.js';
import { type Assignment, parseAssignment } from '../json/edit.js';
import type { Arguments } from './command.js';

/** Where sockets of the internet are: in all files, before CRIU 3.5 in an image of their own. */
const FILES = 'files.img';
const SOCKETS = 'inetsk.img';
const IPPROTO_TCP = 6;
const TCP_LISTEN = 10;
const MAX_PORT = 65535;

/** The assignments of `--set`, by image. Throws {@link UsageError}. */
export function assignmentsByImage({ flags }: Arguments): Map<string, Assignment[]> {
  const byImage = new Map<string, Assignment[]>();
  for (const text of (flags['set'] as string[] | undefined) ?? []) {
    const [, image, rest = ''] = /^([^/:=]+):(.*)$/s.exec(text) ?? [];
    const assignment = parseAssignment(rest);
    if (image === undefined || !assignment) {
      const example = 'files.img:entries[3].reg.name=/var/log/new.log';
      throw new UsageError(`--set: expected IMAGE:PATH=VALUE such as ${example}, found ${JSON.stringify(text)}`);
    }
    add(byImage, image, assignment);
  }
  return byImage;
}

/** The ports of `--tcp-listen-remap`, new by old. Throws {@link UsageError}. */
export function remappedPorts({ flags }: Arguments): Map<number, number> {
  const ports = new Map<number, number>();
  const text = flags['tcpListenRemap'] as string | undefined;
  for (const pair of text?.split(',') ?? []) {
    const [, from, to] = /^(\d+):(\d+)$/.exec(pair) ?? [];
    if (from === undefined || to === undefined || Number(from) > MAX_PORT || Number(to) > MAX_PORT) {
      throw new UsageError(`--tcp-listen-remap: expected OLD:NEW such as 80:8080, found ${JSON.stringify(pair)}`);
    }
    if (ports.has(Number(from)))
      throw new UsageError(`--tcp-listen-remap: expected each port once, found ${from} twice`);
    ports.set(Number(from), Number(to));
  }
  return ports;
}

/**
 * Adds an assignment for each TCP socket that listens at one of the ports.
 * @param warn told of ports at which none does
 * @throws {DumpError} of reading the images
 */
export function remapPorts(
  files: DumpFiles,
  ports: ReadonlyMap<number, number>,
  assignments: Map<string, Assignment[]>,
  warn: (message: string) => void,
): void {
  if (ports.size === 0) return;
  const images = new Images(files);
  const unused = new Set(ports.keys());
  const remap = (image: string, entry: number, steps: string[], { proto, state, src_port: port }: Socket) => {
    const to = ports.get(port);
    if (proto !== IPPROTO_TCP || state !== TCP_LISTEN || to === undefined) return;
    unused.delete(port);
    add(assignments, image, { path: `entries[${entry}].${steps.join('.')}`, entry, steps, value: String(to) });
  };
  if (images.has(FILES)) {
    images.each(FILES, 'file_entry', ({ isk }, index) => {
      if (isk) remap(FILES, index, ['isk', 'src_port'], isk);
    });
  }
  if (images.has(SOCKETS))
    images.each(SOCKETS, 'inet_sk_entry', (isk, index) => remap(SOCKETS, index, ['src_port'], isk));
  for (const port of unused) warn(`no socket of the dump listens at TCP port ${port}`);
}

type Socket = Readonly<Record<'proto' | 'state' | 'src_port', number>>;

function add(byImage: Map<string, Assignment[]>, image: string, assignment: Assignment): void {
  byImage.set(image, [...(byImage.get(image) ?? []), assignment]);
}
