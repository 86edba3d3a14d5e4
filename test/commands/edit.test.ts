/** edit: what is named changes, and nothing else. */
import { chmodSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { cli } from '../helpers/cli.js';
import { Message } from '../helpers/dump-writer.js';
import { noise, pipeData, SAMPLES, sampleOf, UNKNOWN } from '../helpers/image-samples.js';
import { imageOf, readImage, toJson } from '../helpers/images.js';
import { describeTree, tempDir } from '../helpers/temp.js';

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString('hex');

/** Edits an image; returns how that ended, and the image then. */
async function edit(image: Uint8Array, sets: string[], words: string[] = []) {
  const root = tempDir();
  const path = join(root, 'x.img');
  writeFileSync(path, image);
  const outcome = await cli(['edit', path, ...sets.flatMap((set) => ['--set', set]), ...words]);
  expect(readdirSync(root)).toEqual(['x.img']);
  return { ...outcome, stderr: outcome.stderr.replaceAll(`${root}/`, ''), image: readFileSync(path) };
}

/** What became of an image by an edit that must succeed. */
async function edited(image: Uint8Array, ...sets: string[]): Promise<Buffer> {
  const { code, stdout, stderr, image: after } = await edit(image, sets);
  expect({ code, stdout, stderr }).toEqual({ code: 0, stdout: '', stderr: '' });
  return after;
}

const entriesOf = (image: Uint8Array): Record<string, unknown>[] => JSON.parse(toJson(image)).entries;

const fown = () => new Message().int(1, 0).int(2, 0).int(3, 0).int(4, 0).int(5, 0);
const file = (id: number, flags: number, name: string) =>
  new Message().int(1, id).int(2, flags).int(3, 0).field(5, fown()).field(6, name);
const FILES = imageOf('REG_FILES', file(1, 0, '/a'), file(2, 2, '/b'), file(3, 0o100001, '/c'));
const area = (start: number) =>
  new Message()
    .int(1, start)
    .int(2, start + 4096)
    .int(3, 0)
    .int(4, 0)
    .int(5, 3)
    .int(6, 34)
    .int(7, 513)
    .int(8, 1);

describe('a value', () => {
  it.each<[set: string, field: string, value: unknown]>([
    ['entries[1].id=7', 'id', 7],
    ['.entries[1].id=7', 'id', 7],
    ['entries[1].id="7"', 'id', 7],
    ['entries[1].id=0xff', 'id', 255],
    ['entries[1].id=4294967295', 'id', 4294967295],
    ['entries[1].flags=O_RDWR | O_APPEND', 'flags', 0o2002],
    ['entries[1].flags="O_RDWR"', 'flags', 2],
    ['entries[1].flags=', 'flags', 0],
    ['entries[1].flags=0x8000', 'flags', 0x8000],
    ['entries[1].name=/new', 'name', '/new'],
    ['entries[1].name=', 'name', ''],
    ['entries[1].name=a=b', 'name', 'a=b'],
    ['entries[1].name=two\nlines', 'name', 'two\nlines'],
    ['entries[1].name=7', 'name', '7'],
    ['entries[1].name=null', 'name', 'null'],
    ['entries[1].name={"a": 1}', 'name', '{"a": 1}'],
    ['entries[1].name="quoted \\u00e9"', 'name', 'quoted é'],
    ['entries[1].name="half', 'name', '"half'],
    ['entries[1].name=[', 'name', '['],
    ['entries[1].name="\\udcff"', 'name', '\udcff'],
    ['entries[1].pos=18446744073709551615', 'pos', Number(2n ** 64n)],
    ['entries[1].size=5', 'size', 5],
    ['entries[1].mnt_id=-7', 'mnt_id', -7],
    ['entries[1].fown.uid=1000', 'fown', { uid: 1000, euid: 0, signum: 0, pid_type: 0, pid: 0 }],
    [
      'entries[1].fown={"pid": 5, "uid": 1, "euid": 2, "signum": 3, "pid_type": 4}',
      'fown',
      { uid: 1, euid: 2, signum: 3, pid_type: 4, pid: 5 },
    ],
  ])('%j', async (set, field, value) => {
    const after = await edited(FILES, set);
    const [first, , last] = entriesOf(FILES);
    const [firstAfter, second, lastAfter] = entriesOf(after);
    expect(second).toEqual({ ...entriesOf(FILES)[1], [field]: value });
    expect([firstAfter, lastAfter]).toEqual([first, last]);
    // Fields stand in their order, whether they were there before or not.
    expect(hex(await edited(after, 'entries[1].id=2'))).toBe(hex(await edited(FILES, set, 'entries[1].id=2')));
    expect(toJson(after)).not.toContain('"@');
  });

  it('of an enum, a bool, bytes and an address', async () => {
    const fd = imageOf('FDINFO', new Message().int(1, 1).int(2, 0).int(3, 1).int(4, 0));
    expect(entriesOf(await edited(fd, 'entries[0].type=PIPE'))[0]).toMatchObject({ type: 'PIPE' });
    expect(entriesOf(await edited(fd, 'entries[0].type=77'))[0]).toMatchObject({ type: 77 });
    const format = sampleOf('binary formats').image;
    expect(entriesOf(await edited(format, 'entries[0].enabled=false'))[0]).toMatchObject({ enabled: false });
    const signals = sampleOf('signals').image;
    expect(entriesOf(await edited(signals, 'entries[1].siginfo=AQID'))[1]).toEqual({ siginfo: 'AQID\n' });
    const sockets = readImage('zdtm/h-socket-tcp', 'files.img');
    const index = entriesOf(sockets).findIndex((entry) => 'isk' in entry);
    const socket = async (set: string) =>
      entriesOf(await edited(sockets, `entries[${index}].isk.${set}`))[index]?.['isk'];
    expect(await socket('src_addr=["10.0.0.7"]')).toMatchObject({ src_addr: [0x0700000a] });
    expect(await socket('src_addr=["::1"]')).toMatchObject({ src_addr: [0, 0, 0, 0x1000000] });
    expect(await socket('state=LISTEN')).toMatchObject({ state: 10 });
  });

  it('in lists: all of it, one element, and every one', async () => {
    const tree = (...threads: number[]) =>
      threads.reduce((message, id) => message.int(5, id), new Message().int(1, 1).int(2, 0).int(3, 1).int(4, 1));
    const image = imageOf('PSTREE', tree(1, 2, 3), tree());
    expect(hex(await edited(image, 'entries[0].threads=[7, "0x8"]'))).toBe(hex(imageOf('PSTREE', tree(7, 8), tree())));
    expect(hex(await edited(image, 'entries[0].threads=[]'))).toBe(hex(imageOf('PSTREE', tree(), tree())));
    expect(hex(await edited(image, 'entries[1].threads=[9]'))).toBe(hex(imageOf('PSTREE', tree(1, 2, 3), tree(9))));
    expect(hex(await edited(image, 'entries[0].threads[1]=9'))).toBe(hex(imageOf('PSTREE', tree(1, 9, 3), tree())));
    expect(hex(await edited(image, 'entries[0].threads[*]=9'))).toBe(hex(imageOf('PSTREE', tree(9, 9, 9), tree())));
    expect(hex(await edited(image, 'entries[*].threads[*]=9'))).toBe(hex(imageOf('PSTREE', tree(9, 9, 9), tree())));
    const compressed = sampleOf('a compressed pagemap').image;
    expect(entriesOf(await edited(compressed, 'entries[1].blocks.block_sizes=[1, 2, 3]'))[1]).toMatchObject({
      blocks: { block_sizes: [1, 2, 3] },
    });
  });

  it('in messages in lists', async () => {
    const image = imageOf('CGROUP', new Message().field(1, new Message().int(1, 1)).field(1, new Message().int(1, 2)));
    expect(entriesOf(await edited(image, 'entries[0].sets[1].id=7'))).toEqual([{ sets: [{ id: 1 }, { id: 7 }] }]);
    expect(entriesOf(await edited(image, 'entries[0].sets[*].id=7'))).toEqual([{ sets: [{ id: 7 }, { id: 7 }] }]);
    expect(entriesOf(await edited(image, 'entries[0].sets[0]={"id": 9}'))).toEqual([{ sets: [{ id: 9 }, { id: 2 }] }]);
    expect(entriesOf(await edited(image, 'entries[0].sets[0].ctls=[{"name": "a", "path": "b"}]'))).toEqual([
      { sets: [{ id: 1, ctls: [{ name: 'a', path: 'b' }] }, { id: 2 }] },
    ]);
    const vmas = imageOf('VMAS', area(4096), area(16384));
    const after = await edited(vmas, 'entries[*].flags=MAP_PRIVATE | MAP_ANON | 0x2000', 'entries[1].prot=PROT_READ');
    expect(entriesOf(after).map(({ flags, prot }) => [flags, prot])).toEqual([
      [0x2022, 3],
      [0x2022, 1],
    ]);
  });

  it('given several times: the last one counts', async () => {
    const after = await edited(FILES, 'entries[*].name=x', 'entries[0].name=y', 'entries[0].name=z');
    expect(entriesOf(after).map(({ name }) => name)).toEqual(['z', 'x', 'x']);
  });

  it('of a large image', async () => {
    const image = readImage('zdtm/h-maps09', 'mm-62.img');
    const [entry] = entriesOf(image) as [{ vmas: object[] }];
    const after = await edited(image, 'entries[0].vmas[*].madv=5');
    expect(entriesOf(after)).toEqual([{ ...entry, vmas: entry.vmas.map((vma) => ({ ...vma, madv: 5 })) }]);
    expect(
      hex(
        await edited(
          after,
          `entries[0].mm_start_code=1`,
          `entries[0].mm_start_code=${(entry as never)['mm_start_code']}`,
        ),
      ),
    ).toBe(hex(after));
  });
});

describe('all else', () => {
  it.each(SAMPLES.filter(({ type }) => type === 'PIPES_DATA' || type === 'UTSNS'))(
    'stays as it is, byte for byte: $what',
    async ({ image, type, ends }) => {
      const field = type === 'UTSNS' ? 'domainname' : 'size';
      const last = ends.length - 2;
      const after = await edited(image, `entries[${last}].${field}=77`);
      const kept = ends[last] as number;
      expect(hex(after.subarray(0, kept))).toBe(hex(image.subarray(0, kept)));
      expect(entriesOf(after)[last]).toMatchObject({ [field]: type === 'UTSNS' ? '77' : 77 });
    },
  );

  it.each(SAMPLES.filter(({ ends }) => ends.length > 1))(
    'stays as it is where nothing changes: $what',
    async ({ image }) => {
      const first = entriesOf(image)[0] as Record<string, unknown>;
      const [name, value] =
        Object.entries(first).find(([, found]) => typeof found === 'number' || typeof found === 'boolean') ?? [];
      if (name === undefined || '@raw' in first) return;
      expect(hex(await edited(image, `entries[0].${name}=${value}`))).toBe(hex(image));
    },
  );

  it('keeps unknown fields of the entry, at any depth', async () => {
    const image = imageOf('REG_FILES', new Message().raw(file(1, 0, '/a').finish()).raw(UNKNOWN));
    const after = await edited(image, 'entries[0].name=/b');
    expect(hex(after)).toBe(hex(imageOf('REG_FILES', new Message().raw(file(1, 0, '/b').finish()).raw(UNKNOWN))));
    const inside = (uid: number) =>
      imageOf(
        'REG_FILES',
        new Message()
          .int(1, 1)
          .int(2, 0)
          .int(3, 0)
          .field(5, new Message().int(1, uid).int(2, 0).int(3, 0).int(4, 0).int(5, 0).raw(UNKNOWN))
          .field(6, 'a'),
      );
    expect(hex(await edited(inside(0), 'entries[0].fown.uid=9'))).toBe(hex(inside(9)));
  });

  it('keeps other forms of entries that have no such field', async () => {
    const files = imageOf(
      'FILES',
      new Message()
        .int(1, 1)
        .int(2, 1)
        .field(3, file(1, 0, '/a')),
      new Message().int(2, 7).int(1, 2),
    );
    const after = await edited(files, 'entries[*].reg.name=/b');
    expect(hex(after)).toBe(
      hex(
        imageOf(
          'FILES',
          new Message()
            .int(1, 1)
            .int(2, 1)
            .field(3, file(1, 0, '/b')),
          new Message().int(2, 7).int(1, 2),
        ),
      ),
    );
  });

  it('puts an entry that it changes into canonical form', async () => {
    const { image } = sampleOf('fields out of order');
    expect(hex(await edited(image, 'entries[0].nodename=x'))).toBe(
      hex(
        imageOf(
          'UTSNS',
          new Message().field(1, 'x').field(2, 'domain'),
          new Message().field(1, 'b').field(2, '(none)'),
        ),
      ),
    );
  });
});

describe('is refused', () => {
  const PIPES = imageOf('PIPES_DATA', pipeData(3), noise(3));
  const { image: QUEUES } = sampleOf('message queues');
  const { image: GHOST } = sampleOf('a ghost file');
  const PAGEMAP = sampleOf('a pagemap').image;
  const COMPRESSED = sampleOf('a compressed pagemap').image;
  const EXTRA = 'expected a field that does not say how long the extra is; decode and encode change both';

  it.each<[set: string, image: Uint8Array, error: string]>([
    [
      'entries[0].nam=x',
      FILES,
      'entries[0].nam: expected a field of reg_file_entry, found none of this name; did you mean name?',
    ],
    [
      'entries[0].constructor=x',
      FILES,
      'entries[0].constructor: expected a field of reg_file_entry, found none of this name',
    ],
    [
      'entries[0].extra=x',
      FILES,
      'entries[0].extra: expected a field of reg_file_entry, found none of this name; did you mean ext?',
    ],
    ['entries[3].id=1', FILES, 'entries[3].id: expected a value to change, found 3 entries without it'],
    ['entries[0].ext[0].name=1', FILES, 'entries[0].ext[0].name: expected a field that is a list, found ext'],
    ['entries[0].id[0]=1', FILES, 'entries[0].id[0]: expected a field that is a list, found id'],
    ['entries[0].id.x=1', FILES, 'entries[0].id.x: expected a message, found id'],
    ['entries[0].fown[0]=1', FILES, 'entries[0].fown[0]: expected a field that is a list, found fown'],
    ['entries[0].fown.x=1', FILES, 'entries[0].fown.x: expected a field of fown_entry, found none of this name'],
    ['entries[0].fown=1', FILES, 'entries[0].fown: expected a fown_entry, found 1'],
    [
      'entries[0].fown={"uid": 1}',
      FILES,
      'entries[0].fown: expected the required field euid of fown_entry, found none',
    ],
    ['entries[0].size[*]=1', FILES, 'entries[0].size[*]: expected a field that is a list, found size'],
    ['entries[0][0]=1', FILES, 'entries[0][0]: expected a field of reg_file_entry, found a position'],
    ['entries[1].id=-1', FILES, 'entries[1].id: expected a uint32, found -1'],
    ['entries[1].id=1 2', FILES, 'entries[1].id: expected a uint32, found "1 2"'],
    ['entries[1].id=0755', FILES, 'entries[1].id: expected a uint32, found "0755"; octal is 0o755'],
    ['entries[1].id=08', FILES, 'entries[1].id: expected a uint32, found "08"'],
    ['entries[1].id=null', FILES, 'entries[1].id: expected a uint32, found null'],
    ['entries[1].id=[1]', FILES, 'entries[1].id: expected a uint32, found a list'],
    ['entries[1].id=', FILES, 'entries[1].id: expected a uint32, found ""'],
    ['entries[1].name=[1]', FILES, 'entries[1].name: expected a string, found a list'],
    ['entries[*].flags=O_NOPE', FILES, 'entries[0].flags: expected a uint32, found "O_NOPE"'],
    [
      'entries[1].blocks.block_sizes[0]=1',
      COMPRESSED,
      'entries[1].blocks.block_sizes[0]: expected all of block_sizes: it is packed',
    ],
    ['entries[0].flags=1', PAGEMAP, 'entries[0].flags: expected a field of pagemap_head, found none of this name'],
    ['entries[0].bytes=4', PIPES, `entries[0].bytes: ${EXTRA}`],
    ['entries[1].qnum=1', QUEUES, `entries[1].qnum: ${EXTRA}`],
    ['entries[0].chunks=true', GHOST, `entries[0].chunks: ${EXTRA}`],
    ['entries[0].in_pagemaps=true', sampleOf('segments').image, `entries[0].in_pagemaps: ${EXTRA}`],
  ])('%j', async (set, image, error) => {
    const outcome = await edit(image, [set]);
    expect(outcome).toMatchObject({
      code: 1,
      stdout: '',
      stderr: `pagepipe: error: x.img: ${error}\n`,
    });
    expect(hex(outcome.image)).toBe(hex(image));
  });

  it('as a whole, if one of several is', async () => {
    const outcome = await edit(FILES, ['entries[0].id=9', 'entries[2].nope=1']);
    expect(outcome.code).toBe(1);
    expect(hex(outcome.image)).toBe(hex(FILES));
  });

  it('but fields beside a payload may change', async () => {
    const after = await edited(PIPES, 'entries[0].pipe_id=9', 'entries[0].bytes=3');
    expect(hex(after)).toBe(hex(imageOf('PIPES_DATA', pipeData(3, 9), noise(3))));
    const { image } = sampleOf('segments');
    expect(entriesOf(await edited(image, 'entries[1].size=9999'))[1]).toMatchObject({ size: 9999, extra: '' });
  });
});

describe('where it is written', () => {
  const box = () => {
    const root = tempDir();
    writeFileSync(join(root, 'files.img'), imageOf('FILES', new Message().int(1, 1).int(2, 1)));
    return { root, path: join(root, 'files.img'), out: join(root, 'out.img') };
  };
  const SET = ['--set', 'entries[0].id=9'];
  const AFTER = imageOf('FILES', new Message().int(1, 1).int(2, 9));

  it('in place, with the mode that it had', async () => {
    const { root, path } = box();
    chmodSync(path, 0o640);
    expect((await cli(['edit', path, ...SET])).code).toBe(0);
    expect(hex(readFileSync(path))).toBe(hex(AFTER));
    expect(statSync(path).mode & 0o777).toBe(0o640);
    expect(readdirSync(root)).toEqual(['files.img']);
  });

  it('in place behind a link', async () => {
    const { root, path } = box();
    symlinkSync('files.img', join(root, 'link.img'));
    expect((await cli(['edit', join(root, 'link.img'), ...SET])).code).toBe(0);
    expect(hex(readFileSync(path))).toBe(hex(AFTER));
    expect(describeTree(root)).toContain('link.img -> files.img');
  });

  it.each([['-o'], ['--out']])('elsewhere with %s', async (option) => {
    const { path, out } = box();
    const before = readFileSync(path);
    chmodSync(path, 0o604);
    expect((await cli(['edit', ...SET, path, option, out])).code).toBe(0);
    expect(hex(readFileSync(out))).toBe(hex(AFTER));
    expect(statSync(out).mode & 0o777).toBe(0o604);
    expect(hex(readFileSync(path))).toBe(hex(before));
  });

  it('to stdout, from stdin', async () => {
    const { path, out } = box();
    expect(await cli(['edit', '-', ...SET, '-o', '-'], { stdin: path, stdout: out })).toMatchObject({ code: 0 });
    expect(hex(readFileSync(out))).toBe(hex(AFTER));
  });
});
