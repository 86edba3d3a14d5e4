/** decode, encode, show and info: where they read and write, and what they leave behind. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  closeSync,
  existsSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  symlinkSync,
  watch,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { archiveOf } from '../helpers/archives.js';
import { BAD_IMAGES, BAD_JSON } from '../helpers/bad-images.js';
import { BIN, cli, type InProcessOptions } from '../helpers/cli.js';
import { Message } from '../helpers/dump-writer.js';
import { sampleOf } from '../helpers/image-samples.js';
import { fixtureImages, imageOf, readImage, toJson } from '../helpers/images.js';
import { makePipe } from '../helpers/pipe.js';
import { describeTree, fixture, openFiles, tempDir } from '../helpers/temp.js';

const IMAGE = sampleOf('pipes').image;
const JSON_TEXT = toJson(IMAGE);
const PRETTY_TEXT = toJson(IMAGE, { pretty: true });
const SUCCESS = { code: 0, stdout: '', stderr: '' };

/** A directory with an image and its JSON. */
function box(): { root: string; image: string; json: string; out: string } {
  const root = tempDir();
  const paths = {
    root,
    image: join(root, 'pipes-data.img'),
    json: join(root, 'pipes-data.json'),
    out: join(root, 'out'),
  };
  writeFileSync(paths.image, IMAGE);
  writeFileSync(paths.json, JSON_TEXT);
  return paths;
}

/** Runs a command; returns what it wrote to stdout. */
async function stdoutOf(words: string[], options: InProcessOptions = {}): Promise<string> {
  const stdout = join(tempDir(), 'stdout');
  expect(await cli(words, { ...options, stdout })).toEqual(SUCCESS);
  return readFileSync(stdout, 'latin1');
}

const mode = (path: string) => (statSync(path).mode & 0o777).toString(8);

