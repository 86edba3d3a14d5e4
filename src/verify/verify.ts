/**
 * Checks a dump while the process that was dumped still exists. Nothing is written, and no page is read
 * unless its dump has sums. Each finding is
 * reported at once, and the next check continues with the images that are sound.
 */
import type { DumpFiles } from '../dump/files.js';
import { findPageSize } from '../dump/page-size.js';
import type { Slice } from '../dump/slice.js';
import { DumpError } from '../errors.js';
import { CheckedDump } from './checked-dump.js';
import { checkCores } from './cores.js';
import { checkDataReferences } from './data-references.js';
import { checkImages } from './decoding.js';
import { checkDescriptors } from './descriptors.js';
import { checkFileReferences } from './file-references.js';
import { checkFileValues } from './file-values.js';
import { type Finding, Findings, findingOf } from './findings.js';
import { checkGhosts } from './ghosts.js';
import { checkMapped, type MappedOptions } from './mapped.js';
import { checkMemory, checkPages } from './memory.js';
import { checkMms } from './mm.js';
import { checkNamespaceValues } from './namespace-values.js';
import { checkNamespaces } from './namespaces.js';
import { VerifiedPart } from './part.js';
import { checkPresence } from './presence.js';
import { checkProcesses } from './processes.js';
import { readSegments } from './segments.js';
import { checkSums } from './sums.js';
import { type Survey, survey } from './survey.js';
import { checkTree } from './tree.js';
import { checkUnixSockets } from './unix-sockets.js';
import { checkVersions } from './versions.js';

export interface VerifyOptions {
  /** Bytes. Found in the dump if it is not given. */
  pageSize?: number;
  /** The folder of the files that a template maps. Found if it is not given. */
  memory?: string | undefined;
  /** Whether the content of these files is compared as well. */
  content?: boolean | undefined;
  /** Only what is checked for this slice; findings are then {@link OrderedFinding}. */
  slice?: Slice | undefined;
}

export interface Verdict {
  errors: number;
  warnings: number;
  /** Number of files at the top of the dump. */
  files: number;
  /** Set if the dump was changed while it was checked: another check may find something else. */
  changed?: true;
  /** Blocks that were compared with their sums; undefined if the dump has none. */
  summedBlocks?: number;
}

/**
 * Checks a dump.
 * @param files closed by the caller; pages are not read, so they need not be held
 * @param take called with each finding
 * @throws {DumpError} if the files cannot be listed
 */
export function verify(files: DumpFiles, take: (finding: Finding) => void, options: VerifyOptions = {}): Verdict {
  let summedBlocks: number | undefined;
  const part = options.slice && new VerifiedPart(options.slice, files.summed);
  const verdict = check(files, part ? (finding) => take(part.take(finding)) : take, (dump) => {
    summedBlocks = checkSums(dump, part);
    if (part && !part.isFirst) {
      checkMappedPart(dump, options, part);
      return;
    }
    part?.beginMetadata();
    const known = survey(dump);
    checkImages(dump, known);
    const pageSize = pageSizeOf(dump, known, options);
    checkPresence(dump, known);
    checkVersions(dump, known);
    checkTree(dump, known);
    checkCores(dump, known, pageSize);
    checkMms(dump, known);
    checkProcesses(dump, known);
    checkNamespaces(dump, known);
    checkNamespaceValues(dump);
    const segments = readSegments(dump, pageSize);
    const files = checkFileReferences(dump, known, segments);
    checkFileValues(dump, known);
    checkDescriptors(dump, known);
    checkUnixSockets(dump);
    checkGhosts(dump);
    if (files) checkDataReferences(dump, known, files);
    checkMemory(dump, known, pageSize, segments);
    checkMapped(dump, known.march, mappedOptions(options, part));
  });
  return { ...verdict, ...(summedBlocks === undefined ? {} : { summedBlocks }) };
}

const mappedOptions = ({ memory, content }: VerifyOptions, part: VerifiedPart | undefined): MappedOptions => ({
  folder: memory,
  content: content === true,
  part,
});

/** Mapped files alone. What they need of the images is checked for the first slice, with its findings. */
function checkMappedPart(dump: CheckedDump, options: VerifyOptions, part: VerifiedPart): void {
  if (options.content !== true) return;
  const quiet = new CheckedDump(dump.files, new Findings(() => {}));
  checkMapped(dump, survey(quiet).march, mappedOptions(options, part), quiet);
}

/**
 * The cheap part: whether no image is missing that every dump has, and whether pages files have the sizes that their pagemaps
 * give.
 * @throws {DumpError} if the files cannot be listed
 */
export function quickFindings(files: DumpFiles, options: VerifyOptions = {}): Finding[] {
  const findings: Finding[] = [];
  const take = (finding: Finding) => findings.push(finding);
  check(files, take, (dump) => {
    const known = survey(dump);
    checkPresence(dump, known);
    checkPages(dump, known, pageSizeOf(dump, known, options));
  });
  return findings;
}

const pageSizeOf = ({ files }: CheckedDump, { march = 0 }: Survey, { pageSize }: VerifyOptions): number =>
  pageSize ?? findPageSize(files, march);

function check(files: DumpFiles, take: (finding: Finding) => void, run: (dump: CheckedDump) => void): Verdict {
  const findings = new Findings(take);
  const dump = new CheckedDump(files, findings);
  try {
    run(dump);
  } catch (error) {
    // The archive is being changed, so no more can be said about it.
    if (!(error instanceof DumpError) || error.code !== 'CHANGED') throw error;
    findings.add(findingOf(error, '', files.path));
    dump.hasChanged = true;
  }
  findings.end();
  const { errors, warnings } = findings;
  return { errors, warnings, files: dump.sizes.size, ...(dump.hasChanged ? { changed: true } : {}) };
}
