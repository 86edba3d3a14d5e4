/** What is in a dump, from every container, and of dumps that lack something. */
import { mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { beforeEach, describe, expect, it } from 'vitest';
import type { HeldFiles } from '../../src/arrival/hold.js';
import { type Inspection, inspect, type Section } from '../../src/inspect/inspect.js';
import { inspectionPages } from '../../src/inspect/wanted-pages.js';
import { END, member, rawMembers } from '../helpers/archives.js';
import { cli } from '../helpers/cli.js';
import { directory, sourceFiles } from '../helpers/dump-files.js';
import { image, Message, writeDump } from '../helpers/dump-writer.js';
import { expectFits } from '../helpers/json-schema.js';
import { copyFixture, fixture, tempDir } from '../helpers/temp.js';

const PODMAN = fixture('podman/counter.tar.gz');
const FAMILY = fixture('family-criu-4.2.1');

let dir: string;
beforeEach(() => {
  dir = tempDir();
});

const at = (name: string) => join(dir, name);

/** Text on stdout, which is a file. */
async function text(path: string, ...words: string[]): Promise<string> {
  const stdin = path.startsWith('<') ? path.slice(1) : undefined;
  const stdout = at('stdout');
  const { code, stderr } = await cli(['inspect', stdin === undefined ? path : '-', ...words], {
    stdout,
    ...(stdin === undefined ? {} : { stdin }),
  });
  expect(code, stderr).toBe(0);
  return readFileSync(stdout, 'utf8');
}

async function inspected(path: string, ...words: string[]): Promise<Inspection> {
  const inspection = JSON.parse(await text(path, '--json', ...words));
  expectFits('inspect', inspection);
  return inspection;
}

/** All but what tells one container from another. */
const content = ({ dump, ...rest }: Inspection) => ({ ...rest, machine: dump.machine, bytes: dump.bytes.pages });

/** An archive in which the data of some members is replaced. */
function rewritten(replaced: Record<string, Uint8Array>): string {
  const parts = rawMembers(gunzipSync(readFileSync(PODMAN))).map(({ name, header, data }) => {
    const other = replaced[name];
    return other ? member(name, other) : Buffer.concat([header, padded(data)]);
  });
  const path = at('rewritten.tar');
  writeFileSync(path, Buffer.concat([...parts, END]));
  return path;
}

const padded = (data: Buffer): Buffer => Buffer.concat([data, Buffer.alloc(-data.length & 511)]);

const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value));

