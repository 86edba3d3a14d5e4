// The tree of processes, their cores, ids, folders, and what the inventory says.
import { of, swap, tolerated, undetectable, whole } from './change.mjs';

const tc =
  (change) =>
  ([core]) =>
    void change(core.tc);
const thread =
  (change) =>
  ([core]) =>
    void change(core.thread_core);
const info =
  (change) =>
  ([core]) =>
    void change(core.thread_info);
const NAMESPACE_FIELDS = ['pid', 'net', 'ipc', 'uts', 'mnt', 'user', 'cgroup', 'time'].map((kind) => `${kind}_ns_id`);

const giveAll = (field) => async (dump) => {
  for (const name of ['ids-ROOT', 'ids-CHILD', 'ids-OTHER']) await dump.edit(name, ([ids]) => void (ids[field] = 99));
};

export const tasks = [
  ...of('pstree', {
    'a thread twice': ([root]) => void root.threads.push(root.threads.at(-1)),
    'a thread without a core': ([root]) => void root.threads.push(999),
    'a thread that is another process': ([root, child]) => void (root.threads[2] = child.pid),
    'the threads in another order': ([root]) => swap(root.threads, 1, 2),
    'the first thread last': ([root]) => void root.threads.push(root.threads.shift()),
    'no threads': ([root]) => void (root.threads = []),
    'threads without the process itself': ([root]) => void root.threads.shift(),
    'two processes of one pid': ([, child, other]) => void (other.pid = child.pid),
    'a pid without images': ([, child]) => void (child.pid = 999),
    'a pid of 0': ([, child]) => void (child.pid = 0),
    'a parent that is missing': ([, child]) => void (child.ppid = 999),
    'a process that is its own parent': ([, child]) => void (child.ppid = child.pid),
    "two processes that are each other's parent": ([, child, other]) => {
      child.ppid = other.pid;
      other.ppid = child.pid;
    },
    'a parent that is a zombie': ([, child, , zombie]) => void (child.ppid = zombie.pid),
    'a first process that has a parent': ([root]) => void (root.ppid = 999),
    'two first processes': ([, child]) => void (child.ppid = 0),
    'a child before its parent': (entries) => swap(entries, 0, 1),
    'children in another order': (entries) => swap(entries, 1, 2),
    'a pgid of 0': ([, child]) => void (child.pgid = 0),
    'a pgid in another session': ([, child, other]) => void (child.pgid = other.pgid),
    'a sid of 0': ([, child]) => void (child.sid = 0),
    'a sid of a process that leads no session': ([, child, , zombie]) => void (zombie.sid = child.pid),
    'the first process leads no session': ([root, , other]) => void (root.sid = other.sid),
    'a zombie in a group of no process': (entries) => void (entries.at(-1).pgid = 999),
    'a zombie with no threads': (entries) => void (entries.at(-1).threads = []),
  }),
  ...undetectable(
    of('pstree', {
      'a thread is missing': ([root]) => void root.threads.pop(),
      'another parent': ([, child, other]) => void (other.ppid = child.pid),
      // A restore makes such a session by a process that ends at once.
      'the session of a brother': ([, child, other]) => void (child.sid = other.sid),
      'a pgid of no process': ([, child]) => void (child.pgid = 999),
      'another pgid in the session': ([root, child]) => void (child.pgid = root.pgid),
      'a sid of no process': ([, child]) => void (child.sid = 999),
      'a child is missing': (entries) => entries.filter((_, i) => i !== 1),
      'a zombie is missing': (entries) => entries.slice(0, -1),
    }),
  ),
  ...whole('core', {
    'that of a thread for a process': (dump) => dump.link('core-THREAD', 'core-ROOT'),
    'that of a process for a thread': (dump) => dump.link('core-ROOT', 'core-THREAD'),
    'that of another process': (dump) => dump.link('core-OTHER', 'core-CHILD'),
    'that of a zombie for a process': (dump) => dump.link('core-ZOMBIE', 'core-CHILD'),
    'that of a process for a zombie': (dump) => dump.link('core-CHILD', 'core-ZOMBIE'),
  }),
  ...of('core-ROOT', {
    'another architecture': ([core]) => void (core.mtype = 'AARCH64'),
    'no tc': ([core]) => void delete core.tc,
    'no thread_core': ([core]) => void delete core.thread_core,
    'no thread_info': ([core]) => void delete core.thread_info,
    'a live process said to be dead': tc((task) => (task.task_state = 2)),
    'a state that there is not': tc((task) => (task.task_state = 9)),
    'a name that is too long': tc((task) => (task.comm = 'a name that is much too long for a task')),
    'a personality of an unknown kind': tc((task) => (task.personality = 0x7f)),
    'a control group that is missing': thread((core) => (core.cg_set = 99)),
    'a control group for the process that is missing': tc((task) => (task.cg_set = 99)),
    'no timers': tc((task) => delete task.timers),
    'more microseconds than a second has': tc((task) => (task.timers.real.vusec = 2_000_000)),
    'an interval of too many microseconds': tc((task) => (task.timers.real.iusec = 2_000_000)),
    'a timer of an unknown clock': tc((task) => (task.timers.posix[0].clock_id = 99)),
    'a timer of an unknown signal': tc((task) => (task.timers.posix[0].si_signo = 200)),
    'a timer that notifies in an unknown way': tc((task) => (task.timers.posix[0].it_sigev_notify = 99)),
    'two timers of one number': tc((task) => task.timers.posix.push(task.timers.posix[0])),
    'a timer of a negative number': tc((task) => (task.timers.posix[0].it_id = 5_000_000)),
    'no limits': tc((task) => delete task.rlimits),
    'more limits than there are': tc((task) => task.rlimits.rlimits.push(...task.rlimits.rlimits.slice(0, 4))),
    'fewer limits than there are': tc((task) => (task.rlimits.rlimits.length = 5)),
    'a limit above its own': tc((task) => (task.rlimits.rlimits[4] = { cur: 2 << 20, max: 1 << 20 })),
    'no sigactions': tc((task) => delete task.sigactions),
    'fewer sigactions than signals': tc((task) => (task.sigactions.length = 10)),
    'more sigactions than signals': tc((task) => task.sigactions.push(...task.sigactions)),
    'a sigaction without a restorer': tc((task) => (task.sigactions[10].restorer = 0)),
    'half a siginfo': tc((task) => (task.signals_s.signals[0].siginfo = 'FwAAAAAAAAA=')),
    'a siginfo of a signal that there is not': tc(
      (task) => (task.signals_s.signals[0].siginfo = Buffer.alloc(128, 0xee).toString('base64')),
    ),
    'an oom_score_adj out of range': tc((task) => (task.oom_score_adj = 5000)),
    'no creds': thread((core) => delete core.creds),
    'one half of the capabilities': thread((core) => (core.creds.cap_prm = [0])),
    'no capabilities': thread((core) => (core.creds.cap_eff = [])),
    'more in effect than permitted': thread((core) => (core.creds.cap_prm = [0, 0])),
    'securebits of an unknown kind': thread((core) => (core.creds.secbits = 0xffff)),
    'a profile of a security module, which the dump has none of': thread((core) => (core.creds.lsm_profile = 'nobody')),
    'an unknown scheduling policy': thread((core) => (core.sched_policy = 99)),
    'a real-time policy without priority': thread((core) => (core.sched_policy = 1)),
    'a nice value out of range': thread((core) => (core.sched_nice = 100)),
    'a filter that is missing': thread((core) => (core.seccomp_filter = 99)),
    'filters and none named': thread((core) => delete core.seccomp_filter),
    'a filter and no mode': thread((core) => delete core.seccomp_mode),
    'an unknown mode of system calls': thread((core) => (core.seccomp_mode = 9)),
    'a list of futexes in no area': thread((core) => (core.futex_rla = 4096)),
    'a list of futexes of another length': thread((core) => (core.futex_rla_len = 99)),
    'an rseq area in no area': thread((core) => core.rseq_entry && (core.rseq_entry.rseq_abi_pointer = 4096)),
    'an rseq area of no length': thread((core) => core.rseq_entry && (core.rseq_entry.rseq_abi_size = 0)),
    'a death signal that there is not': thread((core) => (core.pdeath_sig = 200)),
    'a signal stack in no area': thread((core) => (core.sas = { ss_sp: 4096, ss_size: 8192, ss_flags: 0 })),
    'no place for the thread id': info((thread_info) => (thread_info.clear_tid_addr = 0)),
    'an instruction pointer in no area': info((thread_info) => (thread_info.gpregs.ip = 4096)),
    'a stack pointer in no area': info((thread_info) => (thread_info.gpregs.sp = 4096)),
    'no extended state': info((thread_info) => delete thread_info.fpregs.xsave),
    'half the registers of xmm': info((thread_info) => (thread_info.fpregs.xmm_space.length = 8)),
    'a thread-local base in no area': info((thread_info) => (thread_info.gpregs.fs_base = 4096)),
    'no descriptors of thread-local memory': info((thread_info) => (thread_info.tls = [])),
  }),
  ...undetectable(
    of('core-ROOT', {
      'a live process said to be stopped': tc((task) => (task.task_state = 3)),
      'strict mode of system calls': thread((core) => (core.seccomp_mode = 1)),
    }),
  ),
  ...of('core-THREAD', {
    'no thread_core': ([core]) => void delete core.thread_core,
    'no thread_info': ([core]) => void delete core.thread_info,
    'another architecture': ([core]) => void (core.mtype = 'AARCH64'),
    'a control group that is missing': thread((core) => (core.cg_set = 99)),
    'another user than the process': thread((core) => (core.creds.uid = 12345)),
  }),
  ...tolerated(
    of('core-THREAD', {
      'a filter that is missing': thread((core) => (core.seccomp_filter = 99)),
    }),
  ),
  ...of('core-ZOMBIE', {
    'a zombie said to live': tc((task) => (task.task_state = 1)),
    'no tc': ([core]) => void delete core.tc,
  }),
  ...undetectable(
    of('core-ZOMBIE', {
      'another exit code': tc((task) => (task.exit_code = 256)),
    }),
  ),
  ...of('seccomp', {
    'a filter of no bytes': ([{ seccomp_filters: filters }]) => void (filters[0].filter = ''),
    'an invalid filter': ([{ seccomp_filters: filters }]) => void (filters.at(-1).filter = '//////////8='),
    'a filter of half an instruction': ([{ seccomp_filters: filters }]) => void (filters.at(-1).filter = 'BgAA'),
    'a filter before it that is missing': ([{ seccomp_filters: filters }]) => void (filters.at(-1).prev = 99),
    'a filter that is before itself': ([{ seccomp_filters: filters }]) =>
      void (filters.at(-1).prev = filters.length - 1),
    'a filter less': ([{ seccomp_filters: filters }]) => void filters.pop(),
    'flags of an unknown kind': ([{ seccomp_filters: filters }]) => void (filters.at(-1).flags = 0xff00),
  }),
  ...of('fs-ROOT', {
    'a current folder that is not in the dump': ([fs]) => void (fs.cwd_id = 999),
    'a root folder that is not in the dump': ([fs]) => void (fs.root_id = 999),
    'a current folder that is a pipe': ([fs], { PIPE }) => void (fs.cwd_id = PIPE),
    'a current folder that is a device': ([fs], { DEVICE }) => void (fs.cwd_id = DEVICE),
    'no umask': ([fs]) => void delete fs.umask,
  }),
  ...of('ids-CHILD', {
    'the memory of the parent': ([ids]) => void (ids.vm_id = 2),
    'the signal handlers of the parent': ([ids]) => void (ids.sighand_id = 2),
    'the folders of the parent': ([ids]) => void (ids.fs_id = 2),
    ...Object.fromEntries(
      NAMESPACE_FIELDS.map((field) => [`a ${field} of its own without images`, ([ids]) => void (ids[field] = 99)]),
    ),
  }),
  ...undetectable(
    of('ids-CHILD', {
      'descriptors that have no image': ([ids]) => void (ids.files_id = 99),
      'the descriptors of the parent': ([ids], { FILES }) => void (ids.files_id = FILES),
    }),
  ),
  ...whole('ids', {
    ...Object.fromEntries(
      NAMESPACE_FIELDS.filter((field) => field !== 'net_ns_id').map((field) => [
        `a ${field} for all without images`,
        giveAll(field),
      ]),
    ),
    'those of another process': (dump) => dump.link('ids-ROOT', 'ids-CHILD'),
    'a namespace of the network without an id': (dump) => dump.edit('ids-ROOT', ([ids]) => void delete ids.net_ns_id),
  }),
  // Container engines give the network from outside: there are no images of it then.
  ...undetectable(whole('ids', { 'a net_ns_id for all without images': giveAll('net_ns_id') })),
  ...of('inventory', {
    'version 0': ([inventory]) => void (inventory.img_version = 0),
    'version 1': ([inventory]) => void (inventory.img_version = 1),
    'version 99': ([inventory]) => void (inventory.img_version = 99),
    'no root_ids': ([inventory]) => void delete inventory.root_ids,
    'no ns_per_id': ([inventory]) => void delete inventory.ns_per_id,
    'no fdinfo_per_id': ([inventory]) => void delete inventory.fdinfo_per_id,
    'a control group that is missing': ([inventory]) => void (inventory.root_cg_set = 99),
    'no control group': ([inventory]) => void delete inventory.root_cg_set,
    'another lock of the network': ([inventory]) => void (inventory.network_lock_method = 9),
    'another run id': ([inventory]) => void (inventory.dump_criu_run_id = 'another'),
    'time at the dump': ([inventory]) => void (inventory.dump_uptime = 5),
  }),
  // The restore needs the same option.
  ...undetectable(of('inventory', { tcp_close: ([inventory]) => void (inventory.tcp_close = true) })),
  ...of('inventory', {
    'another security module': ([inventory]) => void (inventory.lsmtype = 'SELINUX'),
    'an unknown plugin': ([inventory]) => void (inventory.plugins_entry = { plugins: ['no_such_plugin'] }),
  }),
];