describe('input and output', () => {
  it.each<[what: string, words: (paths: ReturnType<typeof box>) => string[]]>([
    ['-i and -o', ({ image, out }) => ['-i', image, '-o', out]],
    ['--in and --out', ({ image, out }) => ['--in', image, '--out', out]],
    ['with =', ({ image, out }) => [`--in=${image}`, `--out=${out}`]],
    ['in one word', ({ image, out }) => [`-i${image}`, `-o${out}`]],
    ['in one word with =', ({ image, out }) => [`-i=${image}`, `-o=${out}`]],
    ['the output first', ({ image, out }) => ['-o', out, '-i', image]],
  ])('decode: %s', async (_, words) => {
    const paths = box();
    expect(await cli(['decode', ...words(paths)])).toEqual(SUCCESS);
    expect(readFileSync(paths.out, 'utf8')).toBe(JSON_TEXT);
    expect(await cli(['decode', '--pretty', ...words(paths)])).toEqual(SUCCESS);
    expect(readFileSync(paths.out, 'utf8')).toBe(PRETTY_TEXT);
    expect(openFiles(paths.root)).toEqual([]);
  });

  it.each([[[]], [['-i', '-']], [['-o', '-']], [['--in', '-', '--out', '-']]])(
    'of decode are streams: %j',
    async (words) => {
      const { image } = box();
      expect(await stdoutOf(['decode', ...words], { stdin: image })).toBe(`${JSON_TEXT}\n`);
      expect(await stdoutOf(['decode', ...words, '--pretty'], { stdin: image })).toBe(`${PRETTY_TEXT}\n`);
    },
  );

  it.each([[[]], [['-i', '-']], [['-o', '-']], [['--in', '-', '--out', '-']]])(
    'of encode are streams: %j',
    async (words) => {
      const { json } = box();
      expect(await stdoutOf(['encode', ...words], { stdin: json })).toBe(IMAGE.toString('latin1'));
    },
  );

  it('encode takes what decode gives', async () => {
    const { image, out, root } = box();
    for (const pretty of [[], ['--pretty']]) {
      expect(await cli(['decode', '-i', image, '-o', out, ...pretty])).toEqual(SUCCESS);
      expect(await cli(['encode', '-i', out, '-o', join(root, 'again')])).toEqual(SUCCESS);
      expect(readFileSync(join(root, 'again')).equals(IMAGE)).toBe(true);
    }
  });

  it('show is decode --pretty, show --nopl leaves payloads out', async () => {
    const { image } = box();
    expect(await stdoutOf(['show', image])).toBe(`${PRETTY_TEXT}\n`);
    expect(await stdoutOf(['show', '-'], { stdin: image })).toBe(`${PRETTY_TEXT}\n`);
    const short = toJson(IMAGE, { pretty: true, noPayload: true });
    expect(await stdoutOf(['show', image, '--nopl'])).toBe(`${short}\n`);
    expect(await stdoutOf(['show', '--nopl', image])).toBe(`${short}\n`);
  });

  it('needs no -i for what is read', async () => {
    const { image, json, out } = box();
    expect(await stdoutOf(['decode', image])).toBe(await stdoutOf(['decode', '-i', image]));
    writeFileSync(json, JSON_TEXT);
    expect(await cli(['encode', json, '-o', out])).toEqual(SUCCESS);
    expect(readFileSync(out)).toEqual(readFileSync(image));
  });

  it('may be a pipe with a name', async () => {
    const { root, image, out } = box();
    const pipe = join(root, 'pipe');
    makePipe(pipe);
    const writer = spawn('sh', ['-c', 'cat "$1" > "$2"', 'sh', image, pipe], { stdio: 'ignore' });
    const closed = once(writer, 'close');
    expect(await cli(['decode', '-i', pipe, '-o', out])).toEqual(SUCCESS);
    expect(await closed).toEqual([0, null]);
    expect(readFileSync(out, 'utf8')).toBe(JSON_TEXT);
    expect(mode(out)).toBe('600');
    expect(openFiles(root)).toEqual([]);
  });

  it.each([
    ['a directory', fixture('mosaic-criu-4.2.1'), 'core-15.img'],
    ['an archive', fixture('podman/counter.tar.gz'), 'checkpoint/core-1.img'],
    ['an OCI image', fixture('podman/counter.oci.tar'), 'core-1.img'],
  ])('an image in %s is read where it is', async (_, dump, image) => {
    const { root, out } = box();
    expect((await cli(['copy', dump, join(root, 'dump')])).code).toBe(0);
    const alone = join(root, 'dump', basename(image));
    expect(await stdoutOf(['show', dump, image])).toBe(await stdoutOf(['show', alone]));
    expect(await cli(['info', dump, image])).toEqual(await cli(['info', alone]));
    expect(await cli(['decode', '-i', dump, image, '-o', out])).toEqual(SUCCESS);
    expect(readFileSync(out, 'latin1')).toBe((await stdoutOf(['decode', '-i', alone])).trimEnd());
    expect(await cli(['show', dump, 'none.img'])).toMatchObject({
      code: 1,
      stderr: 'pagepipe: error: none.img: expected this image, found none\n',
    });
    expect(openFiles(root)).toEqual([]);
  });

  it('encode refuses areas that jq has rounded, unless it is told otherwise', async () => {
    const { json, out } = box();
    const mm = readImage('mosaic-criu-4.2.1', 'mm-15.img');
    writeFileSync(json, toJson(mm).replace('18446744073699065856', '18446744073699066000'));
    expect(await cli(['encode', '-i', json, '-o', out])).toMatchObject({
      code: 1,
      stderr: `pagepipe: error: ${json}: entries[0].vmas[25].start: expected an address at a page of 4096 bytes, found 18446744073699066000\n`,
    });
    expect(existsSync(out)).toBe(false);
    expect(await cli(['encode', '-i', json, '-o', out, '--unaligned'])).toEqual(SUCCESS);
    expect(readFileSync(out)).toHaveLength(mm.length);
  });

  it('encode says what it could not keep', async () => {
    const { json, out } = box();
    const { image } = sampleOf('fields out of order');
    writeFileSync(json, toJson(image).replace('"host"', '"other"'));
    expect(await cli(['encode', '-i', json, '-o', out])).toEqual({
      ...SUCCESS,
      stderr: `pagepipe: warning: ${json}: entries[0]: differs from its @raw, so its fields are written in canonical form\n`,
    });
    expect(JSON.parse(toJson(readFileSync(out))).entries[0]).toEqual({ nodename: 'other', domainname: 'domain' });
  });
});

