/**
 * An inspection as text. The first part fits a screen; the others are whole lists. Whatever comes from the dump stays in its
 * line and commands no terminal.
 */
import prettyBytes from 'pretty-bytes';
import { counted, oneLine } from '../printable.js';
import { quoteWord } from '../shell.js';
import { columns, indented } from './columns.js';
import type { ContainerData } from './container.js';
import type { DumpData, Inspection, Section } from './inspect.js';
import type { KindAmounts, MemoryData } from './memory-totals.js';
import type { ProcessFiles } from './open-files.js';
import type { ProcessDetails } from './processes.js';
import { commandLine, processesText, treeText } from './processes-text.js';
import type { SocketData } from './sockets.js';

/** So many processes and sockets are on the first screen. */
const MOST_PROCESSES = 16;
const MOST_SOCKETS = 8;

export const bytes = (count: number): string => prettyBytes(count, { binary: true });

/** What an inspection shows on one screen. */
export function summaryText(inspection: Inspection): string {
  const { dump, container, processes, memory, sockets, plugins, gaps } = inspection;
  const facts = [...containerFacts(container), ...dumpFacts(dump)];
  const perhaps = (name: string, text: string) => (text === '' ? [] : [[name, text]]);
  facts.push(...perhaps('plugins', plugins.needed.map(oneLine).join(', ')), ['size', sizesText(dump, container)]);
  const tree = treeText(processes, MOST_PROCESSES);
  const threads = processes.reduce((sum, process) => sum + Math.max(0, process.threads.length - 1), 0);
  const more = threads === 0 ? '' : `, ${counted(threads, 'more thread')}`;
  return [
    columns(facts),
    `\nprocesses (${processes.length}${more})\n${indented(tree)}`,
    memory ? `\nmemory\n${indented(kindsText(memory.kinds, memory.total))}` : '',
    sockets.length === 0 ? '' : `\nsockets (${socketCounts(sockets)})\n${indented(socketsText(foremost(sockets)))}`,
    sockets.length > MOST_SOCKETS ? `  … all with --sockets\n` : '',
    gapsText(gaps),
  ].join('');
}

/** The parts that were asked for. */
export function sectionsText(inspection: Inspection, sections: readonly Section[]): string {
  const { container, processes, memory, sockets } = inspection;
  const parts: Record<Section, () => string> = {
    container: () => (container ? containerText(container) : 'no container engine has made this dump\n'),
    psTree: () => treeText(processes),
    cmd: () =>
      columns(
        processes.map(({ pid, args, comm }) => [String(pid), commandLine(args?.texts, comm)]),
        { right: [0] },
      ),
    env: () => processes.map((process) => `${heading(process)}\n${indented(environmentText(process))}`).join(''),
    files: () => {
      const descriptors = new Map(inspection.files?.map((each) => [each.pid, each.descriptors]));
      return processes.map((process) => filesText(process, descriptors.get(process.pid))).join('');
    },
    sockets: () => (sockets.length === 0 ? 'no sockets\n' : socketsText(sockets)),
    mounts: () => mountsText(inspection),
    memory: () => (memory ? memoryText(memory, processes) : ''),
    kernel: () => processesText(inspection),
  };
  const titles: Record<Section, string> = {
    container: 'container',
    psTree: 'processes',
    cmd: 'command lines',
    env: 'environments',
    files: 'open files',
    sockets: 'sockets',
    mounts: 'mounts',
    memory: 'memory',
    kernel: 'state in the kernel',
  };
  const texts = sections.map((section) => ({ title: titles[section], text: parts[section]() }));
  const body =
    texts.length === 1
      ? (texts[0]?.text ?? '')
      : texts.map(({ title, text }) => `${title}\n${indented(text)}`).join('\n');
  return body + gapsText(inspection.gaps);
}

function gapsText(gaps: Inspection['gaps']): string {
  if (gaps.length === 0) return '';
  return `\nnot shown, because it cannot be read\n${indented(
    columns(gaps.map(({ file, message }) => [oneLine(file), oneLine(message)])),
  )}`;
}

