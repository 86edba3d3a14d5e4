/** Memory of a process, out of a dump: as bytes, as a sparse file with a map, or as a hexdump. */
import { type DumpFiles, dumpPlaces } from '../dump/files.js';
import { DumpError, onFile } from '../errors.js';
import { TaskMemories } from '../explore/task-memory.js';
import {
  type ExtractPiece,
  type ExtractState,
  extractPieces,
  isKnown,
  type MemorySelection,
  selectedRanges,
} from '../inspect/extract.js';
import { ExtractMap } from '../inspect/extract-map.js';
import { Hexdump } from '../inspect/hexdump.js';
import { areApart } from '../io/apart.js';
import { AtomicFile } from '../io/atomic-file.js';
import { Breather } from '../io/breathe.js';
import { type BytePlace, openOutput } from '../io/byte-output.js';
import { encodeText } from '../protobuf/object.js';
import { checkOutputFile, type PlaceOptions } from './sinks.js';

export interface ExtractOptions extends PlaceOptions {
  /** Bytes; by default found in the dump. */
  pageSize?: number;
  /** Text as xxd prints it, with addresses in place of offsets. */
  hexdump?: boolean;
  /** Leaves out what is not in the dump, in place of zeros. */
  skipGaps?: boolean;
  /** Path of a text file that says which bytes are where, and where there are none. */
  map?: string | undefined;
  signal?: AbortSignal;
}

/** Amounts in bytes. */
export interface ExtractReport {
  pid: number;
  /** Of all ranges. */
  selected: number;
  /** Of the output, holes included. */
  written: number;
  /** Of the selected bytes, by where they are. */
  states: Partial<Record<ExtractState, number>>;
}

/** Zeros for gaps in what cannot have holes. */
const ZEROS = new Uint8Array(256 * 1024);
/** Text of a hexdump is gathered up to this, in characters. */
const TEXT_LENGTH = 64 * 1024;

/**
 * Writes selected memory of a process; a file gets the mode 0600, and gaps become holes of it.
 * @param files of the dump, with its pages
 * @param place a path, a descriptor that stays open, or a stream of Node, which ends with the memory
 * @throws {DumpError} MISSING_IMAGE for an id that is not in the dump, NO_AREA if the selection is empty, UNSUPPORTED for a
 *   zombie; OUTPUT_EXISTS, OUTPUT_INSIDE_DUMP, SYSTEM
 */
export async function extractMemory(
  files: DumpFiles,
  pid: number,
  selection: MemorySelection,
  place: BytePlace,
  options: ExtractOptions = {},
): Promise<ExtractReport> {
  const { pageSize, sources = dumpPlaces(files), hexdump, skipGaps, progress, signal } = options;
  const memories = new TaskMemories(files, pageSize === undefined ? {} : { pageSize });
  if (!memories.pids.includes(pid)) {
    throw new DumpError('MISSING_IMAGE', `the dump has no process ${pid}`, { file: 'pstree.img' });
  }
  const memory = memories.of(pid);
  if (!memory) throw new DumpError('UNSUPPORTED', `process ${pid} is a zombie, and has no memory`);
  const outputs: Discardable[] = [];
  const report: ExtractReport = { pid, selected: 0, written: 0, states: {} };
  const breather = new Breather();
  try {
    const output = openPlace(place, { ...options, sources });
    outputs.push(output);
    const map =
      options.map === undefined
        ? undefined
        : new ExtractMap(memory, openMap(options.map, place, { ...options, sources }));
    if (map) outputs.push(map);
    const target = hexdump ? new TextTarget(output) : new ByteTarget(output);
    for (const range of selectedRanges(memory, selection)) {
      for (const piece of extractPieces(memory, range)) {
        const isLeftOut = (skipGaps ?? false) && !piece.data;
        report.selected += piece.bytes;
        report.states[piece.state] = (report.states[piece.state] ?? 0) + piece.bytes;
        map?.add(isLeftOut ? undefined : report.written, piece);
        if (!isLeftOut) {
          target.take(piece, signal);
          report.written += piece.bytes;
        }
        progress?.(piece.data ? piece.bytes : 0);
        await output.drain();
        await breather.due();
        signal?.throwIfAborted();
      }
    }
    target.end();
    await output.commit();
    map?.commit();
    return report;
  } finally {
    for (const each of outputs) await each.discard();
  }
}