describe('info', () => {
  const entries = (text: string) => (JSON.parse(text).entries as unknown[]).length;

  it('counts entries, in the form of crit', async () => {
    const path = fixture('mosaic-criu-4.2.1/core-15.img');
    expect(await cli(['info', path])).toEqual({
      ...SUCCESS,
      stdout: '{\n    "magic": "CORE",\n    "count": 1\n}\n',
    });
  });

  it('does not count the head of a pagemap, nor what stands in extras', async () => {
    const paths = [
      'mosaic-criu-4.2.1/pagemap-15.img',
      'zdtm/h-ghost_holes00/ghost-file-1.img',
      'zdtm/ns-msgque/ipcns-msg-11.img',
      'zdtm/extra-ipcmulti/ipcns-shm-9.img',
      'zdtm/extra-ipcmulti/ipcns-msg-9.img',
      'zdtm/h-socket-tcp/tcp-stream-47c08.img',
      'zdtm/binfmt-ns-binfmt_misc/binfmt-misc.img',
    ];
    for (const path of paths) {
      const { stdout } = await cli(['info', fixture(path)]);
      const { magic, count } = JSON.parse(stdout);
      const image = readFileSync(fixture(path));
      expect(magic).toBe(JSON.parse(toJson(image)).magic);
      expect(count, path).toBe(entries(toJson(image)) - (magic === 'PAGEMAP' ? 1 : 0));
      expect(count).toBeGreaterThan(0);
    }
  });

  it('counts those of every fixture', async () => {
    let total = 0;
    for (const { path, json, type } of fixtureImages().filter(({ dump }) => /^zdtm\/(ns|uns)-m/.test(dump))) {
      if (json === undefined) continue;
      const { stdout } = await cli(['info', path]);
      expect(JSON.parse(stdout)).toEqual({ magic: type, count: entries(json) - (type === 'PAGEMAP' ? 1 : 0) });
      total++;
    }
    expect(total).toBeGreaterThan(50);
  });

  it('reads stdin', async () => {
    const { root } = box();
    const path = join(root, 'x');
    writeFileSync(path, imageOf('PAGEMAP'));
    expect(JSON.parse((await cli(['info', '-'], { stdin: path })).stdout)).toEqual({ magic: 'PAGEMAP', count: 0 });
    writeFileSync(path, imageOf('PAGEMAP', new Message().int(1, 1)));
    expect(JSON.parse((await cli(['info', '-'], { stdin: path })).stdout)).toEqual({ magic: 'PAGEMAP', count: 0 });
  });
});