describe('inspect', () => {
  it('shows an export by podman', async () => {
    const inspection = await inspected(PODMAN, '--all');
    expect(inspection.dump).toMatchObject({ container: 'tar', compression: 'gzip', machine: 'x86_64', pageSize: 4096 });
    expect(inspection.container).toMatchObject({
      engine: 'podman',
      name: 'counter',
      image: 'localhost/counter:1',
      runtime: 'runc',
      created: '2026-11-23T14:17:00Z',
      hostname: 'counter',
      deletedFiles: ['/etc/gone'],
      process: { args: ['/bin/counter'], cwd: '/' },
    });
    expect(inspection.container?.files).toContainEqual({ name: 'rootfs-diff.tar', bytes: 1536 });
    expect(inspection.container?.files).toContainEqual({ name: 'volumes/data.tar', bytes: 2560 });
    const [process] = inspection.processes;
    expect(process).toMatchObject({ pid: 1, comm: 'counter', state: 'alive', args: { texts: ['/bin/counter'] } });
    expect(process?.env?.texts).toContain('container=podman');
    expect(process?.limits?.['nofile']?.soft).toMatch(/^\d+$/);
    expect(inspection.dump.statistics?.['pages_written']).toBeGreaterThan(70);
    expect(inspection.memory?.total.stored).toBe(inspection.dump.bytes.pages);
    expect(inspection.mounts?.map(({ mountpoint }) => mountpoint)).toContain('/proc');
    expect(inspection.gaps).toEqual([]);
  });

  it('shows the same from every container', async () => {
    const expected = content(await inspected(PODMAN, '--all'));
    const plain = at('plain.tar');
    writeFileSync(plain, gunzipSync(readFileSync(PODMAN)));
    expect(content(await inspected(plain, '--all'))).toEqual(expected);
    // Unpacked: the folder of the engine, and the images in it.
    for (const { name, data } of rawMembers(readFileSync(plain))) {
      if (name.endsWith('/')) mkdirSync(join(at('unpacked'), name), { recursive: true });
      else {
        mkdirSync(join(at('unpacked'), name, '..'), { recursive: true });
        writeFileSync(join(at('unpacked'), name), data);
      }
    }
    const unpacked = content(await inspected(at('unpacked'), '--all'));
    const sorted = ({ container, ...rest }: typeof expected) => ({
      ...rest,
      container: { ...container, files: container?.files.toSorted((a, b) => (a.name < b.name ? -1 : 1)) },
    });
    expect(sorted(unpacked)).toEqual(sorted(expected));
    // From stdin.
    expect(content(await inspected(`<${PODMAN}`, '--all'))).toEqual(expected);
    await cli(['copy', PODMAN, at('image.oci.tar')]);
    const { container, ...image } = content(await inspected(at('image.oci.tar'), '--all'));
    expect(image).toEqual({ ...expected, container: undefined });
    expect(container).toMatchObject({ name: 'counter', engine: 'podman' });
  });

  it.each(['tar', 'tar.gz', 'stream', 'shards'])(
    'reads arguments and environments of many processes from %s',
    async (form) => {
      const expected = content(await inspected(FAMILY, '--cmd', '--env'));
      expect(expected.processes.map(({ args }) => args?.texts?.[0])).toEqual([
        '/app/mosaic',
        '/app/mosaic',
        '/app/mosaic',
        undefined,
      ]);
      const path = at(`dump.${form}`);
      const words = form === 'shards' ? ['--from', 'shards'] : [];
      if (form === 'stream') await cli(['read', FAMILY], { stdout: path });
      else if (form === 'shards') await cli(['copy', FAMILY, path, '--to', 'shards']);
      else await cli(['copy', FAMILY, path]);
      expect(content(await inspected(path, '--cmd', '--env', ...words))).toEqual(expected);
    },
  );

  it('reads arguments from compressed pages, and from parents', async () => {
    for (const name of ['raw', 'page', 'region256k']) {
      const [process] = (await inspected(fixture(`compressed-criu-4.3/${name}`))).processes;
      expect(process?.args?.texts?.length).toBeGreaterThan(0);
    }
    const chain = await inspected(fixture('chain/mprotect00/3'));
    expect(chain.memory?.total.parent).toBeGreaterThan(0);
    expect(chain.dump.hasParent).toBe(true);
    expect(chain.processes.some(({ args }) => args?.texts?.[0]?.includes('mprotect00'))).toBe(true);
  });

  it('holds only the pages that it looks at', async () => {
    const wanted: number[] = [];
    const pages = inspectionPages({ env: true });
    const files = (await sourceFiles(PODMAN, {
      pages: (held, name, isComplete) => {
        const ranges = pages(held, name, isComplete);
        wanted.push(...(ranges ?? [Number.NaN]));
        return ranges;
      },
      outside: true,
    })) as HeldFiles;
    expect(wanted.length).toBe(2);
    expect((wanted[1] as number) - (wanted[0] as number)).toBeLessThanOrEqual(2 * 4096);
    const bytes = Buffer.alloc(8);
    expect(() => files.readSome('pages-1.img', bytes, 0)).toThrow(/this part of the file was not held/);
    expect(inspect(files, { sections: ['env'] }).processes[0]?.env?.texts).toContain('container=podman');
  });

  it('says on one screen what there is', async () => {
    const screen = await text(PODMAN);
    expect(screen).toMatch(/^engine {5}podman\ncontainer {2}counter \(0f897ac7cb64\)\nimage {6}localhost\/counter:1\n/);
    expect(screen).toMatch(/processes \(1\)\n {2}pid .*\n {4}1 +1 {2}alive {2}\/bin\/counter\n/);
    expect(screen).toMatch(/total +12 +1\.23 MiB +316 KiB\n/);
    expect(screen.split('\n').length).toBeLessThan(30);
    const family = await text(FAMILY);
    expect(family).toMatch(/ {3}15 +3 {2}alive {3}\/app\/mosaic \/tmp\/out 2\n {3}19 +1 {2}alive {5}\/app\/mosaic/);
    expect(family).toMatch(/21 +- {2}zombie {4}\[mosaic\]/);
  });

  it('prints sections in place of the screen', async () => {
    expect(await text(PODMAN, '--cmd')).toBe('1  /bin/counter\n');
    expect(await text(PODMAN, '--env')).toMatch(/^pid 1 counter\n {2}PATH=/);
    const files = await text(FAMILY, '--files');
    expect(files).toMatch(/^pid 15 mosaic\n/);
    expect(files).toMatch(/ 3 {2}REG {3}9 +wronly\|append\|largefile {2}\/tmp\/out\n/);
    const both = await text(FAMILY, '--memory', '--ps-tree');
    expect(both).toMatch(/^processes\n/);
    expect(both).toMatch(/\nmemory\n {2}pid 15 mosaic: 740 KiB in the dump, and 64 KiB of shared memory\n/);
    expect(both).toMatch(/shared memory\n +id +size +in the dump +name\n +1188 +64 KiB +64 KiB +\/dev\/zero\n/);
  });

  it.each<[string, RegExp]>([
    ['h-socket-tcp', /^tcp +ESTABLISHED .* 127\.0\.0\.1:8880 +127\.0\.0\.1:44128 +63:3$/m],
    ['uns-sockets03', /^unix stream +ESTABLISHED +- +- +- +\/zdtm\/static\/sockets03\.test +5:5$/m],
    ['ns-sk-netlink', /^netlink \w+ /m],
    ['h-packet_sock', /^packet +- .*protocol 0x\w{4}, interface \d+/m],
    ['h-socket_udplite', /^udplite +/m],
  ])('knows the sockets of %s', async (name, line) => {
    expect(await text(fixture(`zdtm/${name}`), '--sockets')).toMatch(line);
  });

  it('reads every dump there is, and says what is missing', async () => {
    const names = readdirSync(fixture('zdtm')).filter((name) =>
      readdirSync(fixture(`zdtm/${name}`)).includes('pstree.img'),
    );
    expect(names.length).toBeGreaterThan(40);
    for (const name of names) {
      const inspection = await inspected(fixture(`zdtm/${name}`), '--all');
      expect(
        inspection.gaps.filter(({ file }) => !file.startsWith('pages-')).map(({ file }) => `${name} ${file}`),
      ).toEqual([]);
    }
  });

  it('goes on without images', async () => {
    const dump = copyFixture('family-criu-4.2.1', at('dump'));
    for (const name of [
      'files.img',
      'fs-15.img',
      'mm-19.img',
      'pagemap-20.img',
      'ids-15.img',
      'inventory.img',
      'memfd.img',
    ]) {
      rmSync(join(dump, name));
    }
    const inspection = await inspected(dump, '--all');
    expect(inspection.processes.map(({ args }) => args?.texts?.[0] ?? null)).toEqual(['/app/mosaic', null, null, null]);
    expect(inspection.gaps.map(({ file }) => file).sort()).toEqual(
      ['files.img', 'fs-15.img', 'ids-15.img', 'inventory.img', 'mm-19.img', 'pagemap-20.img'].sort(),
    );
    expect(await text(dump)).toMatch(/not shown, because it cannot be read\n/);
    rmSync(join(dump, 'pstree.img'));
    expect(await cli(['inspect', dump])).toMatchObject({ code: 1, stderr: expect.stringContaining('pstree.img') });
  });

  it('counts all memory but that of a segment whose pagemap is damaged', async () => {
    const dump = copyFixture('family-criu-4.2.1', at('dump'));
    const [before] = [(await inspected(dump)).memory];
    writeFileSync(join(dump, 'pagemap-shmem-1188.img'), 'damaged');
    const { memory, gaps } = await inspected(dump);
    expect(gaps.map(({ file }) => file)).toEqual(['pagemap-shmem-1188.img']);
    const segment = before?.kinds.find(({ kind }) => kind === 'shmem')?.stored as number;
    expect(segment).toBeGreaterThan(0);
    expect(memory?.total.stored).toBe((before?.total.stored as number) - segment);
  });

  it('shows lazy pages as such', async () => {
    await cli(['make-lazy', FAMILY, at('lazy')]);
    const { processes, memory } = await inspected(at('lazy'));
    expect(processes[0]?.args).toEqual({ texts: null, state: 'lazy' });
    expect(memory?.total.lazy).toBe(518 * 4096);
    expect(await text(at('lazy'))).toMatch(/15 +3 {2}alive {3}\[mosaic\]/);
  });
});

