/**
 * Checks of a dump directory, for the time while the process that was dumped still exists. Nothing is written, no page is
 * read; what is found is handed on at once, and the next check goes on with what is left.
 */
import { statSync } from 'node:fs';
import { DumpError, onFile } from '../errors.js';
import { checkDataReferences } from './data-references.js';
import { checkImages } from './decoding.js';
import { DumpFiles } from './dump-files.js';
import { checkFileReferences } from './file-references.js';
import { type Finding, Findings } from './findings.js';
import { checkGhosts } from './ghosts.js';
import { checkMemory, checkPages } from './memory.js';
import { findPageSize } from './page-size.js';
import { checkPresence } from './presence.js';
import { checkProcesses } from './processes.js';
import { readSegments } from './segments.js';
import { survey } from './survey.js';
import { checkVersions } from './versions.js';

export interface VerifyOptions {
  /** Bytes; found out from the dump if it is not given. */
  pageSize?: number;
}

export interface Verdict {
  errors: number;
  warnings: number;
  /** Files in the directory. */
  files: number;
}

/**
 * Checks a dump.
 * @param take is given each finding when it is found
 * @throws {DumpError} if `path` is no directory, or cannot be listed
 */
export function verify(path: string, take: (finding: Finding) => void, options: VerifyOptions = {}): Verdict {
  return check(path, take, (dump) => {
    checkImages(dump);
    const known = survey(dump);
    checkPresence(dump, known);
    checkVersions(dump, known);
    checkProcesses(dump, known);
    const segments = readSegments(dump);
    const files = checkFileReferences(dump, known, segments);
    checkGhosts(dump);
    if (files) checkDataReferences(dump, known, files);
    checkMemory(dump, options.pageSize ?? findPageSize(dump, known.march), segments);
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
    (dump) => {
      const known = survey(dump);
      checkPresence(dump, known);
      checkPages(dump, options.pageSize ?? findPageSize(dump, known.march));
    },
  );
  return findings;
}

function check(path: string, take: (finding: Finding) => void, run: (dump: DumpFiles) => void): Verdict {
  if (!onFile(path, () => statSync(path)).isDirectory()) {
    throw new DumpError('NOT_A_DUMP', 'expected a directory with images, found something else', { file: path });
  }
  const findings = new Findings(take);
  const dump = new DumpFiles(path, findings);
  try {
    run(dump);
  } finally {
    dump.close();
  }
  findings.end();
  return { errors: findings.errors, warnings: findings.warnings, files: dump.sizes.size };
}