describe('wrong usage', () => {
  const image = fixture('mosaic-criu-4.2.1/mm-15.img');

  it.each<[words: string[], error: string]>([
    [['decode', image, 'x', 'y'], 'expected DUMP and IMAGE, found one more: y'],
    [['decode', '-i'], '-i: expected a value'],
    [['decode', '-i', image, '-i', image], '-i: expected once'],
    [['decode', '-i', image, '--in', image], '--in: expected once'],
    [['decode', '-i', image, '--prety'], 'unknown option --prety; did you mean --pretty?'],
    [['decode', '-p'], 'unknown option -p'],
    [['encode', '--pretty'], 'unknown option --pretty'],
    [['encode', 'x.json', 'x'], 'expected FILE, found one more: x'],
    [['encode', '-o'], '-o: expected a value'],
    [['info'], 'expected IMAGE, found nothing'],
    [['info', image, 'x', 'y'], 'expected DUMP and IMAGE, found one more: y'],
    [['info', '-i', image], 'unknown option -i'],
    [['show'], 'expected IMAGE, found nothing'],
    [['show', image, 'x', 'y'], 'expected DUMP and IMAGE, found one more: y'],
    [['show', image, '--pretty'], 'unknown option --pretty'],
    [['edit'], 'expected IMAGE, found nothing'],
    [['info', '--', image, 'x', '-odd'], 'expected DUMP and IMAGE, found one more: -odd'],
    [['edit', image], 'expected --set PATH=VALUE, found none'],
    [['edit', image, 'x', '--set', 'entries[0].a=1'], 'expected IMAGE, found one more: x'],
    [['edit', '-', '--set', 'entries[0].a=1'], 'stdin cannot be changed in place; name an output with -o'],
    ...[
      '',
      '=',
      '=5',
      'entries',
      'entries=5',
      'entries[0]=5',
      'entries[x].a=5',
      'entries[0].a',
      'entries[-1].a=5',
      'magic=MM',
      'entries[0]..a=5',
      'entries[0].@unknown=5',
    ].map((text): [string[], string] =>
      text === ''
        ? [['edit', image, '--set='], '--set: expected a value']
        : [
            ['edit', image, '--set', text],
            `--set: expected PATH=VALUE such as entries[0].pid=7, found ${JSON.stringify(text)}`,
          ],
    ),
  ])('%j', async (words, error) => {
    const outcome = await cli(words);
    expect(outcome).toEqual({
      code: 2,
      stdout: '',
      stderr: `pagepipe: ${error}\npagepipe: hint: pagepipe ${words[0]} --help\n`,
    });
  });

  it('a terminal is no input, and no place for an image', async () => {
    const { json } = box();
    for (const words of [['decode'], ['show', '-'], ['info', '-']]) {
      const { code, stderr } = await cli(words, { stdinIsTerminal: true });
      expect([code, stderr]).toEqual([
        2,
        `pagepipe: stdin is a terminal; name an image with -i\npagepipe: hint: pagepipe ${words[0]} --help\n`,
      ]);
    }
    for (const words of [
      ['encode', '-i', json],
      ['encode', '-i', json, '-o', '-'],
      ['edit', fixture('mosaic-criu-4.2.1/mm-15.img'), '--set', 'entries[0].a=1', '-o', '-'],
    ]) {
      const { code, stderr } = await cli(words, { stdoutIsTerminal: true });
      expect([code, stderr]).toEqual([
        2,
        `pagepipe: refusing to write binary data to a terminal; pipe it, or send it to a file\npagepipe: hint: pagepipe ${words[0]} --help\n`,
      ]);
    }
  });
});

