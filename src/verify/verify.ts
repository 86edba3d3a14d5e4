/**
 * Checks of a dump, for the time while the process that was dumped still exists. Nothing is written, no page is
 * read; what is found is handed on at once, and the next check goes on with what is left.
 */
import { statSync } from 'node:fs';
import type { ImageIndex } from '../archive/image-index.js';
import { DumpError, onFile } from '../errors.js';
import { checkDataReferences } from './data-references.js';
import { checkImages } from './decoding.js';
import { DumpFiles } from './dump-files.js';
import { checkFileReferences } from './file-references.js';
import { type Finding, Findings, findingOf } from './findings.js';
import { checkGhosts } from './ghosts.js';
import { checkMemory, checkPages } from './memory.js';
import { findPageSize } from './page-size.js';
import { checkPresence } from './presence.js';
import { checkProcesses } from './processes.js';
import { readSegments } from './segments.js';
import { type Survey, survey } from './survey.js';
import { checkVersions } from './versions.js';

export interface VerifyOptions {
  /** Bytes; found out from the dump if it is not given. */
  pageSize?: number;
  /** Where the dump is if `path` is no directory; closed by the caller. Pages are not read, so they need not be held. */
  index?: ImageIndex | undefined;
}

export interface Verdict {
  errors: number;
  warnings: number;
  /** Files of the dump, those in folders left out. */
  files: number;
}

/**
 * Checks a dump.
 * @param path of its directory; with an index, for errors alone
 * @param take is given each finding when it is found
 * @throws {DumpError} if `path` is no directory, or cannot be listed
 */
export function verify(path: string, take: (finding: Finding) => void, options: VerifyOptions = {}): Verdict {
  return check(path, take, options, (dump) => {
    checkImages(dump);
    const known = survey(dump);
    checkPresence(dump, known);
    checkVersions(dump, known);
    checkProcesses(dump, known);
    const segments = readSegments(dump);
    const files = checkFileReferences(dump, known, segments);
    checkGhosts(dump);
    if (files) checkDataReferences(dump, known, files);
    checkMemory(dump, pageSizeOf(dump, known, options), segments);
  });
}

/**
 * The cheap part of it: whether the images are there that every dump has, and whether pages files have the size that their
 * pagemaps say.
 * @throws {DumpError} if `path` is no directory, or cannot be listed
 */
export function quickFindings(path: string, options: VerifyOptions = {}): Finding[] {
  const findings: Finding[] = [];
  check(
    path,
    (finding) => findings.push(finding),
    options,
    (dump) => {
      const known = survey(dump);
      checkPresence(dump, known);
      checkPages(dump, pageSizeOf(dump, known, options));
    },
  );
  return findings;
}

const pageSizeOf = (dump: DumpFiles, { march }: Survey, { pageSize, index }: VerifyOptions): number =>
  pageSize ?? index?.pageSize ?? findPageSize(dump, march);

function check(
  path: string,
  take: (finding: Finding) => void,
  { index }: VerifyOptions,
  run: (dump: DumpFiles) => void,
): Verdict {
  if (!index && !onFile(path, () => statSync(path)).isDirectory()) {
    throw new DumpError('NOT_A_DUMP', 'expected a directory with images, found something else', { file: path });
  }
  const findings = new Findings(take);
  const dump = new DumpFiles(path, findings, { index });
  try {
    run(dump);
  } catch (error) {
    // Somebody writes to the archive: there is no more to be said of it.
    if (!(error instanceof DumpError) || error.code !== 'CHANGED') throw error;
    findings.add(findingOf(error, '', path));
  } finally {
    dump.close();
  }
  findings.end();
  return { errors: findings.errors, warnings: findings.warnings, files: dump.sizes.size };
}