describe('the container', () => {
  const engineOf = async (config: unknown, annotations: Record<string, string>) => {
    const path = rewritten({
      'config.dump': json(config),
      'spec.dump': json({ annotations }),
      'network.status': json(null),
    });
    return (await inspected(path)).container;
  };

  it('is known of CRI-O', async () => {
    const config = {
      id: 'f00d',
      rootfsImageName: 'quay.io/app:2',
      runtime: 'runc',
      checkpointedTime: '2026-10-01T10:00:00.5+02:00',
    };
    expect(
      await engineOf(config, {
        'io.container.manager': 'cri-o',
        'io.kubernetes.cri-o.Metadata': '{"name":"app","attempt":1}',
        'io.kubernetes.cri-o.Created': '2026-09-30T08:15:00.123456789Z',
        'io.kubernetes.pod.name': 'web-0',
        'io.kubernetes.pod.namespace': 'prod',
        'io.kubernetes.cri-o.IP.0': '10.85.0.7',
      }),
    ).toMatchObject({
      engine: 'cri-o',
      name: 'app',
      id: 'f00d',
      image: 'quay.io/app:2',
      created: '2026-09-30T08:15:00Z',
      checkpointed: '2026-10-01T08:00:00Z',
      pod: { name: 'web-0', namespace: 'prod' },
      network: [{ address: '10.85.0.7' }],
    });
  });

  it('is known of containerd', async () => {
    const annotations = {
      'io.kubernetes.cri.container-name': 'sidecar',
      'io.kubernetes.cri.sandbox-name': 'web-1',
      'io.kubernetes.cri.sandbox-namespace': 'test',
    };
    expect(
      await engineOf({ createdTime: '2026-09-30T08:15:00Z', runtime: 'io.containerd.runc.v2' }, annotations),
    ).toMatchObject({
      engine: 'containerd',
      name: 'sidecar',
      created: '2026-09-30T08:15:00Z',
      pod: { name: 'web-1', namespace: 'test' },
    });
  });

  it('has the addresses of podman', async () => {
    const status = {
      podman: {
        interfaces: {
          eth0: { mac_address: '02:42:ac:11:00:02', subnets: [{ ipnet: '10.88.0.5/16', gateway: '10.88.0.1' }] },
        },
      },
    };
    const { container } = await inspected(rewritten({ 'network.status': json(status) }));
    expect(container?.network).toEqual([
      { interface: 'eth0', address: '10.88.0.5/16', gateway: '10.88.0.1', mac: '02:42:ac:11:00:02' },
    ]);
  });

  it('is known by the annotations of an image', async () => {
    const { container, dump } = await inspected(fixture('podman/counter.oci.tar'));
    expect(container).toMatchObject({
      engine: 'podman',
      engineVersion: '5.8.6',
      name: 'prog',
      imageId: expect.stringMatching(/^ddabbfd2/),
      checkpointed: '2026-11-25T22:55:18Z',
      host: { arch: 'amd64', distribution: 'debian' },
    });
    expect(dump.criu.version).toBe('4.2.1');
  });

  it('may be described by nonsense, which is said and never fatal', async () => {
    const nonsense: [Buffer, RegExp?][] = [
      [Buffer.from('{"name": '), /expected JSON, found something else/],
      [Buffer.alloc(5 * 1024 * 1024, 0x20), /expected at most 4194304 bytes, found 5242880/],
      [Buffer.from('['.repeat(200_000)), /expected JSON/],
      [json('text')],
      [json({ name: 7, id: ['x'], createdTime: { a: 1 }, restored: 'yes', __proto__: null })],
      [json(null)],
    ];
    for (const [bytes, gap] of nonsense) {
      const path = rewritten({
        'config.dump': bytes,
        'spec.dump': bytes,
        'deleted.files': bytes,
        'network.status': bytes,
      });
      const compressed = at('rewritten.tar.gz');
      await cli(['copy', path, compressed, '--force']);
      for (const each of [path, compressed]) {
        const { container, processes, gaps } = await inspected(each, '--all');
        expect(processes[0]?.args?.texts).toEqual(['/bin/counter']);
        expect(container?.name ?? null).toBe(null);
        if (gap) expect(gaps.find(({ file }) => file === 'config.dump')?.message).toMatch(gap);
        else expect(gaps).toEqual([]);
      }
    }
  });

  it('commands no terminal', async () => {
    const evil = '\u001b]0;owned\u0007\n\u202eevil';
    const path = rewritten({
      'config.dump': json({ name: evil, rootfsImageName: evil, id: evil }),
      'spec.dump': json({
        hostname: evil,
        annotations: { [evil]: evil },
        process: { args: [evil], env: [evil] },
        mounts: [{ destination: evil }],
      }),
      'deleted.files': json([evil]),
    });
    for (const words of [[], ['--all'], ['--container', '--json']]) {
      // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
      expect(await text(path, ...words)).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]|^owned|^evil/m);
    }
  });
});

