/**
 * What is known of the container that a dump is of. podman and CRI-O, containerd by its CRI plug-in, and the images that
 * podman and checkpointctl make, each say it in their own places: see docs/inspect.md.
 */
import type { DumpOrigin } from '../dump/files.js';
import type { Attempt } from './gaps.js';
import type { OutsideFile, OutsideFiles } from './outside.js';
import { booleanAt, entriesAt, innerJson, listAt, textAt, textMapAt, textsAt, timeAt } from './untrusted.js';

export interface ContainerMount {
  destination: string | null;
  type: string | null;
  source: string | null;
  options: string[];
}

export interface ContainerData {
  /** `podman`, `cri-o`, `containerd`, or another name that the container gives; null if nothing says it. */
  engine: string | null;
  engineVersion: string | null;
  name: string | null;
  id: string | null;
  image: string | null;
  imageId: string | null;
  runtime: string | null;
  runtimeVersion: string | null;
  /** RFC 3339. */
  created: string | null;
  checkpointed: string | null;
  /** When the container was last restored, if it was. */
  restored: string | null;
  pod: { name: string | null; namespace: string | null; id: string | null } | null;
  network: { interface: string | null; address: string | null; gateway: string | null; mac: string | null }[];
  hostname: string | null;
  /** What the container was started with. */
  process: { args: string[]; env: string[]; cwd: string | null };
  mounts: ContainerMount[];
  annotations: Record<string, string>;
  /** Of an OCI image: those of its manifest, and what the index calls it. */
  imageAnnotations: Record<string, string>;
  /** The machine that the checkpoint was made on. */
  host: { arch: string | null; kernel: string | null; distribution: string | null };
  /** Files around the images. */
  files: OutsideFile[];
  /** Paths that the container had removed from its image. */
  deletedFiles: string[];
  /** The version of CRIU, if an image says it, as 4.2.1. */
  criu: string | null;
}

/** What the annotations of an image begin with. */
const PREFIXES = [
  'io.podman.annotations.checkpoint.',
  'org.criu.checkpoint.',
  'io.kubernetes.cri-o.annotations.checkpoint.',
];

/** Names of engines in `io.container.manager`. */
const MANAGERS: Record<string, string> = { libpod: 'podman' };

