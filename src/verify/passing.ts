/**
 * The cheap part of verify for a dump that passes as records, with the checks that the source of the records does not make.
 * Only the images that say which processes there are are held.
 */
import { HeldFiles } from '../arrival/hold.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../dump/extents.js';
import { pagesName } from '../dump/names.js';
import type { DumpRecord, FileRecord, RunsRecord } from '../dump/records.js';
import type { MemoryBudget } from '../io/byte-queue.js';
import { CONTINUES } from '../memory/runs.js';
import { CheckedDump } from './checked-dump.js';
import { type Finding, Findings } from './findings.js';
import { checkPresence } from './presence.js';
import { type FlagNotes, LazyPages, noteFlags } from './run-flags.js';
import { survey } from './survey.js';

/** What {@link survey} reads; a link may lead to one in a folder. */
const SURVEYED = /(^|\/)((inventory|pstree|(core|ids)-\d+)\.img|pagepipe-partial\.json)$/;

export class PassingDump {
  private readonly files: HeldFiles;
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly found: Finding[] = [];
  private readonly findings = new Findings((finding) => this.found.push(finding));
  private readonly lazy = new LazyPages();
  /** The image that payload belongs to, if it is held. */
  private image: string | undefined;
  /** The space whose runs are passing. */
  private space: (FlagNotes & { pagemap: string; entries: number }) | undefined;

  /** @param path of the source, for errors */
  constructor(path: string, budget: MemoryBudget) {
    this.files = new HeldFiles(path, { budget });
  }

  /** Looks at the next record. */
  see(record: DumpRecord): void {
    if (record.type === 'bytes') this.take(record.bytes);
    else if (record.type === 'extents' && this.image) for (const bytes of this.extents.read(record)) this.take(bytes);
    else if (record.type === 'file') this.file(record);
    else if (record.type === 'runs') this.runs(record);
    else if (record.type === 'space') {
      this.add(record.space.pagemap);
      this.add(pagesName(record.space));
    }
  }

  /** The findings, when everything but the end has come. */
  end(): Finding[] {
    this.endSpace();
    const dump = new CheckedDump(this.files, this.findings);
    checkPresence(dump, survey(dump));
    this.lazy.tell(this.findings);
    this.findings.end();
    return this.found;
  }

  close(): void {
    this.files.close();
  }

  private file(record: FileRecord): void {
    const isSurveyed = SURVEYED.test(record.name);
    this.files.add(record, isSurveyed);
    this.image = isSurveyed ? record.name : undefined;
  }

  private take(bytes: Uint8Array): void {
    if (this.image !== undefined) this.files.push(this.image, bytes);
  }

  /** A pagemap or a pages file: it only matters that it exists. */
  private add(name: string): void {
    this.files.add({ name, kind: 'regular', mode: 0 }, false);
  }

  private runs({ space: { pagemap }, runs }: RunsRecord): void {
    this.image = undefined;
    if (this.space?.pagemap !== pagemap) {
      this.endSpace();
      this.space = { pagemap, entries: 0, firstParentEntry: undefined, lazyPages: 0 };
    }
    noteFlags(this.space, runs, this.space.entries, this.findings, pagemap);
    // A stage may have cut an entry in pieces.
    for (const bits of runs.bits) if (!(bits & CONTINUES)) this.space.entries++;
  }

  private endSpace(): void {
    if (this.space) this.lazy.add(this.space.pagemap, this.space);
  }
}
