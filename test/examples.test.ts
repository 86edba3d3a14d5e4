/** The programs in examples/ do what they say. They import the package by its name, so they run what the build made. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { describe, expect, it, onTestFinished } from 'vitest';
import { cli, runProcess } from './helpers/cli.js';
import { PageClient } from './helpers/page-client.js';
import { memoryOf } from './helpers/serving.js';
import { describeTree, fixture, ROOT, tempDir } from './helpers/temp.js';

const FAMILY = fixture('family-criu-4.2.1');
const example = (name: string): string => join(ROOT, 'examples', `${name}.mjs`);
const runExample = (name: string, ...words: string[]) => runProcess(process.execPath, [example(name), ...words]);

describe('the example', () => {
  it('zero-pages counts those that are in the dump', async () => {
    const { code, stdout, stderr } = await runExample('zero-pages', FAMILY);
    expect([code, stderr]).toEqual([0, '']);
    const lines = [...memoryOf(FAMILY)].map(([pid, pages]) => {
      const zeros = [...pages.values()].filter((bytes) => bytes.every((byte) => byte === 0));
      return `pid ${pid}: ${zeros.length} of ${pages.size} pages are zeros`;
    });
    expect(stdout.trimEnd().split('\n').sort()).toEqual(lines.sort());
  });

  it('largest-run passes a dump on unchanged', async () => {
    const dir = tempDir();
    const stream = join(dir, 'stream');
    await cli(['read', FAMILY], { stdout: stream });
    const { code, bytes, stderr } = await runProcess(process.execPath, [example('largest-run')], {
      input: readFileSync(stream),
    });
    expect([code, stderr]).toEqual([0, '64 pages at 0x7f03ff1ea000 of pagemap-15.img\n']);
    expect(bytes.equals(readFileSync(stream))).toBe(true);
  });

  it('ndjson gives a line for each entry', async () => {
    const { code, stdout } = await runExample('ndjson', join(FAMILY, 'pstree.img'));
    expect(code).toBe(0);
    const lines = stdout.trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).pid)).toEqual([15, 19, 20, 21]);
  });

  it('make-lazy makes what the command makes', async () => {
    const dir = tempDir();
    await cli(['copy', FAMILY, join(dir, 'dump.tar'), '--to', 'tar']);
    const { code, stdout } = await runExample('make-lazy', join(dir, 'dump.tar'), join(dir, 'lazy.tar.gz'));
    expect(code).toBe(0);
    expect(stdout).toMatch(/^\d+ bytes before, \d+ after, in 4 address spaces\n$/);
    await cli(['copy', join(dir, 'lazy.tar.gz'), join(dir, 'out')]);
    await cli(['make-lazy', join(dir, 'dump.tar'), join(dir, 'command'), '--to', 'directory']);
    expect(describeTree(join(dir, 'out'))).toEqual(describeTree(join(dir, 'command')));
  });

  it('page-server answers CRIU and HTTP', async () => {
    const child = spawn(process.execPath, [example('page-server'), FAMILY], { stdio: ['ignore', 'pipe', 'inherit'] });
    onTestFinished(() => void child.kill('SIGKILL'));
    const [line] = await once(createInterface(child.stdout), 'line');
    const [, port, url] = /^pages at (\d+), status at (\S+)$/.exec(line) ?? [];
    const [[vaddr, bytes] = []] = memoryOf(FAMILY).get(15) ?? [];
    const client = new PageClient(connect(Number(port)));
    client.get(15, vaddr as bigint, 1);
    expect((await client.answer())?.bytes.equals(bytes as Uint8Array)).toBe(true);
    expect(await client.close()).toBe(0);
    const status = await (await fetch(url as string)).json();
    expect(status).toMatchObject({ clients: 1, pages: 1 });
  });
});
