// The pages of pagepipe map in Chromium. See e2e/map.
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import puppeteer from 'puppeteer-core';
import { MapBuilder } from '../../dist/map/builder.js';
import { htmlMap } from '../../dist/map/html.js';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const [work, shots] = process.argv.slice(2);
if (shots) mkdirSync(shots, { recursive: true });

const HOSTILE = `</script><script>document.title = 'run'</script><img src="http://127.0.0.1:1/" onerror="document.title = 'run'">`;
/** Until all that can be seen is drawn. */
const MOST_SECONDS = 1;

const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM,
  args: ['--disable-gpu', '--disable-dev-shm-usage', ...(process.getuid() === 0 ? ['--no-sandbox'] : [])],
});
try {
  const map = join(work, 'map.html');
  const dump = join(ROOT, 'fixtures/family-criu-4.2.1');
  execFileSync(process.execPath, [join(ROOT, 'bin/pagepipe.js'), 'map', dump, '-o', map, '--content']);
  await check('a dump', map, walk);
  await check('two dumps', changed(dump), compare);
  await check('hostile names', made('hostile', sample({ processes: 2, runs: 100, name: HOSTILE }), HOSTILE), isText);
  await check(
    'a million runs',
    made('large', sample({ processes: 20, runs: 50_000, name: 'worker' }), 'large'),
    opensFast,
  );
} finally {
  await browser.close();
}

/** Opens a page, and fails if anything in it does, or if it asks for anything. */
async function check(what, file, look) {
  const page = await browser.newPage();
  const complaints = [];
  page.on('console', (message) => complaints.push(message.text()));
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    if (request.url() !== pathToFileURL(file).href) complaints.push(`asks for ${request.url()}`);
  });
  await page.setViewport({ width: 1280, height: 900 });
  await page.goto(pathToFileURL(file).href);
  await drawn(page);
  await look(page, file);
  assert.deepEqual(complaints, []);
  await page.close();
  console.log(`map: ${what}: ok`);
}

/** Waits for what has been asked for to be drawn. */
async function drawn(page) {
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
}

/** Uses everything that the page has. */
async function walk(page) {
  const [canvas] = await page.$$('canvas');
  const details = () => page.$eval('.details', (box) => (box.hidden ? '' : box.textContent));
  const picture = async () => {
    await drawn(page);
    return canvas.evaluate((element) => element.toDataURL());
  };
  const whole = await picture();
  assert.notEqual(
    whole,
    await canvas.evaluate(({ width, height }) => {
      const empty = Object.assign(document.createElement('canvas'), { width, height });
      return empty.toDataURL();
    }),
    'nothing was drawn',
  );
  assert.equal(await page.title(), 'Memory of family-criu-4.2.1');

  // The pointer says what is there.
  await canvas.scrollIntoView();
  const { x, y, width } = await canvas.boundingBox();
  await page.mouse.move(x + width / 2, y + 10);
  assert.match(await details(), /0x[0-9a-f]+–0x[0-9a-f]+ .*memfd · rw-s · shared memory 1188/);

  // The wheel zooms with Ctrl, and scrolls without.
  await page.keyboard.down('Control');
  await page.mouse.wheel({ deltaY: -400 });
  await page.keyboard.up('Control');
  const zoomed = await picture();
  assert.notEqual(zoomed, whole);
  await page.mouse.down();
  await page.mouse.move(x + width / 2 - 200, y + 10, { steps: 4 });
  await page.mouse.up();
  assert.notEqual(await picture(), zoomed, 'dragging moves');

  // Keys: the page can be used without a pointer.
  await page.click('h1');
  const focused = () => page.evaluate(() => document.activeElement?.ariaLabel ?? document.activeElement?.tagName);
  for (let i = 0; i < 20 && !(await focused())?.startsWith('pid 15'); i++) await page.keyboard.press('Tab');
  assert.match(await focused(), /^pid 15 mosaic: .*Arrow keys/);
  assert.notEqual(
    await canvas.evaluate((element) => getComputedStyle(element).outlineStyle),
    'none',
    'a visible focus',
  );
  await page.keyboard.press('Escape');
  await page.keyboard.press('Home');
  const said = () => page.$eval('.spoken', (box) => box.textContent);
  const first = await said();
  assert.match(first, /^0x[0-9a-f]+–/);
  await page.keyboard.press('ArrowRight');
  assert.notEqual(await said(), first);
  const atAll = await picture();
  await page.keyboard.press('Enter');
  const atOne = await picture();
  assert.notEqual(atOne, atAll);
  await page.keyboard.press('-');
  assert.notEqual(await picture(), atOne);
  await page.keyboard.press('Escape');
  assert.equal(await picture(), atAll);

  // The table sorts, filters, and leads back to the map.
  const column = (number) =>
    page.$$eval(`tbody td:nth-child(${number})`, (cells) => cells.map((cell) => cell.textContent));
  const button = await page.$('th:nth-child(1) button');
  await button.click();
  assert.equal(await page.$eval('th:nth-child(1)', (head) => head.ariaSort), 'ascending');
  const addresses = (await column(1)).map(BigInt);
  assert.deepEqual(
    addresses,
    [...addresses].sort((a, b) => (a < b ? -1 : Number(a > b))),
  );
  await page.type('input[type=search]', 'heap');
  assert.ok((await column(3)).every((what) => what.includes('heap')));
  assert.equal((await column(3)).length, 3);
  await page.click('tbody button');
  assert.match(await focused(), /^pid \d+ mosaic/);
  assert.match(await details(), /heap/);

  for (const theme of ['light', 'dark']) {
    await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: theme }]);
    for (const viewport of [
      { width: 1280, height: 900 },
      { width: 400, height: 800 },
    ]) {
      await page.setViewport(viewport);
      await page.evaluate(() => scrollTo(0, 0));
      await drawn(page);
      const isTooWide = () => document.documentElement.scrollWidth > innerWidth;
      assert.equal(await page.evaluate(isTooWide), false, `wider than ${viewport.width} pixels`);
      if (shots) await page.screenshot({ path: join(shots, `map-${viewport.width}-${theme}.png`), fullPage: true });
    }
  }
  const pdf = await page.pdf();
  assert.ok(pdf.length > 20_000);
  if (shots) writeFileSync(join(shots, 'map.pdf'), pdf);
}