it('reads a dump that is open for files alone', () => {
  const sections: Section[] = ['files', 'kernel'];
  const { files, namespaces, processes } = inspect(directory(fixture('zdtm/uns-sockets03')), { sections });
  expect(files?.[1]?.descriptors.map(({ name }) => name)).toContain('unix 1103728 > 1103729');
  expect(namespaces?.find(({ type }) => type === 'uts')).toMatchObject({ hostname: 'vm' });
  expect(processes[1]?.signals?.handlers).toEqual({ SIGTERM: '0x55f3bf4443c0' });
});

it('holds a limited amount of environments, however many processes have them', () => {
  const [start, pages] = [0x10000000n, 512];
  const pids = [1, 2, 3, 4, 5, 6, 7, 8, 9];
  const tasks = pids.map((pid) => ({ pid, entries: [{ vaddr: start, pages }] }));
  writeDump(at('many'), { tasks, sparse: true });
  const mm = new Message();
  for (let field = 1; field <= 12; field++) mm.int(field, 0);
  mm.int(10, start).int(11, start + BigInt(pages * 4096));
  for (const pid of pids) writeFileSync(at(`many/mm-${pid}.img`), image('MM', [mm]));
  const { processes } = inspect(directory(at('many')), { sections: ['env'] });
  const [none, cut] = [{ texts: [] }, { texts: [], isCut: true }];
  expect(processes.map(({ env }) => env)).toEqual([...pids.slice(1).map(() => none), cut]);
});
