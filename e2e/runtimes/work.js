// Objects of V8 and buffers: checked after the signal, then half of them made anew, several times. Needs --expose-gc.
const { createHash } = require('node:crypto');
const { appendFileSync } = require('node:fs');

const OBJECTS = 60000;
const report = (line) => appendFileSync(process.argv[2], `${line}\n`);
let bad = 0;
const expect = (condition, what) => {
  if (condition) return;
  bad++;
  report(`CORRUPT ${what}`);
};
const object = (id) => ({ id, name: `object ${id}`, list: [id, id * 2, id * 3], third: id / 3 });
const isRight = (it, id) => it.id === id && it.name === `object ${id}` && it.list[2] === id * 3 && it.third === id / 3;
const digest = (bytes) => createHash('sha256').update(bytes).digest('hex');

const objects = Array.from({ length: OBJECTS }, (_, id) => object(id));
const buffer = Buffer.alloc(10_000_000, 0x5a);
const numbers = new Float64Array(500_000).map((_, i) => i * 1.5);
const expected = digest(buffer);

function check() {
  expect(objects.every(isRight), 'objects');
  expect(digest(buffer) === expected, 'buffer');
  expect(
    numbers.every((number, i) => number === i * 1.5),
    'numbers',
  );
}

process.on('SIGUSR1', () => {
  for (let round = 0; round < 5; round++) {
    check();
    expect(Array.from({ length: OBJECTS }, (_, id) => object(id)).every(isRight), 'new objects');
    globalThis.gc();
    for (let id = round % 2; id < OBJECTS; id += 2) objects[id] = object(id);
    globalThis.gc();
    for (const size of [100, 10_000, 300_000, 3_000_000]) {
      const zeros = new Uint8Array(size);
      expect(
        zeros.every((byte) => byte === 0),
        `new Uint8Array(${size})`,
      );
      zeros.fill(7);
    }
  }
  check();
  report(bad ? 'FAILED' : 'OK');
  process.exit();
});
// What keeps it alive.
setInterval(() => {}, 1_000_000);
report(`ready ${process.pid}`);
