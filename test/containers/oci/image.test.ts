/** Images of checkpoints: the one that podman saved, layouts in folders, and what is not the image of a checkpoint. */
import { createHash } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, it } from 'vitest';
import { END, filesOf, member, ociArchive, plain, rawMembers, tar } from '../../helpers/archives.js';
import { cli } from '../../helpers/cli.js';
import { describeTree, fixture, openFiles, tempDir } from '../../helpers/temp.js';

const IMAGE = fixture('podman/counter.oci.tar');

async function run(...words: string[]): Promise<string> {
  const { code, stderr } = await cli(words);
  expect(code, stderr).toBe(0);
  return stderr;
}

const sha256 = (bytes: Uint8Array): string => `sha256:${createHash('sha256').update(bytes).digest('hex')}`;

/** The JSON of an image and its plain layer; every digest and size in it must be right. */
function imageIn(path: string) {
  const members = new Map(rawMembers(readFileSync(path)).map(({ name, data }) => [name, data]));
  const blob = ({ digest, size }: { digest: string; size: number }): Buffer => {
    const data = members.get(`blobs/${digest.replace(':', '/')}`) as Buffer;
    expect([sha256(data), data.length]).toEqual([digest, size]);
    return data;
  };
  const index = JSON.parse(String(members.get('index.json')));
  const manifest = JSON.parse(String(blob(index.manifests[0])));
  const config = JSON.parse(String(blob(manifest.config)));
  const packed = blob(manifest.layers[0]);
  const layer = packed[0] === 0x1f ? gunzipSync(packed) : packed;
  expect(config.rootfs.diff_ids).toEqual([sha256(layer)]);
  return { names: [...members.keys()], index, manifest, config, layer };
}

describe('an image by podman', () => {
  it('is written again with all that it says, and with another layer', async () => {
    const out = join(tempDir(), 'small.oci.tar');
    await run('make-lazy', IMAGE, out);
    const [before, after] = [imageIn(IMAGE), imageIn(out)];
    const asIf = (image: typeof before) => ({
      ...image,
      layer: undefined,
      names: image.names.length,
      index: {
        ...image.index,
        manifests: image.index.manifests.map((one: object) => ({ ...one, digest: '', size: 0 })),
      },
      manifest: { ...image.manifest, config: '', layers: image.manifest.layers.map((one: object) => Object.keys(one)) },
      config: { ...image.config, rootfs: '' },
    });
    expect(asIf(after)).toEqual(asIf(before));
    const namesIn = (layer: Buffer) => rawMembers(layer).map(({ name }) => name);
    expect(namesIn(after.layer).sort()).toEqual(namesIn(before.layer).sort());
    expect(after.layer.length).toBeLessThan(before.layer.length);
  });

  it('is the archive of its layer, which podman imports', async () => {
    const dir = tempDir();
    const layer = join(dir, 'layer.tar');
    writeFileSync(layer, imageIn(IMAGE).layer);
    await run('copy', IMAGE, join(dir, 'image.tar.gz'));
    await run('copy', layer, join(dir, 'copy.tar'));
    expect(plain(join(dir, 'image.tar.gz'))).toEqual(readFileSync(join(dir, 'copy.tar')));
  });

  it('is read from a folder as well', async () => {
    const dir = tempDir();
    mkdirSync(join(dir, 'layout'));
    tar(join(dir, 'layout'), '-xf', IMAGE);
    await run('copy', join(dir, 'layout'), join(dir, 'out'));
    await run('copy', IMAGE, join(dir, 'again'));
    expect(describeTree(join(dir, 'out'))).toEqual(describeTree(join(dir, 'again')));
  });

  it('has the commands that restore what is made of it', async () => {
    const out = join(tempDir(), 'small');
    expect((await run('make-lazy', IMAGE, out)).split('\n')).toContain(`  pagepipe lazy-pages ${IMAGE} -W ${out} -d`);
  });
});