describe('what is wrong with an input is one line, and nothing is left', () => {
  const checkRefused = async (words: string[], root: string, path: string, error: string, hint?: string) => {
    const hintLine = hint ? `pagepipe: hint: ${hint}\n` : '';
    const expected = { code: 1, stdout: '', stderr: `pagepipe: error: ${path}${error}\n${hintLine}` };
    const out = join(root, 'out');
    const before = describeTree(root);
    expect(await cli([...words, '-o', out])).toEqual(expected);
    expect(describeTree(root)).toEqual(before);
    // One that is there stays as it is.
    writeFileSync(out, 'old', { mode: 0o640 });
    const withOld = describeTree(root);
    expect(await cli([...words, '-o', out])).toEqual(expected);
    expect(describeTree(root)).toEqual(withOld);
    expect(openFiles(root)).toEqual([]);
  };

  it.each(BAD_IMAGES)('decode: $what', async ({ bytes, name = 'x.img', error, hint }) => {
    const root = tempDir();
    const path = join(root, name);
    writeFileSync(path, bytes);
    await checkRefused(['decode', '-i', path], root, path, error, hint);
    // On stdin there is no name to go by.
    if (name === 'mm-1.img') return;
    const nameless = error.replace('PSTREE magic 0x50273030', 'the magic of an image');
    const stdin = await cli(['decode'], { stdin: path });
    expect(stdin).toMatchObject({
      code: 1,
      stderr: `pagepipe: error: stdin${nameless}\n${hint ? `pagepipe: hint: ${hint}\n` : ''}`,
    });
  });

  it.each(BAD_JSON)('encode: $what', async ({ bytes, error, hint }) => {
    const root = tempDir();
    const path = join(root, 'x.json');
    writeFileSync(path, bytes);
    await checkRefused(['encode', '-i', path], root, path, error, hint);
  });

  const RAW_FILES: [name: string, what: string, hint: string][] = [
    [
      'pages-1.img',
      'bare memory pages, without a magic',
      'pagepipe decode -i on the pagemap of the same pages_id shows which page is where',
    ],
    ['tmpfs-62.tar.gz.img', 'a tmpfs as a gzipped tar', 'tar tzf lists what is in it'],
    ['tmpfs-dev-62.tar.gz.img', 'a tmpfs as a gzipped tar', 'tar tzf lists what is in it'],
    ['ifaddr-10.img', 'addresses as `ip addr save` writes them', 'ip address showdump reads it from stdin'],
    ['route-10.img', 'routes as `ip route save` writes them', 'ip route showdump reads it from stdin'],
    ['route6-10.img', 'routes as `ip route save` writes them', 'ip route showdump reads it from stdin'],
    ['rule-10.img', 'rules as `ip rule save` writes them', 'ip rule restore reads it from stdin'],
    ['iptables-10.img', 'text of iptables-save', 'cat shows it, iptables-restore reads it'],
    ['ip6tables-10.img', 'text of iptables-save', 'cat shows it, iptables-restore reads it'],
    ['nftables-10.img', 'text of `nft list ruleset`', 'cat shows it, nft -f reads it'],
    ['netns-ct-10.img', 'netlink messages of connection tracking', 'only CRIU reads them'],
    ['netns-exp-10.img', 'netlink messages of connection tracking', 'only CRIU reads them'],
  ];
  it.each(RAW_FILES)('a raw file by its name, whatever is in it: %s', async (name, what, hint) => {
    const root = tempDir();
    const path = join(root, name);
    // Pages may begin with any magic.
    writeFileSync(path, IMAGE);
    await checkRefused(['decode', '-i', path], root, path, `: expected an image, found ${what}`, hint);
    for (const words of [
      ['info', path],
      ['show', path],
      ['edit', path, '--set', 'entries[0].pipe_id=1'],
    ]) {
      const expected = `pagepipe: error: ${path}: expected an image, found ${what}\npagepipe: hint: ${hint}\n`;
      expect(await cli(words)).toEqual({ code: 1, stdout: '', stderr: expected });
    }
    expect(readFileSync(path).equals(IMAGE)).toBe(true);
  });

  it('the raw files of the fixtures are refused', async () => {
    const dump = fixture('zdtm/ns-msgque');
    const names = readdirSync(dump).filter((name) =>
      /^(ifaddr|ip6?tables|nftables|route6?|rule|tmpfs-dev)-/.test(name),
    );
    expect(names).toHaveLength(8);
    for (const name of names) {
      const path = join(dump, name);
      const [, what, hint] = RAW_FILES.find(
        ([raw]) => raw.split('-')[0] === name.split('-')[0],
      ) as (typeof RAW_FILES)[0];
      const stderr = `pagepipe: error: ${path}: expected an image, found ${what}\npagepipe: hint: ${hint}\n`;
      expect(await cli(['info', path])).toEqual({ code: 1, stdout: '', stderr });
    }
  });

  it('a whole dump, where one image is meant', async () => {
    const root = tempDir();
    const archive = archiveOf(fixture('mosaic-criu-4.2.1'), join(root, 'dump.tar'));
    for (const [path, what] of [
      [root, 'is a directory (EISDIR)'],
      [archive, 'expected an image, found a tar archive'],
    ]) {
      for (const command of ['decode', 'show', 'info']) {
        const stderr = `pagepipe: error: ${path}: ${what}\npagepipe: hint: name an image in it, such as inventory.img\n`;
        expect(await cli([command, path as string])).toEqual({ code: 1, stdout: '', stderr });
      }
    }
    expect((await cli(['show', archive, 'inventory.img'])).code).toBe(0);
    expect(await cli(['encode', root])).toMatchObject({
      stderr: `pagepipe: error: ${root}: is a directory (EISDIR)\n`,
    });
  });

  it.each([
    ['a file that is not there', 'nothing.img', 'no such file or directory (ENOENT)'],
    ['what is below a file', 'x/y', 'not a directory (ENOTDIR)'],
  ])('%s', async (_, name, error) => {
    const root = tempDir();
    writeFileSync(join(root, 'x'), '');
    const path = join(root, name);
    for (const words of [
      ['decode', '-i', path],
      ['encode', '-i', path],
      ['show', path],
      ['info', path],
    ]) {
      expect(await cli(words)).toEqual({ code: 1, stdout: '', stderr: `pagepipe: error: ${path}: ${error}\n` });
    }
    expect(readdirSync(root)).toEqual(['x']);
  });
});

