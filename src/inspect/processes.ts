/** The processes of a dump: what they are, what they were started with, and what the kernel knows of them. */
import type { Images } from '../dump/images.js';
import { readMm } from '../dump/images.js';
import { mmName } from '../dump/names.js';
import { isDead } from '../dump/tasks.js';
import { coreOf } from '../explore/processes.js';
import type { MemoryState, TaskMemories, TaskMemory } from '../explore/task-memory.js';
import type { core_entry, Messages } from '../generated/entries.js';
import { NumberFields } from '../image/number-fields.js';
import type { Attempt } from './gaps.js';
import { bytesOf, type PageRange, pageRange, texts } from './memory-text.js';
import { LIMITS, NAMESPACES, signalsOf, signalWord } from './words.js';

/** The kernel allows no longer arguments, environment included, with a stack of 8 MiB. */
const MAX_TEXT_BYTES = 2 * 1024 * 1024;
/** Where only a line of the arguments is shown. */
const MAX_LINE_BYTES = 4096;
/** Of all processes: these texts are held until they are printed, and a text of JSON has a limit. */
const MAX_ALL_TEXT_BYTES = 16 * 1024 * 1024;

/** A list of texts from the memory of a process, and why it is missing or incomplete. */
export interface TextsData {
  /** Null if the dump does not have the memory that they are in. */
  texts: string[] | null;
  /** Where that memory is, if it is not in the dump. */
  state?: MemoryState;
  /** Whether there are more. */
  isCut?: true;
}

export interface CredentialsData {
  uid: number;
  gid: number;
  euid: number;
  egid: number;
  groups: number[];
  /** A mask in hexadecimal, of the effective capabilities. */
  capabilities: string;
  noNewPrivileges: boolean;
}

export interface SignalsData {
  /** For the process, and for its main thread. */
  pending: string[];
  blocked: string[];
  ignored: string[];
  /** Handled: signal and address of the handler. */
  handlers: Record<string, string>;
}

export interface ProcessDetails {
  pid: number;
  /** 0 for the root of the tree. */
  ppid: number;
  pgid: number;
  sid: number;
  comm: string | null;
  state: 'alive' | 'stopped' | 'zombie' | 'unknown';
  /** Ids and names; a zombie has none. */
  threads: { tid: number; comm: string | null }[];
  /** Null for a zombie. */
  args: TextsData | null;
  env?: TextsData | null;
  exe: string | null;
  cwd: string | null;
  root: string | null;
  credentials: CredentialsData | null;
  /** `null` means unlimited. */
  limits?: Record<string, { soft: string | null; hard: string | null }>;
  signals?: SignalsData;
  seccomp?: string | null;
  oomScoreAdjust?: number | null;
  nice?: number | null;
  /** Ids of namespaces in the dump, by type. */
  namespaces?: Record<string, number>;
  /** Paths by hierarchy. */
  cgroups?: Record<string, string>;
}

export interface ProcessOptions {
  /** Whether all of the arguments is wanted, and not only a line. */
  cmd: boolean;
  env: boolean;
  /** Limits, signals, namespaces and groups. */
  kernel: boolean;
}

export class ProcessReader {
  private readonly cgroups: Map<number, Record<string, string>>;
  /** Bytes of texts that may still be read. */
  private textBytesLeft = MAX_ALL_TEXT_BYTES;

  constructor(
    private readonly images: Images,
    private readonly memories: TaskMemories | undefined,
    private readonly attempt: Attempt,
    private readonly options: ProcessOptions,
  ) {
    this.cgroups = options.kernel ? (attempt('cgroup.img', () => readCgroups(images)) ?? new Map()) : new Map();
  }

