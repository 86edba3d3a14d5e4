/** `pagepipe search` over whole dumps: what is searched, what is printed, and the exit codes. */
import { spawnSync } from 'node:child_process';
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { TaskMemories } from '../../src/explore/task-memory.js';
import { searchMemory } from '../../src/search/search.js';
import { image, mm } from '../explore/images.js';
import { cli, pagepipe } from '../helpers/cli.js';
import { directory } from '../helpers/dump-files.js';
import { ANON, PE, type pageContent, readMemory, STATUS, writeDump } from '../helpers/dump-writer.js';
import { expectFits, jsonLines } from '../helpers/json-schema.js';
import { fixture, tempDir } from '../helpers/temp.js';

let dump: string;
beforeEach(() => {
  dump = join(tempDir(), 'dump');
});

const AREA = { start: 0x10000n, end: 0x18000n, ...ANON };

/** Text in otherwise empty memory, by pagemap and address. */
function withText(texts: Record<string, Record<number, string | Uint8Array>>): typeof pageContent {
  return (pagemap, address, pageSize = 4096) => {
    const page = Buffer.alloc(pageSize);
    for (const [at, text] of Object.entries(texts[pagemap] ?? {})) {
      const offset = Number(at) - Number(address);
      const bytes = Buffer.from(text as string);
      for (let i = Math.max(0, offset); i < Math.min(pageSize, offset + bytes.length); i++) {
        page[i] = bytes[i - offset] as number;
      }
    }
    return page;
  };
}

async function search(words: readonly string[], options: Parameters<typeof cli>[1] = {}) {
  const stdout = join(tempDir(), 'stdout');
  const { code, stderr } = await cli(['search', dump, ...words], { stdout, ...options });
  return { code, stderr, lines: readFileSync(stdout, 'utf8').split('\n').slice(0, -1) };
}