describe('the file that is written', () => {
  it('has the mode of the input, or is private', async () => {
    const { root, image, json } = box();
    const out = (name: string) => join(root, name);
    chmodSync(image, 0o644);
    chmodSync(json, 0o640);
    await cli(['decode', '-i', image, '-o', out('a')]);
    await cli(['encode', '-i', json, '-o', out('b')]);
    await cli(['decode', '-o', out('c')], { stdin: image });
    await cli(['encode', '-o', out('d')], { stdin: json });
    expect(['a', 'b', 'c', 'd'].map((name) => mode(out(name)))).toEqual(['644', '640', '600', '600']);
  });

  it('keeps its mode when it is replaced', async () => {
    const { image, out } = box();
    chmodSync(image, 0o600);
    writeFileSync(out, 'old');
    chmodSync(out, 0o664);
    await cli(['decode', '-i', image, '-o', out]);
    expect([mode(out), readFileSync(out, 'utf8')]).toEqual(['664', JSON_TEXT]);
  });

  it('may be the input', async () => {
    const { image, json, root } = box();
    expect(await cli(['decode', '-i', image, '-o', image])).toEqual(SUCCESS);
    expect(readFileSync(image, 'utf8')).toBe(JSON_TEXT);
    expect(await cli(['encode', '-i', json, '-o', json])).toEqual(SUCCESS);
    expect(readFileSync(json).equals(IMAGE)).toBe(true);
    expect(readdirSync(root)).toHaveLength(2);
  });

  it('may be behind a link, which stays', async () => {
    const { root, image } = box();
    mkdirSync(join(root, 'folder'));
    writeFileSync(join(root, 'folder/target'), 'old', { mode: 0o640 });
    symlinkSync('folder/target', join(root, 'link'));
    expect(await cli(['decode', '-i', image, '-o', join(root, 'link')])).toEqual(SUCCESS);
    expect(lstatSync(join(root, 'link')).isSymbolicLink()).toBe(true);
    expect(readlinkSync(join(root, 'link'))).toBe('folder/target');
    expect(readFileSync(join(root, 'folder/target'), 'utf8')).toBe(JSON_TEXT);
    expect(mode(join(root, 'folder/target'))).toBe('640');
    expect(readdirSync(join(root, 'folder'))).toEqual(['target']);
  });

  it('may be a pipe, or a device', async () => {
    const { root, image } = box();
    const pipe = join(root, 'pipe');
    makePipe(pipe);
    const reader = openSync(pipe, 'r+');
    try {
      expect(await cli(['decode', '-i', image, '-o', pipe])).toEqual(SUCCESS);
      const buffer = Buffer.alloc(JSON_TEXT.length + 1);
      expect(buffer.toString('utf8', 0, readSync(reader, buffer))).toBe(JSON_TEXT);
    } finally {
      closeSync(reader);
    }
    expect(lstatSync(pipe).isFIFO()).toBe(true);
    expect(await cli(['decode', '-i', image, '-o', '/dev/null'])).toEqual(SUCCESS);
    expect(lstatSync('/dev/null').isCharacterDevice()).toBe(true);
  });

  it.each([
    ['a folder', (root: string) => root, 'is a directory (EISDIR)', 1],
    ['in a folder that is not there', (root: string) => join(root, 'no/out'), 'no such file or directory (ENOENT)', 1],
    ['a full device', () => '/dev/full', 'no space left on device (ENOSPC)', 75],
  ])('cannot be %s', async (_, place, error, code) => {
    const { root, image } = box();
    const out = place(root);
    expect(await cli(['decode', '-i', image, '-o', out])).toEqual({
      code,
      stdout: '',
      stderr: `pagepipe: error: ${out}: ${error}\n`,
    });
    expect(readdirSync(root).sort()).toEqual(['pipes-data.img', 'pipes-data.json']);
    expect(openFiles(root)).toEqual([]);
  });
});

