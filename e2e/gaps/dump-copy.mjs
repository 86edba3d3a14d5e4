// A copy of a dump in which images are changed. The other files are hard links. A changed image goes through pagepipe's
// decode and encode.
import { execFile } from 'node:child_process';
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { promisify } from 'node:util';

const run = promisify(execFile);
const MAX_JSON_BYTES = 64 * 1024 * 1024;
/** Numbers that a double cannot hold become strings, which encode accepts. */
const LONG_NUMBER = /(?<=[[ :])-?\d{16,}(?=[,}\]])/g;

/** A dump as CRIU made it, and the ids in it. */
export class Original {
  #decoded = new Map();

  constructor(directory, pagepipe) {
    this.directory = directory;
    this.pagepipe = pagepipe;
  }

  async prepare() {
    const [root, child, other, zombie] = await this.entries('pstree.img');
    const filesOf = async ({ pid }) => (await this.entries(`ids-${pid}.img`))[0].files_id;
    this.names = {
      ROOT: root.pid,
      THREAD: root.threads.at(-1),
      CHILD: child.pid,
      OTHER: other.pid,
      ZOMBIE: zombie.pid,
      FILES: await filesOf(root),
      CHILDFILES: await filesOf(child),
    };
    this.names.PAGES = (await this.entries(`pagemap-${root.pid}.img`))[0].pages_id;
    const files = await this.entries('files.img');
    const pipe = files.find(({ type }) => type === 'PIPE').id;
    const descriptors = await this.entries(`fdinfo-${this.names.FILES}.img`);
    this.names.PIPE = pipe;
    this.names.PIPEFD = descriptors.find(({ id }) => id === pipe).fd;
    this.names.DEVICE = files.find(({ reg }) => reg?.name === '/dev/null').id;
    const images = readdirSync(this.directory);
    const number = (pattern) => images.map((name) => pattern.exec(name)?.[1]).find((found) => found > 0);
    this.names.SHMEM = number(/^pagemap-shmem-(\d+)\.img$/);
    for (const kind of ['utsns', 'timens', 'ipcns-var'])
      this.names[kind.toUpperCase()] = number(RegExp(`^${kind}-(\\d+)\\.img$`));
  }

  /** "mm-ROOT" to the name of that image here. */
  resolve(name) {
    return `${name.replace(/[A-Z]+(-VAR)?/g, (word) => this.names[word] ?? word)}${name.startsWith('stats') ? '' : '.img'}`;
  }

  /** The entries of an image, for the caller to change. */
  async entries(file) {
    return structuredClone((await this.json(file)).entries);
  }

  async json(file) {
    if (!this.#decoded.has(file)) {
      const [command, ...args] = this.pagepipe;
      const { stdout } = await run(command, [...args, 'decode', '-i', join(this.directory, file)], {
        maxBuffer: MAX_JSON_BYTES,
      });
      this.#decoded.set(file, JSON.parse(stdout.replace(LONG_NUMBER, '"$&"')));
    }
    return this.#decoded.get(file);
  }
}

export class DumpCopy {
  constructor(original, directory) {
    this.original = original;
    this.names = original.names;
    this.directory = directory;
    mkdirSync(directory, { recursive: true });
    for (const name of readdirSync(original.directory)) linkSync(join(original.directory, name), join(directory, name));
  }

  path(name) {
    return join(this.directory, this.original.resolve(name));
  }

  /** `change` gets the entries, and may return others. */
  async edit(name, change) {
    const { original } = this;
    const file = original.resolve(name);
    // A parent has the images of the dump.
    const { magic } = await original.json(basename(file));
    const entries = await original.entries(basename(file));
    const changed = (await change(entries, this.names)) ?? entries;
    await this.encode(name, { magic, entries: Array.isArray(changed) ? changed : entries });
  }

  async encode(name, image) {
    const json = join(this.directory, '..', 'image.json');
    writeFileSync(json, JSON.stringify(image));
    rmSync(this.path(name), { force: true });
    const [command, ...args] = this.original.pagepipe;
    await run(command, [...args, 'encode', '--unaligned', '-i', json, '-o', this.path(name)]);
  }

  read(name) {
    return readFileSync(this.path(name));
  }

  write(name, bytes) {
    rmSync(this.path(name), { force: true });
    writeFileSync(this.path(name), bytes);
  }

  remove(name) {
    rmSync(this.path(name));
  }

  link(from, to) {
    rmSync(this.path(to), { force: true });
    linkSync(this.path(from), this.path(to));
  }

  copy(from, to) {
    this.write(to, this.read(from));
  }
}
