/** What a core says of a process and its threads, from the images of the dump. */
import type { Images } from '../dump/images.js';
import { readMm } from '../dump/images.js';
import { isDead } from '../dump/tasks.js';
import { DumpError } from '../errors.js';
import { coreOf, processesOf } from '../explore/processes.js';
import type { core_entry, creds_entry } from '../generated/entries.js';
import { repeatedNumbers } from '../image/mm.js';
import { NumberFields, type Word } from '../image/number-fields.js';
import { encodeText } from '../protobuf/object.js';
import { type Machine, machineOf } from './machine.js';
import type { ProcessIds, ProcessInfo, ThreadStatus } from './notes.js';

/** Words of an auxiliary vector: CRIU has room for 64. */
const MAX_AUXILIARY_WORDS = 1024;

/** Of `task_core_entry.task_state`. Source: CRIU, compel task-state.h. */
const TASK_STOPPED = 3;

/** A process that has memory and threads. */
export class CoreProcess {
  readonly machine: Machine;
  private readonly main: core_entry;

  private constructor(
    readonly images: Images,
    readonly ids: ProcessIds,
    private readonly threads: readonly number[],
  ) {
    const file = coreName(ids.pid);
    this.main = coreOf(images, ids.pid);
    if (isDead(this.main)) {
      throw new DumpError('UNSUPPORTED', `process ${ids.pid} is a zombie, which has no memory and no registers`, {
        file,
      });
    }
    this.machine = machineOf(this.main, file);
  }

  /** @throws {DumpError} MISSING_IMAGE for an id that is not in the dump, UNSUPPORTED for a zombie or another machine */
  static of(images: Images, pid: number): CoreProcess {
    const entry = processesOf(images).find((process) => process.pid === pid);
    if (!entry) {
      throw new DumpError('MISSING_IMAGE', `no process has the id ${pid}`, {
        file: 'pstree.img',
        hint: 'pagepipe x DUMP ps lists the processes; ids are those inside their pid namespace',
      });
    }
    const { ppid, pgid, sid, threads = [] } = entry;
    return new CoreProcess(images, { pid, ppid, pgid, sid }, threads);
  }

  /** The process as a whole. @param args the start of its arguments, as they are in memory */
  info(args: Uint8Array): ProcessInfo {
    const { tc, thread_core } = this.main;
    const { uid = 0, gid = 0 } = this.credentials() ?? {};
    return {
      ...this.ids,
      state: tc?.task_state === TASK_STOPPED ? 'stopped' : 'running',
      nice: thread_core?.sched_nice ?? 0,
      flags: tc?.flags ?? 0,
      uid,
      gid,
      comm: encodeText(tc?.comm ?? '') ?? new Uint8Array(0),
      args,
    };
  }

  /** The notes of each thread, the main thread first. One core image is in memory at a time. */
  *threadNotes(): Generator<Uint8Array[]> {
    const { pid } = this.ids;
    yield this.notesOf(pid, this.main);
    for (const tid of this.threads) {
      if (tid !== pid) yield this.notesOf(tid, this.images.first(coreName(tid), 'core_entry', 'pstree.img'));
    }
  }

  /** Of its mm image. */
  memory(): { auxiliary: bigint[]; argStart: Word; argEnd: Word } {
    const { images, ids } = this;
    const mm = new NumberFields('mm_entry', ['mm_arg_start', 'mm_arg_end']);
    let auxiliary: bigint[] = [];
    readMm(images, ids.pid, (message) => {
      mm.read(message);
      const words = repeatedNumbers(message, 'mm_saved_auxv', MAX_AUXILIARY_WORDS);
      auxiliary = words.map(({ lo, hi }) => (BigInt(hi) << 32n) | BigInt(lo));
    });
    const { mm_arg_start: start, mm_arg_end: end } = mm.fields;
    return { auxiliary, argStart: start, argEnd: end };
  }

  get threadCount(): number {
    return new Set([this.ids.pid, ...this.threads]).size;
  }

  private notesOf(tid: number, core: core_entry): Uint8Array[] {
    const { thread_core, tc } = core;
    const status: ThreadStatus = {
      ...this.ids,
      pid: tid,
      pendingSignals: signalMask(thread_core?.signals_p?.signals),
      blockedSignals: tc?.blk_sigset ?? thread_core?.blk_sigset ?? 0n,
    };
    return this.machine.threadNotes(core, status, coreName(tid));
  }

  /** In older dumps they have an image of their own. */
  private credentials(): creds_entry | undefined {
    const { creds } = this.main.thread_core ?? {};
    const name = `creds-${this.ids.pid}.img`;
    if (creds || !this.images.has(name)) return creds;
    return this.images.first(name, 'creds_entry');
  }
}

const coreName = (tid: number): string => `core-${tid}.img`;

/** A bit for each of these signals, whose number is at the start of a siginfo_t. */
function signalMask(signals: readonly { siginfo: Uint8Array }[] = []): bigint {
  let mask = 0n;
  for (const { siginfo } of signals) {
    const number = siginfo.length < 4 ? 0 : Buffer.from(siginfo).readInt32LE(0);
    if (number >= 1 && number <= 64) mask |= 1n << BigInt(number - 1);
  }
  return mask;
}