describe('a reader that leaves', () => {
  it.each([
    ['decode', '-i', 'IMAGE'],
    ['show', 'IMAGE'],
    ['encode', '-i', 'JSON'],
    ['edit', 'IMAGE', '--set', 'entries[0].pipe_id=1', '-o', '-'],
  ])('is no failure of %s', async (...words) => {
    const { root, image, json } = box();
    const pipe = join(root, 'pipe');
    makePipe(pipe);
    const reader = openSync(pipe, 'r+');
    const stdoutFd = openSync(pipe, 'w');
    closeSync(reader);
    try {
      const named = words.map((word) => ({ IMAGE: image, JSON: json })[word] ?? word);
      expect(await cli(named, { stdoutFd })).toEqual(SUCCESS);
    } finally {
      closeSync(stdoutFd);
    }
  });
});

describe('a signal', () => {
  it.each([
    ['decode', 'SIGTERM', 143],
    ['encode', 'SIGINT', 130],
  ] as const)('ends %s, which waits for its stdin, and nothing is left: %s', async (command, signal, exitCode) => {
    const root = tempDir();
    mkdirSync(join(root, 'box'));
    const pipe = join(root, 'pipe');
    makePipe(pipe);
    const stdin = openSync(pipe, 'r+');
    writeSync(stdin, command === 'decode' ? IMAGE.subarray(0, 9) : Buffer.from(JSON_TEXT.slice(0, 30)));
    const watcher = watch(join(root, 'box'));
    const begun = once(watcher, 'change');
    const child = spawn(process.execPath, [BIN, command, '-o', join(root, 'box/out')], {
      stdio: [stdin, 'ignore', 'pipe'],
    });
    try {
      const closed = once(child, 'close');
      await Promise.race([begun, closed]);
      child.kill(signal);
      expect(await closed).toEqual([exitCode, null]);
      expect(readdirSync(join(root, 'box'))).toEqual([]);
    } finally {
      watcher.close();
      closeSync(stdin);
    }
  });
});

it('every image of a fixture, as a file, is what it is in the classes', async () => {
  const dump = 'zdtm/ns-msgque';
  const root = tempDir();
  for (const { name, path } of fixtureImages().filter((image) => image.dump === dump)) {
    const out = join(root, name);
    expect(await cli(['decode', '-i', path, '-o', out])).toEqual(SUCCESS);
    expect(readFileSync(out, 'utf8')).toBe(toJson(readImage(dump, name)));
  }
  expect(existsSync(join(root, 'core-1.img'))).toBe(true);
});