/** How many of the selected bytes have no known content. */
export const gapBytes = ({ states }: ExtractReport): number =>
  Object.entries(states).reduce((sum, [state, bytes]) => sum + (isKnown(state as ExtractState) ? 0 : bytes), 0);

interface Discardable {
  discard(): void | Promise<void>;
}

interface Output extends Discardable {
  write(bytes: Uint8Array): void;
  /** Zeros, or a hole. */
  gap?: ((bytes: number) => void) | undefined;
  drain(): void | Promise<void>;
  commit(): void | Promise<void>;
}

function openPlace(place: BytePlace, { sources, force = false }: PlaceOptions): Output {
  if (typeof place !== 'string') return openOutput(place, undefined);
  checkOutputFile(place, sources ?? [], force);
  return new SparseFile(place);
}

function openMap(map: string, place: BytePlace, { sources, force = false }: PlaceOptions): AtomicFile {
  if (typeof place !== 'object' && !onFile(map, () => areApart(map, place))) {
    throw new DumpError('OUTPUT_EXISTS', 'the map must be another file than the memory', { file: map });
  }
  checkOutputFile(map, sources ?? [], force);
  return new AtomicFile(map);
}

/** A file with holes; a pipe or a device gets zeros. */
class SparseFile implements Output {
  private readonly file: AtomicFile;
  private position = 0;
  private end = 0;
  readonly gap: ((bytes: number) => void) | undefined;

  constructor(path: string) {
    this.file = new AtomicFile(path, { syncsMeanwhile: true });
    if (this.file.isNew) {
      this.gap = (bytes) => {
        this.position += bytes;
      };
    }
  }

  write(bytes: Uint8Array): void {
    if (this.gap) this.file.writeAt(bytes, this.position);
    else this.file.write(bytes);
    this.position += bytes.length;
    this.end = this.position;
  }

  drain(): void {}

  commit(): void | Promise<void> {
    if (this.gap && this.end < this.position) this.file.extend(this.position);
    return this.file.finish();
  }

  discard(): void | Promise<void> {
    return this.file.abandon();
  }
}

class ByteTarget {
  constructor(private readonly output: Output) {}

  take({ data, bytes }: ExtractPiece, signal: AbortSignal | undefined): void {
    if (data) this.output.write(data);
    else if (this.output.gap) this.output.gap(bytes);
    else zeros(bytes, signal, (part) => this.output.write(part));
  }

  end(): void {}
}

class TextTarget {
  private text = '';
  private readonly dump = new Hexdump((line) => {
    this.text += line;
    if (this.text.length > TEXT_LENGTH) this.flush();
  });

  constructor(private readonly output: Output) {}

  take({ address, data, bytes }: ExtractPiece, signal: AbortSignal | undefined): void {
    if (data) this.dump.push(address, data);
    else {
      let at = address;
      zeros(bytes, signal, (part) => {
        this.dump.push(at, part);
        at += BigInt(part.length);
      });
    }
  }

  end(): void {
    this.dump.end();
    this.flush();
  }

  private flush(): void {
    const { text } = this;
    this.text = '';
    if (text !== '') this.output.write(encodeText(text) as Uint8Array);
  }
}

function zeros(bytes: number, signal: AbortSignal | undefined, write: (part: Uint8Array) => void): void {
  for (let left = bytes; left > 0; left -= ZEROS.length) {
    signal?.throwIfAborted();
    write(ZEROS.subarray(0, left));
  }
}
