/**
 * The stage that makes a template: the pages of mapped areas go into files, and leave the pagemap. The images of the areas and
 * of the files come at the end, changed. So a plain restore maps these pages and does not read them.
 *
 * Images must come before pages, as they do from a directory. Areas are no longer what they were, so their records do not go
 * on.
 */

import { statSync } from 'node:fs';
import { join } from 'node:path';
import { flushable } from 'stream-chain';
import { none } from 'stream-chain/defs.js';
import { ExtentReader, FILE_PIECE_BYTES, portions } from '../dump/extents.js';
import { MAPPED_SUFFIX } from '../dump/names.js';
import { PayloadCheck } from '../dump/payload-check.js';
import type { Stage } from '../dump/pump.js';
import type { DumpRecord, ExtentsRecord, PayloadRecord, RunsRecord, Space } from '../dump/records.js';
import { DumpError, invariant, onFile } from '../errors.js';
import { Fifo } from '../fifo.js';
import { Breather } from '../io/breathe.js';
import { addressHex, detailOf, isReadHere, type RunBatch, runPayloadBytes, sliceRuns } from '../memory/runs.js';
import { HeldImages } from './images.js';
import { type Manifest, newManifest } from './manifest.js';
import { type MappedArea, openShared, SharedPages } from './mapped-area.js';
import type { MemoryPlace } from './memory-folder.js';
import { Planner, type PlanOptions, type TaskPlan } from './plan.js';
import { type Item, PassedRuns, type Placing, RoutedRun, zeroPages } from './route.js';
import { templateImages } from './template-images.js';

/** Where all pages of an area are in one file of the dump. */
export interface PlaceInDump {
  /** Absolute. */
  path: string;
  /** Of the first page, in bytes. */
  offset: number;
}

export interface TemplateOptions extends PlanOptions {
  folder: MemoryPlace;
  /** Where an area is in a pages file, if all its pages are there in one piece. */
  inPlace?: ((space: Space, area: MappedArea) => PlaceInDump | undefined) | undefined;
  signal?: AbortSignal;
}

export interface TemplateStage {
  stage: Stage;
  /** Of each task, in the order of their pages. */
  plans: readonly TaskPlan[];
}

/**
 * Makes the stage. The folder is complete at the end, but not in its place: the caller commits or discards it.
 * @throws {DumpError} ORDER for images that come after pages; PARTIAL_DUMP, NO_PARENT where pages are elsewhere
 */
export function template(options: TemplateOptions): TemplateStage {
  const maker = new TemplateMaker(options);
  const close = (): typeof none => {
    maker.close();
    return none;
  };
  return { stage: flushable((record: DumpRecord) => maker.take(record), close, close), plans: maker.plans };
}

class TemplateMaker implements Placing {
  readonly plans: TaskPlan[] = [];
  readonly extents = new ExtentReader(FILE_PIECE_BYTES);
  pageSize = 0;
  private march: number | undefined;
  private readonly images = new HeldImages();
  private planner: Planner | undefined;
  private manifest: Manifest | undefined;
  private space: Space | undefined;
  private plan: TaskPlan | undefined;
  /** Index of the area that the runs have come to. */
  private areaAt = 0;
  /** Bits of a run with pages, for the generation of entries that are added. */
  private lastBits = 0;
  /** The area whose pages are compared with those of a relative. */
  private sharing: MappedArea | undefined;
  private readonly items = new Fifo<Item>();
  private current: Item | undefined;
  /** Whether the payload that comes belongs to what passes as it is. */
  private passes = true;
  private readonly check = new PayloadCheck();
  private readonly breather = new Breather();
  /** Indices of files of the dump that are mapped, by path. */
  private readonly inPlace = new Map<string, number>();

  constructor(private readonly options: TemplateOptions) {}

  take(record: DumpRecord): typeof none | Generator<DumpRecord> | AsyncGenerator<DumpRecord> {
    if (this.images.take(record)) {
      if (!this.planner) return none;
      throw new DumpError('ORDER', 'expected this image before the first page, found it behind', {
        file: record.type === 'file' ? record.name : '',
        hint: 'give the archive to pagepipe template, not its page stream',
      });
    }
    if (record.type === 'end') return this.end(record);
    return record.type === 'extents' && !this.passes ? this.copied(record) : this.takeOther(record);
  }

  close(): void {
    this.sharing?.shared?.close();
    this.sharing = undefined;
  }

