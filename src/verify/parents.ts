/**
 * The dumps that a dump builds on. A PARENT entry has its pages in the parent, or in the parent of that, and so on. Each of
 * these dumps is checked as far as such entries lead into it.
 */
import { lstatSync, readlinkSync, realpathSync } from 'node:fs';
import { join } from 'node:path';
import type { DumpFiles } from '../dump/files.js';
import { MAX_CHAIN, openAddressSpace } from '../dump/pagemap.js';
import { isErrno } from '../errors.js';
import { addressHex, PE_PARENT } from '../memory/runs.js';
import type { AddressSpace } from '../memory/space.js';
import { CheckedDump } from './checked-dump.js';
import { checkSpace, type WatchRuns } from './space.js';

export class ParentChain {
  /** The dump itself, its parent, the parent of that, as far as they were needed. */
  private readonly dumps: CheckedDump[];
  private readonly chain: DumpFiles[];
  /** Whether the chain is broken, so that no page can be looked up. */
  private broken = false;
  /** The finding for a link that leads nowhere, which is reported only if pages should be there. */
  private deadEnd: { name: string; message: string } | undefined;

  /** Follows and checks the links `parent`. */
  constructor(
    private readonly dump: CheckedDump,
    private readonly pageSize: number,
  ) {
    this.dumps = [dump];
    this.chain = [dump.files];
    if (dump.files.kind === 'directory' || dump.files.kind === 's3') this.followLinks();
    else this.endAt(dump.files);
  }

  /** A dump in an archive or a stream has only the link to its parent, or the parent as plain files. */
  private endAt(files: DumpFiles): void {
    const link = files.entries().find(({ name }) => name === 'parent');
    if (link?.kind === 'regular') {
      this.fail('NO_PARENT', 'parent', 'expected a link to the parent dump, found something else');
    } else if (link?.kind === 'directory') {
      const message =
        'the parent dump has pages of this one, but a parent in a folder is only checked in a directory: unpack the dump first';
      this.deadEnd = { name: 'parent', message };
    } else if (link) {
      const target = Buffer.from(link.target ?? []).toString();
      const message = `expected the parent dump, which has pages of this one, found only a link to ${target}: it is neither in an archive nor in a stream`;
      this.deadEnd = { name: 'parent', message };
    }
  }

  private followLinks(): void {
    const { files } = this.dump;
    const seen = new Set([files.kind === 's3' ? files.path : realpathSync(files.path)]);
    for (let parent = this.parentOf(files); parent; parent = this.parentOf(parent)) {
      const prefix = 'parent/'.repeat(this.chain.length - 1);
      if (seen.has(parent.path)) {
        this.fail('PARENT_LOOP', `${prefix}parent`, `expected another dump, found ${parent.path} again`);
      } else if (this.chain.length > MAX_CHAIN) {
        this.fail('LIMIT', 'parent', `expected at most ${MAX_CHAIN} dumps in a chain of parents`);
      }
      if (this.broken) return;
      seen.add(parent.path);
      this.chain.push(parent);
    }
  }

  /** Looks up the pages of PARENT entries. */
  watch(pagemap: string): WatchRuns {
    let space: AddressSpace | undefined;
    let asked = false;
    return (runs, firstEntry) => {
      for (let i = 0; i < runs.bits.length; i++) {
        if (!((runs.bits[i] as number) & PE_PARENT)) continue;
        if (!asked) space = this.open(pagemap, firstEntry + i);
        asked = true;
        if (!space) return;
        const pageNumber = runs.pageNumbers[i] as number;
        const pages = runs.pages[i] as number;
        for (const segment of space.locate(pageNumber, pages)) {
          if (segment.state !== 'absent') continue;
          const from = addressHex(segment.pageNumber, this.pageSize);
          const to = addressHex(segment.pageNumber + segment.pages, this.pageSize);
          const message = `expected the pages 0x${from}-0x${to} in the parent dump, found none`;
          this.dump.error('NOT_IN_PARENT', pagemap, message, { entry: firstEntry + i });
        }
      }
    };
  }

  /**
   * The memory of a space in the parent dump, if it is sound in all dumps that its pages may be in.
   * @param entry the first one with pages in the parent
   */
  private open(pagemap: string, entry: number): AddressSpace | undefined {
    if (this.broken) return undefined;
    let parentEntry: number | undefined = entry;
    for (let level = 1; parentEntry !== undefined; level++) {
      const child = this.dumps[level - 1] as CheckedDump;
      const files = this.chain[level];
      if (!files) {
        if (this.deadEnd) {
          this.fail('NO_PARENT', this.deadEnd.name, this.deadEnd.message);
          return undefined;
        }
        const message = 'expected a parent dump, which has the pages of this entry, found no parent link';
        child.error('NO_PARENT', pagemap, message, { entry: parentEntry });
        return undefined;
      }
      this.dumps[level] ??= new CheckedDump(files, this.dump.findings, 'parent/'.repeat(level));
      const dump = this.dumps[level] as CheckedDump;
      dump.require(pagemap, `entry ${parentEntry} of ${child.prefix}${pagemap}`);
      if (!dump.isSound(pagemap)) return undefined;
      const { sound, firstParentEntry } = checkSpace(dump, pagemap, this.pageSize, new Map());
      if (!sound) return undefined;
      parentEntry = firstParentEntry;
    }
    return openAddressSpace(this.chain[1] as DumpFiles, pagemap, this.pageSize);
  }

  /** The dump that `parent` in a directory leads to. */
  private parentOf(files: DumpFiles): DumpFiles | undefined {
    const link = join(files.path, 'parent');
    const prefix = 'parent/'.repeat(this.chain.length - 1);
    const name = `${prefix}parent`;
    const found = files.kind === 's3' ? foundInStore(files) : foundAt(link);
    if (found === undefined) return undefined;
    let parent: DumpFiles | undefined;
    const looked = this.dump.attempt(name, () => {
      parent = files.parent();
    });
    this.broken ||= !looked;
    if (parent || !looked) return parent;
    const message = `expected a link to the directory of the parent dump, found ${found}`;
    // For CRIU a parent with such a link is the end of the chain.
    if (this.chain.length === 1) this.fail('NO_PARENT', name, message);
    else this.deadEnd = { name, message };
    return undefined;
  }

  private fail(code: 'NO_PARENT' | 'PARENT_LOOP' | 'LIMIT', file: string, message: string): void {
    this.broken = true;
    this.dump.error(code, file, message);
  }
}

/** What is in the place of a link, in words; undefined if nothing is. */
function foundAt(link: string): string | undefined {
  try {
    if (lstatSync(link).isSymbolicLink()) return `a link to ${readlinkSync(link)}, which leads to no directory`;
  } catch (error) {
    if (isErrno(error, 'ENOENT')) return undefined;
  }
  return 'something else';
}

/** The same of a dump in an object store, where the link is an object. */
function foundInStore(files: DumpFiles): string | undefined {
  const target = files.entries().find(({ name }) => name === 'parent')?.target;
  return target && `a link to ${Buffer.from(target)}, which leads to no dump`;
}
