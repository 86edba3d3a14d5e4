/** Which areas of which tasks are mapped, and why the others are not. */
import { approximate, NumberFields } from '../image/number-fields.js';
import { type Hindrance, mappableAreas } from './areas.js';
import type { HeldImages } from './images.js';
import { MappedArea } from './mapped-area.js';
import { type ProgramCheck, programsOf } from './programs.js';

export interface PlanOptions {
  /** Areas of at least so many bytes. */
  minBytes: number;
  /** The tasks that are looked at; all of them by default. */
  pids?: readonly number[] | undefined;
  /** Tasks that may depend on zeros behind MADV_DONTNEED, and are mapped nevertheless. */
  allowDontneed: readonly number[] | 'all';
  /** Looks at the programs of a task. */
  check: ProgramCheck;
}

/** What stays as it is, by reason. */
export interface Refused {
  areas: number;
  pages: number;
}

export interface TaskPlan {
  pid: number;
  /** Why nothing of the task is mapped. */
  eager: string | undefined;
  /** Ascending. */
  areas: MappedArea[];
  refused: Map<Hindrance, Refused>;
}

/** Tasks that were forked without an exec have all of these in common; ASLR makes them different otherwise. */
const LAYOUT = [
  'mm_start_code',
  'mm_end_code',
  'mm_start_stack',
  'mm_start_brk',
  'mm_arg_start',
  'mm_env_end',
  'exe_file_id',
] as const;

export class Planner {
  /** Areas of earlier tasks by layout and first page. */
  private readonly families = new Map<string, Map<number, MappedArea>>();

  constructor(
    private readonly images: HeldImages,
    private readonly options: PlanOptions,
    private readonly rules: { pageSize: number; march: number | undefined },
  ) {}

  /** Plans the next task. */
  plan(pid: number): TaskPlan {
    const refused: TaskPlan['refused'] = new Map();
    const plan: TaskPlan = { pid, eager: undefined, areas: [], refused };
    const mm = this.images.mmEntry(pid);
    const { pids, allowDontneed, check, minBytes } = this.options;
    if (!mm) return { ...plan, eager: 'it has no areas' };
    if (pids && !pids.includes(pid)) return { ...plan, eager: 'not selected' };
    const areas = mappableAreas(mm, { ...this.rules, minBytes }, (why, pages) => {
      const sum = refused.get(why) ?? { areas: 0, pages: 0 };
      refused.set(why, { areas: sum.areas + 1, pages: sum.pages + pages });
    });
    if (areas.length === 0) return plan;
    if (allowDontneed !== 'all' && !allowDontneed.includes(pid)) {
      const eager = check(programsOf(mm, this.images.regular));
      if (eager !== undefined) return { ...plan, eager };
    }
    const family = this.familyOf(mm);
    const mapped = areas.map(({ start, end }) => {
      const relative = family.get(start);
      return new MappedArea(pid, start, end, relative && end <= relative.end ? relative : undefined);
    });
    for (const area of mapped) if (!family.has(area.start)) family.set(area.start, area);
    return { ...plan, areas: mapped };
  }

  private familyOf(mm: { bytes: Uint8Array; start: number; end: number }): Map<number, MappedArea> {
    const entry = new NumberFields('mm_entry', LAYOUT);
    entry.read(mm);
    const key = LAYOUT.map((name) => approximate(entry.fields[name])).join();
    const family = this.families.get(key) ?? new Map<number, MappedArea>();
    this.families.set(key, family);
    return family;
  }
}