function containerFacts(container: ContainerData | null): string[][] {
  if (!container) return [];
  const { engine, engineVersion, name, id, image, runtime, runtimeVersion, created, checkpointed, restored } =
    container;
  const pod =
    container.pod && [container.pod.namespace, container.pod.name ?? container.pod.id].filter(Boolean).join('/');
  const facts: [string, string | null][] = [
    ['engine', joined(engine, engineVersion)],
    ['container', joined(name, id && (name ? `(${id.slice(0, 12)})` : id))],
    ['pod', pod],
    ['image', image],
    [
      'runtime',
      runtimeVersion && runtime && runtimeVersion.startsWith(runtime)
        ? runtimeVersion
        : joined(runtime, runtimeVersion),
    ],
    [
      'network',
      container.network
        .map(({ address, mac }) => joined(address, mac) ?? '')
        .filter(Boolean)
        .join(', ') || null,
    ],
    ['hostname', container.hostname],
    ['created', created],
    ['checkpoint', joined(checkpointed, restored && `(restored before, ${restored})`)],
  ];
  return facts.flatMap(([key, value]) => (value ? [[key, oneLine(value)]] : []));
}

const joined = (...words: (string | null)[]): string | null => words.filter(Boolean).join(' ') || null;

function dumpFacts(dump: DumpData): string[][] {
  const { container, compression, written, machine, pageSize, criu, hasParent } = dump;
  const images = criu.imagesVersion === null ? '' : `images of version ${criu.imagesVersion}`;
  const version = criu.version === null ? images : [criu.version, images].filter(Boolean).join(', ');
  return [
    ['dump', `${oneLine(dump.path)} (${[container, compression].filter(Boolean).join(', ')})`],
    ...(written === null ? [] : [['written', written]]),
    [
      'CRIU',
      `${oneLine(version)}${criu.isCompressed ? ', compressed pages' : ''}${hasParent ? ', builds on a parent dump' : ''}`,
    ],
    ['machine', `${machine ?? 'unknown'}, pages of ${bytes(pageSize)}`],
  ];
}

function sizesText({ bytes: { pages, images, gpu } }: DumpData, container: ContainerData | null): string {
  const parts = [`${bytes(pages)} of pages`, `${bytes(images)} of other images`];
  if (gpu > 0) parts.push(`${bytes(gpu)} of GPU memory`);
  const around = (container?.files ?? []).filter(({ name }) => name.endsWith('.tar'));
  for (const { name, bytes: size } of around.slice(0, 3)) parts.push(`${oneLine(name)} ${bytes(size)}`);
  return parts.join(', ');
}

/** Kinds of memory, one a line. */
export function kindsText(kinds: readonly KindAmounts[], total: KindAmounts): string {
  const all = [...kinds, total];
  const fields = (['stored', 'parent', 'missing', 'lazy'] as const).filter(
    (field) => field === 'stored' || total[field] > 0,
  );
  const names = { stored: 'in the dump', parent: 'in a parent', missing: 'missing', lazy: 'lazy' };
  const rows = all.map((kind) => [
    kind.kind,
    String(kind.areas),
    bytes(kind.mapped),
    ...fields.map((field) => (kind[field] === 0 ? '-' : bytes(kind[field]))),
  ]);
  const head = ['', 'areas', 'mapped', ...fields.map((field) => names[field])];
  return columns([head, ...rows], { right: head.map((_, i) => i).slice(1) });
}

function memoryText(memory: MemoryData, processes: Inspection['processes']): string {
  const names = new Map(processes.map(({ pid, comm }) => [pid, comm]));
  const parts = (memory.processes ?? []).map(({ pid, kinds, total, shared }) => {
    const more = shared === 0 ? '' : `, and ${bytes(shared)} of shared memory`;
    return `pid ${pid} ${oneLine(names.get(pid) ?? '')}: ${bytes(total.stored)} in the dump${more}\n${indented(kindsText(kinds, total))}`;
  });
  const segments = memory.segments ?? [];
  if (segments.length > 0) {
    const rows = segments.map(({ id, name, bytes: size, stored }) => [
      String(id),
      bytes(size),
      bytes(stored),
      name === null ? '' : oneLine(name),
    ]);
    parts.push(
      `shared memory\n${indented(columns([['id', 'size', 'in the dump', 'name'], ...rows], { right: [0, 1, 2] }))}`,
    );
  }
  return parts.join('');
}

/** Listening and connected sockets come first: a program has many unconnected ones of little interest. */
function foremost(sockets: readonly SocketData[]): SocketData[] {
  const rank = ({ protocol, state }: SocketData) =>
    (state === 'LISTEN' ? 0 : state === 'ESTABLISHED' ? 1 : 2) +
    (protocol === 'unix' ? 4 : protocol === 'netlink' ? 8 : 0);
  return sockets.toSorted((a, b) => rank(a) - rank(b)).slice(0, MOST_SOCKETS);
}

function socketCounts(sockets: readonly SocketData[]): string {
  const counts = new Map<string, number>();
  for (const { protocol } of sockets) counts.set(protocol, (counts.get(protocol) ?? 0) + 1);
  return [...counts].map(([protocol, count]) => `${count} ${oneLine(protocol)}`).join(', ');
}

