/**
 * The cheap part of verify for a dump that passes by as records and cannot be looked into beforehand: what the source of the
 * records does not ask for. Only what says which processes there are is held.
 */
import { HeldBytes } from '../archive/held-bytes.js';
import { ImageIndex } from '../archive/image-index.js';
import { MemberMap } from '../archive/indexed-members.js';
import type { SpoolBudget } from '../archive/spool.js';
import { CONTINUES } from '../memory/runs.js';
import { type DumpRecord, type FileRecord, pagesName, type RunsRecord } from '../records.js';
import { ExtentReader, FILE_PIECE_BYTES } from '../stream/extents.js';
import { DumpFiles } from './dump-files.js';
import { type Finding, Findings } from './findings.js';
import { checkPresence } from './presence.js';
import { type FlagNotes, LazyPages, noteFlags } from './run-flags.js';
import { survey } from './survey.js';

/** What {@link survey} reads; a link may lead to one in a folder. */
const SURVEYED = /(^|\/)(inventory|pstree|(core|ids)-\d+)\.img$/;

export class PassingDump {
  private readonly members = new MemberMap();
  private readonly held: HeldBytes;
  private readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  private readonly found: Finding[] = [];
  private readonly findings = new Findings((finding) => this.found.push(finding));
  private readonly lazy = new LazyPages();
  /** Takes the payload that is on its way, if that is held. */
  private take: ((bytes: Uint8Array) => void) | undefined;
  /** The space whose runs are on their way. */
  private space: (FlagNotes & { pagemap: string; entries: number }) | undefined;

  /** @param path of the source, for errors */
  constructor(
    private readonly path: string,
    budget: SpoolBudget,
  ) {
    this.held = new HeldBytes(budget);
  }

  /** Looks at the next record. */
  see(record: DumpRecord): void {
    if (record.type === 'bytes') this.take?.(record.bytes);
    else if (record.type === 'extents' && this.take) for (const bytes of this.extents.read(record)) this.take(bytes);
    else if (record.type === 'file') this.file(record);
    else if (record.type === 'runs') this.runs(record);
    else if (record.type === 'space') {
      this.add(record.space.pagemap);
      this.add(pagesName(record.space));
    }
  }

  /** What was found, when all but the end has come. */
  end(): Finding[] {
    this.endSpace();
    const index = new ImageIndex(this.path, { members: this.members, close: () => {} });
    const dump = new DumpFiles(this.path, this.findings, { index });
    checkPresence(dump, survey(dump));
    this.lazy.tell(this.findings);
    this.findings.end();
    return this.found;
  }

  close(): void {
    this.held.close();
  }

  private file({ name, kind, mode, size, target }: FileRecord): void {
    const bytes = kind === 'regular' && SURVEYED.test(name) ? this.held.file() : undefined;
    this.members.add(name, { kind, mode, size, bytes, ...(target ? { target } : {}) });
    this.take = bytes && ((piece) => bytes.push(piece));
  }

  /** A pagemap or pages: that it is there is all that matters. */
  private add(name: string): void {
    this.members.add(name, { kind: 'regular', mode: 0, size: 0 });
  }

  private runs({ space: { pagemap }, runs }: RunsRecord): void {
    this.take = undefined;
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
