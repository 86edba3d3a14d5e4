/**
 * Findings: what is wrong with a dump. A check adds a finding and goes on. If one file has very many findings, the first ones
 * are reported and the rest are counted.
 */
import type { DumpError, DumpErrorCode } from '../errors.js';
import { oneLine } from '../printable.js';

/** Stable names for findings. If reading an image failed with an error, the code is that of the error. */
export type FindingCode =
  | DumpErrorCode
  | 'CORE_UNUSED'
  | 'UNKNOWN_FIELD'
  | 'UNKNOWN_VALUE'
  | 'UNKNOWN_VERSION'
  | 'OUTSIDE_SEGMENT'
  | 'PAGES_UNUSED'
  | 'PAGEMAP_UNUSED'
  | 'NOT_IN_PARENT'
  | 'PARENT_LOOP'
  | 'LAZY_ONLY'
  | 'COLD_HALF'
  | 'NO_FILE'
  | 'FILE_TYPE'
  | 'FILE_UNUSED'
  | 'GHOST_SIZE'
  | 'GHOST_UNUSED'
  | 'NO_SEGMENT'
  | 'NO_PIPE'
  | 'NO_PIPE_DATA'
  | 'NO_SOCKET'
  | 'NO_TTY'
  | 'NO_MAP'
  | 'NO_MOUNT'
  | 'NO_PROCESS'
  | 'NO_FILTER'
  | 'NO_CGROUP_SET'
  | 'PID_TWICE'
  | 'AREAS_ORDER'
  | 'BAD_AREA'
  | 'BAD_BLOCKS'
  | 'BAD_TREE'
  | 'BAD_CORE'
  | 'BAD_NAMESPACE'
  | 'BAD_SOCKET'
  | 'BAD_EPOLL'
  | 'BAD_LOCK'
  | 'BAD_VALUE'
  | 'ID_MISMATCH'
  | 'ID_TWICE'
  | 'FD_TWICE'
  | 'MORE';

/** `error`: a restore fails, or restores something other than what was dumped. `warning`: worth checking. */
export type Severity = 'error' | 'warning';

/** Where in a file something was found. */
export interface FindingPlace {
  /** Bytes. */
  offset?: number;
  /** Index of the entry in the image, from 0; the head of a pagemap is not counted. */
  entry?: number;
}

export interface Finding extends FindingPlace {
  code: FindingCode;
  severity: Severity;
  /** Relative to the dump. Names of files in its parent begin with `parent/`. */
  file: string;
  /** What was expected, and what was found. */
  message: string;
}

/** Findings that are reported for one file. */
export const MAX_FINDINGS_PER_FILE = 100;

/** Of one file. */
interface Count {
  reported: number;
  rest: number;
  /** Whether an error is among the rest. */
  error: boolean;
}

/** Counts findings, and passes them on as they come. */
export class Findings {
  errors = 0;
  warnings = 0;
  private readonly counts = new Map<string, Count>();

  constructor(private readonly take: (finding: Finding) => void) {}

  add(finding: Finding): void {
    const isError = finding.severity === 'error';
    if (isError) this.errors++;
    else this.warnings++;
    let count = this.counts.get(finding.file);
    if (!count) {
      count = { reported: 0, rest: 0, error: false };
      this.counts.set(finding.file, count);
    }
    if (count.reported < MAX_FINDINGS_PER_FILE) {
      count.reported++;
      this.take(finding);
    } else {
      count.rest++;
      count.error ||= isError;
    }
  }

  /** Reports the number of findings that were only counted. */
  end(): void {
    for (const [file, { rest, error }] of this.counts) {
      if (rest === 0) continue;
      this.take({ code: 'MORE', severity: error ? 'error' : 'warning', file, message: `and ${rest} more` });
    }
  }
}

/** A finding as a line, without its end. */
export const formatFinding = (finding: Finding): string =>
  oneLine(`${placeText(finding)}${finding.severity === 'warning' ? 'warning: ' : ''}${finding.message}`);

/** The same without its severity. */
export const findingText = (finding: Finding): string => `${placeText(finding)}${finding.message}`;

/** `FILE@0xOFFSET entry N: ` */
const placeText = ({ file, offset, entry }: FindingPlace & { file: string }): string =>
  `${file}${offset === undefined ? '' : `@0x${offset.toString(16)}`}${entry === undefined ? '' : ` entry ${entry}`}: `;

/** An error as a finding. The place moves from the message into the finding. */
export function findingOf(error: DumpError, prefix: string, file: string): Finding {
  const { code, offset, entry } = error;
  const place = { ...(offset === undefined ? {} : { offset }), ...(entry === undefined ? {} : { entry }) };
  const before = error.file === undefined ? '' : placeText({ file: error.file, ...place });
  const message = error.message.startsWith(before) ? error.message.slice(before.length) : error.message;
  return { code, severity: 'error', file: prefix + (error.file ?? file), ...place, message };
}