function socketsText(sockets: readonly SocketData[]): string {
  const rows = sockets.map((socket) => {
    const { protocol, type, state, received, unsent, local, remote, peer, owners } = socket;
    return [
      oneLine(protocol === 'unix' || protocol === 'netlink' ? `${protocol} ${type.toLowerCase()}` : protocol),
      oneLine(state),
      received > 0 ? bytes(received) : '-',
      unsent > 0 ? bytes(unsent) : '-',
      oneLine(local ?? '-'),
      oneLine(remote ?? (peer === undefined ? '-' : `inode ${peer}`)),
      owners.map(({ pid, fd }) => `${pid}:${fd}`).join(' '),
    ];
  });
  const head = ['socket', 'state', 'received', 'unsent', 'local', 'remote', 'pid:fd'];
  return columns([head, ...rows], { right: [2, 3] });
}

function mountsText({ mounts = [] }: Inspection): string {
  if (mounts.length === 0) return 'no mounts of their own\n';
  const rows = mounts.map(({ namespace, mountpoint, fileSystem, source, root, flags, options, isExternal }) => [
    String(namespace),
    oneLine(mountpoint),
    oneLine(fileSystem),
    oneLine(source),
    oneLine(root),
    oneLine([...flags, options].filter(Boolean).join(',')) + (isExternal ? ' (external)' : ''),
  ]);
  return columns([['namespace', 'place', 'type', 'source', 'root', 'options'], ...rows], { right: [0] });
}

const heading = ({ pid, comm }: { pid: number; comm: string | null }): string =>
  comm === null ? `pid ${pid}` : `pid ${pid} ${oneLine(comm)}`;

function environmentText({ state, env }: ProcessDetails): string {
  if (state === 'zombie') return 'a zombie\n';
  if (!env?.texts) return `not in the dump${env?.state ? `: ${env.state}` : ''}\n`;
  return [...env.texts.map(oneLine), ...(env.isCut ? ['… and more'] : [])].map((line) => `${line}\n`).join('');
}

function filesText(process: ProcessDetails, descriptors: ProcessFiles['descriptors'] = []): string {
  const place = (what: string, path: string | null) => (path === null ? [] : [[what, '', '', '', oneLine(path)]]);
  const rows = descriptors.map(({ fd, type, flags, position, size, name, remap }) => [
    String(fd),
    oneLine(type),
    position === null ? '' : `${position}${size === null ? '' : ` of ${size}`}`,
    oneLine((flags ?? '').replaceAll('O_', '').toLowerCase()),
    oneLine(name ?? '') + (remap === undefined ? '' : ` (deleted, ${remap})`),
  ]);
  const { exe, cwd, root } = process;
  rows.push(...place('exe', exe), ...place('cwd', cwd), ...place('root', root));
  const head = ['fd', 'type', 'position', 'flags', 'file'];
  return `${heading(process)}\n${indented(columns(rows.length === 0 ? [] : [head, ...rows], { right: [0] }))}`;
}

function containerText(container: ContainerData): string {
  const { process, mounts, annotations, imageAnnotations, files, deletedFiles, host, imageId, network } = container;
  const list = (title: string, lines: readonly string[]) =>
    lines.length === 0 ? '' : `${title}\n${indented(lines.map((line) => `${oneLine(line)}\n`).join(''))}`;
  const pairs = (map: Record<string, string>) => Object.entries(map).map(([key, value]) => `${key}=${value}`);
  const facts = containerFacts(container);
  for (const [key, value] of [
    ['id', container.id],
    ['image id', imageId],
    ['host', joined(host.arch, host.kernel, host.distribution)],
    ['command', process.args.length === 0 ? null : process.args.map(quoteWord).join(' ')],
    ['folder', process.cwd],
  ] as const) {
    if (value) facts.push([key, oneLine(value)]);
  }
  return [
    columns(facts),
    list(
      'network',
      network.map(
        (each) => joined(each.interface, each.address, each.gateway && `via ${each.gateway}`, each.mac) ?? '',
      ),
    ),
    list('environment', process.env),
    list(
      'mounts',
      mounts.map(({ destination, type, source, options }) =>
        [destination, type, source, options.join(',')].map((word) => word || '-').join('  '),
      ),
    ),
    list('annotations', pairs(annotations)),
    list('annotations of the image', pairs(imageAnnotations)),
    list(
      'files around the images',
      files.map(({ name, bytes: size }) => `${name}  ${bytes(size)}`),
    ),
    list('deleted files', deletedFiles),
  ].join('');
}