  private *takeOther(record: DumpRecord): Generator<DumpRecord> {
    switch (record.type) {
      case 'header':
        ({ pageSize: this.pageSize, march: this.march } = record);
        this.extents.expect(record.payloadBytes ?? 0);
        yield record;
        break;
      case 'file':
        if (record.name === 'parent') {
          throw new DumpError('NO_PARENT', 'some of its pages are in the parent dump, which is not in the stream', {
            file: 'parent',
            hint: 'give the dump itself to pagepipe template',
          });
        }
        this.passes = true;
        yield record;
        break;
      case 'areas':
        break;
      case 'runs':
        yield* this.takeRuns(record);
        break;
      case 'bytes':
      case 'extents':
        if (this.passes) yield record;
        else yield* this.payload(record);
        break;
      case 'check':
        if (this.passes) yield record;
        else this.check.end(record, this.space?.pagemap ?? '');
        break;
      default:
        yield record;
    }
  }

  /** Payload by reference, which may be all memory of a task: signals are handled in between. */
  private async *copied(record: ExtentsRecord): AsyncGenerator<DumpRecord> {
    for (const portion of portions(record)) {
      yield* this.payload(portion);
      await this.breather.due();
      this.options.signal?.throwIfAborted();
    }
  }

  private async *end(record: DumpRecord): AsyncGenerator<DumpRecord> {
    yield* this.endSharing();
    const { folder } = this.options;
    const manifest = this.manifestOf();
    const changed = templateImages(this.images, this.plans, manifest, this.march);
    await folder.complete(manifest);
    yield* this.images.records((name, bytes) => changed.get(name) ?? bytes);
    yield record;
  }

  private *takeRuns(record: RunsRecord): Generator<DumpRecord> {
    const { space, runs } = record;
    if (this.space?.index !== space.index) yield* this.enter(space);
    const first = runs.pageNumbers[0] ?? 0;
    if (this.sharing && this.sharing.end <= first) yield* this.endSharing();
    this.passes = !this.touches(runs);
    if (this.passes) {
      yield record;
      return;
    }
    this.check.start();
    this.addItems(space, runs);
    yield* this.advance();
  }

  /** Goes on to the next task. */
  private *enter(space: Space): Generator<DumpRecord> {
    yield* this.endSharing();
    this.options.folder.endFile();
    this.space = space;
    this.areaAt = 0;
    this.plan = undefined;
    this.planner ??= new Planner(this.images, this.options, { pageSize: this.pageSize, march: this.march });
    if (space.pid === undefined) return;
    this.plan = this.planner.plan(space.pid);
    this.plans.push(this.plan);
  }

  /** Whether some of the runs may be in areas that are mapped. */
  private touches({ pageNumbers, pages }: RunBatch): boolean {
    const last = pageNumbers.length - 1;
    if (last < 0) return false;
    const area = this.nextArea(pageNumbers[0] as number);
    return area !== undefined && area.start < (pageNumbers[last] as number) + (pages[last] as number);
  }

  /** The first area that ends behind a page. */
  private nextArea(pageNumber: number): MappedArea | undefined {
    const areas = this.plan?.areas ?? [];
    while (this.areaAt < areas.length && (areas[this.areaAt] as MappedArea).end <= pageNumber) this.areaAt++;
    return areas[this.areaAt];
  }

  private addItems(space: Space, runs: RunBatch): void {
    let from = 0;
    const pass = (to: number) => {
      if (to > from) this.items.push(new PassedRuns(this, space, sliceRuns(runs, from, to, this.pageSize)));
      from = to + 1;
    };
    for (let i = 0; i < runs.bits.length; i++) {
      const pageNumber = runs.pageNumbers[i] as number;
      const pages = runs.pages[i] as number;
      const area = this.nextArea(pageNumber);
      if (!area || area.start >= pageNumber + pages) continue;
      const bits = runs.bits[i] as number;
      if (!isReadHere(bits)) throw this.elsewhere(space, pageNumber);
      this.lastBits = bits;
      pass(i);
      const areas = (this.plan as TaskPlan).areas.slice(this.areaAt, this.areaAt + 1);
      for (let next = this.areaAt + 1; ; next++) {
        const more = this.plan?.areas[next];
        if (!more || more.start >= pageNumber + pages) break;
        areas.push(more);
      }
      const run = { pageNumber, pages, bits, detail: detailOf(runs, i) };
      this.items.push(new RoutedRun(this, space, run, areas, runPayloadBytes(runs, i, this.pageSize)));
    }
    pass(runs.bits.length);
  }

  private elsewhere(space: Space, pageNumber: number): DumpError {
    const what = `the page at 0x${addressHex(pageNumber, this.pageSize)} is not in this dump, and an area with it cannot be mapped`;
    return new DumpError('PARTIAL_DUMP', what, {
      file: space.pagemap,
      hint: 'give the whole dump; pagepipe merge makes one of two halves',
    });
  }