  /** @param memory of the process, if it can be read */
  read(entry: Messages['pstree_entry'], memory: TaskMemory | undefined): ProcessDetails {
    const { pid, ppid, pgid, sid, threads = [] } = entry;
    const core = this.attempt(`core-${pid}.img`, () => coreOf(this.images, pid));
    const isZombie = core !== undefined && isDead(core);
    const { env } = this.options;
    const fs = isZombie
      ? undefined
      : this.attempt(`fs-${pid}.img`, () => this.images.first(`fs-${pid}.img`, 'fs_entry', 'pstree.img'));
    return {
      pid,
      ppid,
      pgid,
      sid,
      comm: core?.tc?.comm ?? null,
      state: stateOf(core),
      // CRIU leaves garbage there for a zombie.
      threads: isZombie ? [] : threads.map((tid) => ({ tid, comm: this.threadName(tid, pid, core) })),
      args: isZombie ? null : this.texts(pid, memory, 'arg', this.options.cmd ? MAX_TEXT_BYTES : MAX_LINE_BYTES),
      ...(env ? { env: isZombie ? null : this.texts(pid, memory, 'env', MAX_TEXT_BYTES) } : {}),
      exe: isZombie ? null : this.program(pid),
      cwd: this.path(fs?.cwd_id),
      root: this.path(fs?.root_id),
      credentials: credentialsOf(core),
      ...(this.options.kernel ? this.kernelSide(pid, core) : {}),
    };
  }

  private threadName(tid: number, pid: number, core: core_entry | undefined): string | null {
    if (tid === pid) return core?.thread_core?.comm ?? core?.tc?.comm ?? null;
    if (!this.options.kernel) return null;
    return this.attempt(`core-${tid}.img`, () => coreOf(this.images, tid).thread_core?.comm) ?? null;
  }

  private texts(pid: number, memory: TaskMemory | undefined, what: 'arg' | 'env', most: number): TextsData {
    const limit = Math.min(most, this.textBytesLeft);
    const range = this.attempt(mmName(pid), () => textRanges(this.images, pid, limit, memory?.pageSize ?? 4096)[what]);
    const found = range && memory && this.attempt(`pagemap-${pid}.img`, () => bytesOf(memory, range));
    if (found === undefined) return { texts: null };
    if (typeof found === 'string') return { texts: null, state: found };
    this.textBytesLeft -= found.bytes.length;
    return { texts: texts(found.bytes), ...(found.isCut ? { isCut: true } : {}) };
  }

  private program(pid: number): string | null {
    return (
      this.attempt(mmName(pid), () => this.path(mmFields(this.images, pid, ['exe_file_id']).exe_file_id.lo)) ?? null
    );
  }

  private path(id: number | undefined): string | null {
    if (id === undefined) return null;
    return this.attempt('files.img', () => this.memories?.pathOf(id)) ?? null;
  }

  private kernelSide(pid: number, core: core_entry | undefined): Partial<ProcessDetails> {
    const { tc, thread_core: thread } = core ?? {};
    const ids = this.images.has(`ids-${pid}.img`)
      ? this.attempt(`ids-${pid}.img`, () => this.images.first(`ids-${pid}.img`, 'task_kobj_ids_entry'))
      : core?.ids;
    return {
      limits: limitsOf(tc?.rlimits?.rlimits ?? []),
      ...(tc ? { signals: signalsData(tc, thread) } : {}),
      seccomp: thread?.seccomp_mode === undefined ? null : String(thread.seccomp_mode),
      oomScoreAdjust: tc?.oom_score_adj ?? null,
      nice: thread?.sched_nice ?? null,
      namespaces: namespacesOf(ids),
      cgroups: this.cgroups.get(thread?.cg_set ?? tc?.cg_set ?? -1) ?? {},
    };
  }
}

/** Where arguments and environment of a process are in its memory. */
export function textRanges(
  images: Images,
  pid: number,
  most: number,
  pageSize: number,
): Record<'arg' | 'env', PageRange> {
  const mm = mmFields(images, pid, ['mm_arg_start', 'mm_arg_end', 'mm_env_start', 'mm_env_end']);
  return {
    arg: pageRange(mm.mm_arg_start, mm.mm_arg_end, most, pageSize),
    env: pageRange(mm.mm_env_start, mm.mm_env_end, most, pageSize),
  };
}