describe('search', () => {
  it('finds text across pages and entries, and prints what is around it, escaped', async () => {
    const entries = [
      { vaddr: 0x10000n, pages: 1 },
      { vaddr: 0x11000n, pages: 1, flags: PE.PRESENT | PE.LAZY },
    ];
    const content = withText({ 'pagemap-7.img': { 69627: '\x1b[\\needle\n\t\x7f' } });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries }], content });
    expect(await search(['needle', '--context', '5'])).toEqual({
      code: 0,
      stderr: '',
      lines: ['7 0x10ffe anon: \\x00\\x00\\x1b[\\\\needle\\n\\t\\x7f\\x00\\x00'],
    });
    expect((await search(['--hex', '6e ?5', '--context', '1'])).lines).toEqual(['7 0x10ffe anon: 5c [6e 65] 65']);
    expect((await search(['--regex', 'N[E]+dle', '--ignore-case', '--context', '0'])).lines).toEqual([
      '7 0x10ffe anon: needle',
    ]);
    expect(await search(['noodle'])).toEqual({ code: 1, stderr: '', lines: [] });
  });

  it('takes pages that are not there as borders, and says which those are', async () => {
    const entries = [
      { vaddr: 0x10000n, pages: 1 },
      { vaddr: 0x11000n, pages: 1, flags: PE.LAZY },
      { vaddr: 0x12000n, pages: 1 },
      { vaddr: 0x14000n, pages: 1 },
    ];
    const content = withText({ 'pagemap-7.img': { 69630: 'ab', 73728: 'cd', 77822: 'ef', 81920: '\0g' } });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries }], content });
    expect(await search(['--regex', '(?s)ab.*c|ef\\x00'])).toMatchObject({
      code: 1,
      stderr: 'pagepipe: note: not searched: 1 page that a restore fetches later\n',
    });
    expect((await search(['--regex', '^[ce]|[bf]$', '--count'])).lines).toEqual(['7: 3', 'total: 3']);
  });

  it('finds pages of a parent, and says if it is not there', async () => {
    const flags = PE.PARENT;
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 1, flags }] }] });
    expect(await search(['x'])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/not searched: 1 page of a parent dump/),
    });
    // The same as in memory that is put together by hand.
    dump = fixture('chain/mprotect00/3');
    const pages = ['1', '2', '3'].flatMap((level) => [...readMemory(fixture(`chain/mprotect00/${level}`))]);
    const memory = new Map(pages.flatMap(([pagemap, own]) => (/pagemap-\d/.test(pagemap) ? [...own] : [])));
    const bytes = [...memory.values()].map((page) => Buffer.from(page).toString('latin1'));
    const expected = bytes.reduce((sum, page) => sum + (page.match(/\x7fELF/g)?.length ?? 0), 0);
    expect(expected).toBeGreaterThan(0);
    expect((await search(['--hex', '7f454c46', '--count'])).lines.at(-1)).toBe(`total: ${expected}`);
  });

  it('finds what is in shared memory once, with the places of all processes', async () => {
    const shared = { flags: 1, status: STATUS.REGULAR | STATUS.ANON_SHARED, shmid: 44n };
    const own = { start: 0x10000n, end: 0x12000n };
    const entries = [{ vaddr: 0x10000n, pages: 1 }];
    const content = withText({
      'pagemap-7.img': { 65540: 'needle' },
      'pagemap-shmem-44.img': { 8190: 'needle' },
      'pagemap-shmem-45.img': { 16: 'needle' },
    });
    const shmem = [44, 45].map((id) => ({ id, entries: [{ vaddr: 0n, pages: 3 }] }));
    writeDump(dump, {
      tasks: [
        { pid: 7, entries },
        { pid: 8, entries },
        { pid: 9, dead: true },
      ],
      shmem,
      content,
    });
    for (const [pid, at] of [
      [7, 0x50000n],
      [8, 0x90000n],
    ] as const) {
      const areas = [own, { start: at, end: at + 0x2000n, pgoff: 0x1000n, ...shared }];
      writeFileSync(join(dump, `mm-${pid}.img`), image('MM', [mm(1, areas)]));
    }
    const places = ['7 0x10004 anon', 'shmem 44 0x1ffe (7 0x50ffe, 8 0x90ffe)', 'shmem 45 0x10 (not mapped here)'];
    const lines = (of: readonly string[]) => of.map((line) => `${line}: needle`);
    expect((await search(['needle', '--context', '0'])).lines).toEqual(lines(places));
    expect((await search(['needle', '--context', '0', '--pid', '8'])).lines).toEqual(
      lines(['shmem 44 0x1ffe (8 0x90ffe)']),
    );
    expect((await search(['needle', '--context', '0', '--kind', 'anon'])).lines).toEqual(lines(places.slice(0, 1)));
    expect((await search(['needle', '--context', '0', '--kind', 'shmem'])).lines).toEqual(lines(places.slice(1)));
    expect((await search(['needle', '--context', '0', '--kind', 'anon-shared'])).lines).toEqual(
      lines(places.slice(1, 2)),
    );
    const found = jsonLines((await search(['needle', '--json'])).lines.join('\n'));
    for (const hit of found) expectFits('search', hit);
    expect(found[1]).toMatchObject({
      segment: 44,
      offset: '0x1ffe',
      mappings: [
        { pid: 7, address: '0x50ffe', kind: 'anon-shared' },
        { pid: 8, address: '0x90ffe', kind: 'anon-shared' },
      ],
      bytes: Buffer.from('needle').toString('hex'),
    });
    const counts = jsonLines((await search(['needle', '--json', '--count'])).lines.join('\n'));
    for (const count of counts) expectFits('search', count);
    expect(counts).toEqual([
      { pid: 7, matches: 1 },
      { segment: 44, matches: 1 },
      { segment: 45, matches: 1 },
      { event: 'summary', matches: 3 },
    ]);
  });

  it('finds UTF-16 as well, with --wide', async () => {
    const content = withText({ 'pagemap-7.img': { 65552: Buffer.from('Grüße', 'utf16le'), 65792: 'Grüße' } });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 1 }] }], content });
    expect((await search(['Grüße', '--count'])).lines).toEqual(['7: 1', 'total: 1']);
    expect((await search(['Grüße', '--wide', '--context', '0'])).lines).toEqual([
      '7 0x10010 anon: G\\x00r\\x00\\xfc\\x00\\xdf\\x00e\\x00',
      '7 0x10100 anon: Gr\\xc3\\xbc\\xc3\\x9fe',
    ]);
  });

  it('finds the same in compressed pages as in plain ones', async () => {
    const content = withText({ 'pagemap-7.img': { 73725: 'needle', 77840: 'needle' } });
    const entries = [{ vaddr: 0x10000n, pages: 4 }];
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries }], content, generation: '4.3', pagesPerBlock: 2 });
    const lines = ['7 0x11ffd anon: needle', '7 0x13010 anon: needle'];
    expect((await search(['needle', '--context', '0'])).lines).toEqual(lines);
  });

  it.each<[string, string[], RegExp]>([
    ['an empty pattern', [''], /expected PATTERN, found an empty argument/],
    ['a wrong regular expression', ['--regex', '(a'], /PATTERN: missing closing \)/],
    ['wrong hex', ['--hex', 'xy'], /PATTERN: expected hexadecimal digits/],
    ['two kinds of patterns', ['--hex', '--regex', 'aa'], /--hex does not go with --regex/],
    ['wide bytes', ['--hex', '--wide', 'aa'], /--wide does not go with --hex/],
    ['case of text', ['--ignore-case', 'aa'], /--ignore-case goes only with --regex/],
    ['--show of a pattern', ['--show', 'aa'], /--show goes only with --secrets/],
    ['a pattern with --secrets', ['--secrets', 'aa'], /expected DUMP, found one more: aa/],
    ['too much context', ['--context', '65537', 'aa'], /--context: expected a number of at most 65536/],
    ['a process that is not there', ['--pid', '3', 'aa'], /--pid: expected one of 7, found 3/],
    ['an unknown kind', ['--kind', 'nope', 'aa'], /--kind: expected one of/],
  ])('refuses %s', async (_, words, message) => {
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [] }] });
    const { code, stderr, lines } = await search(words);
    expect(stderr).toMatch(message);
    expect({ code, lines }).toEqual({ code: 2, lines: [] });
  });

  it('fails with a message for a dump that cannot be read', async () => {
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 1 }] }] });
    rmSync(join(dump, 'mm-7.img'));
    expect(await search(['x'])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^pagepipe: error: mm-7\.img: expected this image/),
    });
  });

  it('ends quietly when nobody reads on', async () => {
    const content = () => Buffer.alloc(4096, 'a');
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 8 }] }], content });
    const { code, stdout, stderr } = await pagepipe(['search', dump, 'a']);
    expect({ code, stderr, lines: stdout.split('\n').length }).toEqual({ code: 0, stderr: '', lines: 0x8001 });
    const script = `${process.execPath} bin/pagepipe.js search ${dump} a | head -1`;
    const piped = spawnSync('bash', ['-o', 'pipefail', '-c', script], { encoding: 'utf8' });
    expect({ status: piped.status, stderr: piped.stderr }).toEqual({ status: 0, stderr: '' });
  });

  it('is a function of the library', () => {
    const content = withText({ 'pagemap-7.img': { 65540: 'needle' } });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 1 }] }], content });
    const hits = searchMemory(new TaskMemories(directory(dump)), { text: 'needle' });
    expect([...hits]).toMatchObject([{ pid: 7, address: 0x10004n, area: { kind: 'anon', start: 0x10 } }]);
  });
});