/** Undefined for a dump that no container engine has made, as far as it shows. */
export function readContainer(
  outside: OutsideFiles,
  image: DumpOrigin['image'],
  attempt: Attempt,
): ContainerData | undefined {
  const json = (name: string) => attempt(name, () => outside.json(name));
  const [config, spec] = [json('config.dump'), json('spec.dump')];
  const imageAnnotations = { ...annotationsOf(image?.index, 'manifests', '0'), ...annotationsOf(image?.manifest) };
  if (config === undefined && spec === undefined && !image) return undefined;
  const annotations = textMapAt(spec, 'annotations');
  const said = (...names: string[]) => firstText(names.map((name) => annotations[name]));
  const byImage = (...names: string[]) =>
    firstText(names.flatMap((name) => PREFIXES.map((prefix) => imageAnnotations[`${prefix}${name}`])));
  const crio = innerJson(said('io.kubernetes.cri-o.Metadata'));
  const pod = {
    name: said('io.kubernetes.pod.name', 'io.kubernetes.cri.sandbox-name') ?? byImage('pod.name'),
    namespace: said('io.kubernetes.pod.namespace', 'io.kubernetes.cri.sandbox-namespace') ?? byImage('pod.namespace'),
    id: said('io.kubernetes.cri-o.SandboxID', 'io.kubernetes.cri.sandbox-id') ?? byImage('pod.id'),
  };
  const network = networksOf(json('network.status'));
  const ip = said('io.kubernetes.cri-o.IP.0');
  if (ip !== null && network.length === 0) network.push({ interface: null, address: ip, gateway: null, mac: null });
  return {
    engine: engineOf(annotations, imageAnnotations, byImage('engine.name'), outside),
    engineVersion: byImage('podman.version', 'engine.version', 'cri-o.version'),
    name:
      textAt(crio, 'name') ??
      said('io.kubernetes.cri.container-name') ??
      textAt(config, 'name') ??
      byImage('container.name', 'name'),
    id: textAt(config, 'id'),
    image:
      textAt(config, 'rootfsImageName') ?? textAt(config, 'rootfsImage') ?? byImage('rootfsImageName', 'rawImageName'),
    imageId: textAt(config, 'rootfsImageID') ?? textAt(config, 'rootfsImageRef') ?? byImage('rootfsImageID'),
    runtime: textAt(config, 'runtime') ?? byImage('runtime.name'),
    runtimeVersion: byImage('runtime.version')?.split('\n')[0] ?? null,
    created: timeAt(annotations, 'io.kubernetes.cri-o.Created') ?? timeAt(config, 'createdTime'),
    checkpointed:
      timeAt(config, 'checkpointedTime') ??
      timeAt(imageAnnotations, 'org.opencontainers.image.created') ??
      timeAt(image?.config, 'created'),
    restored: booleanAt(config, 'restored') ? timeAt(config, 'restoredTime') : null,
    pod: (pod.name ?? pod.namespace ?? pod.id) ? pod : null,
    network,
    hostname: textAt(spec, 'hostname'),
    process: {
      args: textsAt(spec, 'process', 'args'),
      env: textsAt(spec, 'process', 'env'),
      cwd: textAt(spec, 'process', 'cwd'),
    },
    mounts: listAt(spec, 'mounts').map((mount) => ({
      destination: textAt(mount, 'destination'),
      type: textAt(mount, 'type'),
      source: textAt(mount, 'source'),
      options: textsAt(mount, 'options'),
    })),
    annotations,
    imageAnnotations,
    host: {
      arch: byImage('host.arch'),
      kernel: byImage('host.kernel'),
      distribution: byImage('distribution.name'),
    },
    files: [...outside.list()],
    deletedFiles: textsAt({ list: json('deleted.files') }, 'list'),
    criu: criuVersion(byImage('criu.version')),
  };
}

function annotationsOf(value: unknown, ...keys: string[]): Record<string, string> {
  return textMapAt(value, ...keys, 'annotations');
}

const firstText = (texts: readonly (string | undefined)[]): string | null =>
  texts.find((text) => text !== undefined && text !== '') ?? null;

function engineOf(
  annotations: Record<string, string>,
  imageAnnotations: Record<string, string>,
  named: string | null,
  outside: OutsideFiles,
): string | null {
  const manager = annotations['io.container.manager'];
  if (manager) return MANAGERS[manager] ?? manager;
  if (named) return MANAGERS[named] ?? named;
  const keys = [...Object.keys(annotations), ...Object.keys(imageAnnotations)];
  if (keys.some((key) => key.startsWith('io.podman.'))) return 'podman';
  if (keys.some((key) => key.startsWith('io.kubernetes.cri-o.'))) return 'cri-o';
  if (keys.some((key) => key.startsWith('io.kubernetes.cri.')) || outside.has('status.dump')) return 'containerd';
  return null;
}

/** `network.status` of podman: by network, and in it by interface. */
function networksOf(status: unknown): ContainerData['network'] {
  return entriesAt({ status }, 'status').flatMap(([, network]) =>
    entriesAt(network, 'interfaces').flatMap(([name, card]) => {
      const subnets = listAt(card, 'subnets');
      return (subnets.length > 0 ? subnets : [undefined]).map((subnet) => ({
        interface: name,
        address: textAt(subnet, 'ipnet'),
        gateway: textAt(subnet, 'gateway'),
        mac: textAt(card, 'mac_address'),
      }));
    }),
  );
}

/** 40201 is 4.2.1. */
function criuVersion(text: string | null): string | null {
  if (text === null || !/^\d{5,6}$/.test(text)) return text;
  const number = Number(text);
  const [major, minor, patch] = [Math.floor(number / 10000), Math.floor(number / 100) % 100, number % 100];
  return patch === 0 ? `${major}.${minor}` : `${major}.${minor}.${patch}`;
}