  /** Ends the current item if it has all its payload, and begins the next. */
  private *advance(): Generator<DumpRecord> {
    while (!this.current || this.current.bytesLeft === 0) {
      this.current?.end();
      this.current = this.items.take();
      if (!this.current) return;
      yield* this.current.begin();
    }
  }

  private *payload(record: PayloadRecord): Generator<DumpRecord> {
    if (record.type === 'bytes') {
      this.check.add(record.bytes);
      for (let at = 0; at < record.bytes.length; ) {
        const item = this.itemWithPayload();
        const bytes = record.bytes.subarray(at, at + item.bytesLeft);
        at += bytes.length;
        yield* item.take({ type: 'bytes', bytes });
        yield* this.advance();
      }
      return;
    }
    const { file, extents } = record;
    let gathered: number[] = [];
    let room = this.itemWithPayload().bytesLeft;
    for (let i = 0; i < extents.length; i += 2) {
      let position = extents[i] as number;
      for (let left = extents[i + 1] as number; left > 0; ) {
        const count = Math.min(left, room);
        gathered.push(position, count);
        position += count;
        left -= count;
        room -= count;
        if (room > 0) continue;
        yield* this.itemWithPayload().take({ type: 'extents', file, extents: Float64Array.from(gathered) });
        gathered = [];
        yield* this.advance();
        room = this.current?.bytesLeft ?? 0;
      }
    }
    if (gathered.length > 0) {
      yield* this.itemWithPayload().take({ type: 'extents', file, extents: Float64Array.from(gathered) });
    }
  }

  private itemWithPayload(): Item {
    invariant(this.current, 'payload belongs to a run');
    return this.current;
  }

  // What a routed run asks for.

  /** Decides where the pages of an area go that has none yet, unless it depends on the first of them. */
  place(space: Space, area: MappedArea): void {
    const inPlace = this.options.inPlace?.(space, area);
    if (inPlace) {
      area.at = { file: this.fileInPlace(inPlace.path), offset: inPlace.offset, path: inPlace.path };
    } else if (!area.relative?.at || !this.options.folder.canShare) {
      this.placeAlone(area);
    }
  }

  /** Gives an area a file of its own. */
  placeAlone(area: MappedArea): void {
    const { folder } = this.options;
    const { files } = this.manifestOf();
    const path = `${area.pid}-${addressHex(area.start, this.pageSize)}${MAPPED_SUFFIX}`;
    const output = folder.begin(path, (area.end - area.start) * this.pageSize);
    const { size, mode } = output;
    area.output = output;
    area.at = { file: files.length, offset: 0, path: output.path };
    files.push({ name: join(folder.name, path), path, size, mode, mtimeNs: '' });
  }

  /** Has an area share the file of its relative, if the first pages are mostly the same. */
  placeWithRelative(area: MappedArea, sample: Uint8Array, pageNumber: number): void {
    const { relative } = area;
    invariant(relative?.at, 'the relative has a file');
    const fd = openShared(relative.at);
    const offset = relative.at.offset + (area.start - relative.start) * this.pageSize;
    const at = { ...relative.at, offset };
    const shared = new SharedPages(fd, area, at, this.pageSize);
    if (shared.resembles(pageNumber, sample)) {
      area.at = at;
      area.shared = shared;
      area.isShared = true;
    } else {
      shared.close();
      this.placeAlone(area);
    }
  }

  /** Notes that pages of an area are compared from now on. */
  *beginSharing(area: MappedArea): Generator<DumpRecord> {
    if (this.sharing !== area) yield* this.endSharing();
    this.sharing = area;
  }

  /** Pages that the relative has and the area has not, up to its end. */
  *endSharing(): Generator<DumpRecord> {
    const area = this.sharing;
    if (!area?.shared || !this.space) return;
    yield* this.zerosBefore(this.space, area, area.end);
    area.shared.close();
    area.shared = undefined;
    this.sharing = undefined;
  }

  *zerosBefore(space: Space, area: MappedArea, pageNumber: number): Generator<DumpRecord> {
    for (const { pageNumber: first, pages } of area.shared?.missing(pageNumber) ?? []) {
      yield* zeroPages(space, first, pages, this.lastBits, this.pageSize);
    }
  }

  private manifestOf(): Manifest {
    this.manifest ??= newManifest(this.pageSize, this.options.folder.name);
    return this.manifest;
  }

  private fileInPlace(path: string): number {
    const known = this.inPlace.get(path);
    if (known !== undefined) return known;
    const { files } = this.manifestOf();
    this.inPlace.set(path, files.length);
    const { size, mode, mtimeNs } = onFile(path, () => statSync(path, { bigint: true }));
    return files.push({ name: path, path, size: Number(size), mode: Number(mode), mtimeNs: String(mtimeNs) }) - 1;
  }
}