describe('search --secrets', () => {
  const SECRETS: Record<string, string> = {
    'private-key': '-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIBAAKCAQEA1234+/==\n-----END RSA PRIVATE KEY-----',
    'openssh-key': 'openssh-key-v1\0',
    'aws-key': `AKIA${'ABCDEFGH'.repeat(2)}`,
    'github-token': `ghp_${'aB3'.repeat(12)}`,
    'gitlab-token': `glpat-${'x1_-'.repeat(5)}`,
    'slack-token': `xoxb-${'123456789012'}-abc`,
    'google-api-key': `AIza${'a-B_1'.repeat(7)}`,
    'google-oauth-token': `ya29.${'a0Af'.repeat(8)}`,
    'stripe-key': `sk_live_${'0aZ9'.repeat(6)}`,
    'npm-token': `npm_${'Ab1'.repeat(12)}`,
    jwt: 'eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N',
    'url-password': 'postgres://user:hunter2@d',
    'authorization-header': 'Authorization: Bearer abcdefgh12345678',
    password: 'DB_PASSWORD=correct-horse',
  };

  it('prints places and kinds, and values only with --show', async () => {
    const kinds = Object.keys(SECRETS);
    const texts = Object.fromEntries(kinds.map((kind, i) => [0x10010 + i * 0x100, SECRETS[kind] as string]));
    const content = withText({ 'pagemap-7.img': texts });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 1 }] }], content });
    // Of a password the text before it is not part.
    const address = (i: number) => (0x10010 + i * 0x100 + (kinds[i] === 'password' ? 3 : 0)).toString(16);
    const places = kinds.map((kind, i) => `7 0x${address(i)} anon: ${kind}`);
    expect(await search(['--secrets'])).toEqual({ code: 0, stderr: '', lines: places });
    const shown = (await search(['--secrets', '--show'])).lines;
    expect(shown).toHaveLength(places.length);
    kinds.forEach((kind, i) => {
      const text = (SECRETS[kind] as string).replaceAll('\n', '\\n').replaceAll('\0', '\\x00').replace(/^DB_/, '');
      expect(shown[i]).toBe(`${places[i]}: ${text}`);
    });
    for (const line of jsonLines<{ secret: string }>((await search(['--secrets', '--json'])).lines.join('\n'))) {
      expectFits('search', line);
      expect(Object.keys(line)).toEqual(['pid', 'address', 'kind', 'file', 'secret']);
    }
    const [key] = jsonLines<object>((await search(['--secrets', '--show', '--json'])).lines.join('\n'));
    expect(key).toMatchObject({ bytes: Buffer.from(SECRETS['private-key'] as string).toString('hex') });
  });

  it('does not take other text for secrets', async () => {
    const texts = {
      65552: 'https://host:8080/path?mail=a@b.c',
      65792: 'password=',
      66048: '-----BEGIN CERTIFICATE-----\nMIIE\n-----END CERTIFICATE-----',
      66304: 'XAKIAABCDEFGHABCDEFGH eyJ.eyJ. sk_test_abcdefghabcdefgh http://user@host',
    };
    const content = withText({ 'pagemap-7.img': texts });
    writeDump(dump, { tasks: [{ pid: 7, vmas: [AREA], entries: [{ vaddr: 0x10000n, pages: 1 }] }], content });
    expect(await search(['--secrets'])).toEqual({ code: 1, stderr: '', lines: [] });
  });
});