/** The pages of a process that {@link ProcessReader} reads. */
export function wantedPages(images: Images, pid: number, pageSize: number, options: Pick<ProcessOptions, 'env'>) {
  const { arg, env } = textRanges(images, pid, MAX_TEXT_BYTES, pageSize);
  return options.env ? [arg, env] : [arg];
}

function mmFields<Name extends string>(images: Images, pid: number, names: readonly Name[]) {
  const mm = new NumberFields('mm_entry', names);
  readMm(images, pid, (message) => mm.read(message));
  return mm.fields;
}

function stateOf(core: core_entry | undefined): ProcessDetails['state'] {
  if (core && isDead(core)) return 'zombie';
  const state = core?.tc?.task_state;
  return state === 1 ? 'alive' : state === 3 ? 'stopped' : 'unknown';
}

/** Words of 32 bits, the lowest first, as one number in hexadecimal. */
const maskText = (words: readonly number[] = []): string =>
  `0x${words.reduceRight((mask, word) => (mask << 32n) | BigInt(word), 0n).toString(16)}`;

function credentialsOf(core: core_entry | undefined): CredentialsData | null {
  const creds = core?.thread_core?.creds;
  if (!creds) return null;
  const { uid, gid, euid, egid, groups = [], cap_eff: capabilities, no_new_privs: noNew } = creds;
  return { uid, gid, euid, egid, groups, capabilities: maskText(capabilities), noNewPrivileges: noNew === 1 };
}

const UNLIMITED = 2n ** 64n - 1n;

function limitsOf(limits: readonly { cur: bigint; max: bigint }[]): NonNullable<ProcessDetails['limits']> {
  const text = (value: bigint) => (value === UNLIMITED ? null : value.toString());
  return Object.fromEntries(
    limits
      .slice(0, LIMITS.length)
      .map(({ cur, max }, i) => [LIMITS[i] as string, { soft: text(cur), hard: text(max) }]),
  );
}

const SIGKILL = 9;
const SIGSTOP = 19;
const [DEFAULT, IGNORED] = [0n, 1n];

function signalsData(
  { blk_sigset: blocked, sigactions = [], signals_s: shared }: NonNullable<core_entry['tc']>,
  thread: core_entry['thread_core'],
): SignalsData {
  const pending = [...(shared?.signals ?? []), ...(thread?.signals_p?.signals ?? [])];
  const data: SignalsData = {
    pending: pending.map(({ siginfo }) => (siginfo.length > 3 ? signalWord(signalNumber(siginfo)) : '?')),
    blocked: signalsOf(thread?.blk_sigset ?? blocked),
    ignored: [],
    handlers: {},
  };
  // The actions of SIGKILL and SIGSTOP are left out: nobody can change them.
  let signal = 0;
  for (const { sigaction } of sigactions) {
    do signal++;
    while (signal === SIGKILL || signal === SIGSTOP);
    if (sigaction === IGNORED) data.ignored.push(signalWord(signal));
    else if (sigaction !== DEFAULT) data.handlers[signalWord(signal)] = `0x${sigaction.toString(16)}`;
  }
  return data;
}

/** `si_signo` is the first field of siginfo_t. */
const signalNumber = (siginfo: Uint8Array): number =>
  new DataView(siginfo.buffer, siginfo.byteOffset, siginfo.byteLength).getInt32(0, true);

function namespacesOf(ids: Messages['task_kobj_ids_entry'] | undefined): Record<string, number> {
  return Object.fromEntries(
    Object.entries(NAMESPACES).flatMap(([field, type]) => {
      const id = ids?.[field as keyof typeof NAMESPACES];
      return id === undefined ? [] : [[type, id]];
    }),
  );
}

function readCgroups(images: Images): Map<number, Record<string, string>> {
  const sets = new Map<number, Record<string, string>>();
  if (!images.has('cgroup.img')) return sets;
  images.each('cgroup.img', 'cgroup_entry', ({ sets: all = [] }) => {
    for (const { id, ctls = [] } of all) sets.set(id, Object.fromEntries(ctls.map(({ name, path }) => [name, path])));
  });
  return sets;
}