/** The page of two dumps, of which the second has other bytes in some pages. */
function changed(dump) {
  const [other, file] = [join(work, 'other'), join(work, 'diff.html')];
  cpSync(dump, other, { recursive: true });
  const pages = readFileSync(join(other, 'pages-2.img'));
  for (let at = 40 * 4096; at < 80 * 4096; at += 4096) pages[at] ^= 255;
  writeFileSync(join(other, 'pages-2.img'), pages);
  const words = [join(ROOT, 'bin/pagepipe.js'), 'diff', dump, other, '--memory', '-o', file];
  assert.equal(spawnSync(process.execPath, words, { stdio: ['ignore', 'ignore', 'inherit'] }).status, 1);
  return file;
}

/** Uses the maps of two dumps, which are one below the other. */
async function compare(page) {
  assert.equal(await page.title(), 'Memory of family-criu-4.2.1 and other');
  const titles = await page.$$eval('.band h3', (heads) => heads.map((head) => head.textContent));
  assert.deepEqual(titles.slice(0, 2), ['A: family-criu-4.2.1: pid 15 mosaic', 'B: other: pid 15 mosaic']);
  const lanes = await page.$$eval('.band', ([band]) =>
    [...band.querySelectorAll('.lanes span')].map((lane) => lane.textContent),
  );
  assert.deepEqual(lanes, ['kind', 'state', 'changed']);
  const [a, b] = await page.$$('canvas');
  const picture = async (canvas) => {
    await drawn(page);
    return canvas.evaluate((element) => element.toDataURL());
  };
  // Both have the same areas and the same changes, so they look alike, also when one of them is zoomed and moved.
  const whole = await picture(a);
  assert.equal(await picture(b), whole);
  await a.scrollIntoView();
  const { x, y, width } = await a.boundingBox();
  await page.mouse.move(x + width / 3, y + 10);
  await page.keyboard.down('Control');
  await page.mouse.wheel({ deltaY: -600 });
  await page.keyboard.up('Control');
  await page.mouse.move(0, 0);
  const zoomed = await picture(b);
  assert.notEqual(zoomed, whole);
  assert.equal(await picture(a), zoomed);

  // The table says where changes are, and leads to them.
  const heads = await page.$$eval('th', (cells) => cells.map((cell) => cell.textContent));
  const column = heads.indexOf('Changed') + 1;
  assert.ok(column > 0);
  await (await page.$(`th:nth-child(${column}) button`)).click();
  const pages = await page.$$eval(`tbody td:nth-child(${column})`, (cells) => cells.map((cell) => cell.textContent));
  assert.deepEqual(pages.slice(0, 2), ['108 KiB', '108 KiB']);
  await page.click('tbody button');
  assert.match(await page.$eval('.details', (box) => box.textContent), /changed:changed 108 KiB/);
  if (shots) await page.screenshot({ path: join(shots, 'diff-1280-light.png'), fullPage: true });
}

async function isText(page) {
  assert.equal(await page.title(), `Memory of ${HOSTILE}`);
  assert.equal(await page.$('img'), null);
  assert.ok((await page.$eval('h3', (title) => title.textContent)).includes(HOSTILE));
  assert.ok((await page.$$eval('td', (cells) => cells.map((cell) => cell.textContent).join())).includes('onerror'));
}

/** Measured in time of the processor, which does not depend on what else the machine does. */
async function opensFast(page) {
  const session = await page.createCDPSession();
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  await page.reload();
  await drawn(page);
  const { metrics } = await session.send('Performance.getMetrics');
  const seconds = metrics.find(({ name }) => name === 'TaskDuration').value;
  console.log(`map: opened in ${seconds.toFixed(2)} s of processor time`);
  assert.ok(seconds < MOST_SECONDS);
}

function made(name, map, title) {
  const file = join(work, `${name}.html`);
  const html = htmlMap({ title: `Memory of ${title}`, maps: [{ name, map }] });
  assert.ok(html.length < 2 * 2 ** 20);
  writeFileSync(file, html);
  return file;
}

/** A map of processes whose pages change often. */
function sample({ processes, runs, name }) {
  const builder = new MapBuilder({ pageSize: 4096 });
  let random = 1;
  for (let pid = 1; pid <= processes; pid++) {
    builder.space('task', pid, name);
    for (let area = 0; area < 50; area++) {
      const start = area * 2 ** 20;
      builder.newArea({ start, end: start + runs, kind: 'file-private', flags: 'rw-p', file: `/lib/${name}` });
      for (let run = 0; run < runs / 50; run++) {
        random = (Math.imul(random, 1664525) + 1013904223) >>> 0;
        builder.pages(['lazy', 'zero', 'eager', 'file'][random >>> 30], 1 + ((random >>> 20) % 7));
      }
    }
  }
  return builder.map();
}