describe('an image is refused', () => {
  const images = (): Buffer =>
    Buffer.concat([
      ...[...filesOf(fixture('mosaic-criu-4.2.1'))].map(([name, bytes]) => member(`checkpoint/${name}`, bytes)),
      END,
    ]);

  /** The archive of an image, with its text changed and its checksums made again. */
  const changed = (change: (name: string, data: Buffer) => Buffer): Buffer =>
    Buffer.concat([...rawMembers(ociArchive(images())).map(({ name, data }) => member(name, change(name, data))), END]);

  const index = (value: object) =>
    changed((name, data) => (name === 'index.json' ? Buffer.from(JSON.stringify(value)) : data));
  /** A byte of a page, which nothing else checks. */
  function otherPage(layer: Buffer): Buffer {
    const bytes = Buffer.from(layer);
    bytes[bytes.indexOf('checkpoint/pages-2.img') + 1000] = 0xff;
    return bytes;
  }

  const digest = `sha256:${'0'.repeat(64)}`;

  it.each<[string, () => Buffer, string | RegExp]>([
    [
      'with a layer of other bytes',
      () => changed((_, data) => (data.length > 10_000 ? otherPage(data) : data)),
      'blobs/sha256/f40c3d5343bf38dcbe3f9a01ee3a9d5293d987b468f64badac2c5a1f5a497b3f: expected sha256:f40c3d5343bf38dcbe3f9a01ee3a9d5293d987b468f64badac2c5a1f5a497b3f, found sha256:39a0fc9cf923ee6909e1f276a7a8922a11bf557966e2113c6adbf78f6a5e8186',
    ],
    [
      'with a layer of another size',
      () => changed((_, data) => (data.length > 10_000 ? Buffer.concat([data, Buffer.alloc(1)]) : data)),
      'blobs/sha256/f40c3d5343bf38dcbe3f9a01ee3a9d5293d987b468f64badac2c5a1f5a497b3f: expected a blob of 854016 bytes, found 854017',
    ],
    [
      'with several manifests',
      () => index({ manifests: [{}, {}] }),
      'index.json: expected the image of a checkpoint with one manifest, found 2',
    ],
    [
      'with no manifest',
      () => index({}),
      'index.json: expected the image of a checkpoint with one manifest, found none',
    ],
    [
      'without a digest',
      () => index({ manifests: [{ size: 1 }] }),
      'index.json: expected a digest by sha256 or sha512, found none',
    ],
    [
      'with a digest without end',
      () => index({ manifests: [{ digest: 'x'.repeat(100_000), size: 1 }] }),
      'index.json: expected a digest by sha256 or sha512, found "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…',
    ],
    [
      'with a digest that is a path',
      () => index({ manifests: [{ digest: 'sha256:../../etc/passwd', size: 1 }] }),
      'index.json: expected a digest by sha256 or sha512, found "sha256:../../etc/passwd"',
    ],
    [
      'without the blob of its manifest',
      () => index({ manifests: [{ digest, size: 1 }] }),
      'blobs/sha256/0000000000000000000000000000000000000000000000000000000000000000: expected this image, found none',
    ],
    [
      'with an index that is no JSON',
      () => changed((name, data) => (name === 'index.json' ? Buffer.from('{') : data)),
      // V8 says what is wrong with it.
      /^index\.json: expected JSON, found something else: /,
    ],
    [
      'of another layer',
      () => ociArchive(Buffer.concat([member('etc/passwd', Buffer.from('x')), END])),
      'PLACE: expected a dump, found no image in the archive',
    ],
  ])('%s', async (_, bytes, message) => {
    const dir = tempDir();
    const path = join(dir, 'in.oci.tar');
    writeFileSync(path, bytes());
    for (const source of [{ words: [path] }, { words: ['-'], stdin: path }]) {
      const { code, stderr } = await cli(
        ['copy', ...source.words, join(dir, 'out')],
        source.stdin ? { stdin: path } : {},
      );
      expect(code).toBe(1);
      const [, text = ''] = /^pagepipe: error: ([^\n]*)\n/.exec(stderr) ?? [];
      if (typeof message === 'string') expect(text).toBe(message.replace('PLACE', source.stdin ? 'stdin' : path));
      else expect(text).toMatch(message);
    }
    expect(describeTree(dir).length).toBe(2);
    expect(openFiles(dir)).toEqual([]);
  });
});
