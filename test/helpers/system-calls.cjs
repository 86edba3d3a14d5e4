/**
 * Notes which test files make system calls through koffi: all others do the same without, so `.ci/run` leaves them out when it runs
 * the tests again without system calls. `node --require` loads this into every process of the tests; SYSTEM_CALLS names the list.
 */
const { closeSync, openSync, writeSync } = require('node:fs');
const Module = require('node:module');

const { SYSTEM_CALLS } = process.env;
let noted;

function note() {
  const { TEST_FILE } = process.env;
  if (TEST_FILE === noted) return;
  noted = TEST_FILE;
  // Tests make other functions of node:fs fail.
  const fd = openSync(SYSTEM_CALLS, 'a');
  writeSync(fd, `${TEST_FILE}\n`);
  closeSync(fd);
}

const noting = (call) =>
  function called(...values) {
    note();
    return call.apply(this, values);
  };

function notingFunction(native) {
  const called = noting(native);
  called.async = noting(native.async);
  return called;
}

const load = Module._load;
Module._load = function loadNoting(name, ...rest) {
  const loaded = load.call(this, name, ...rest);
  if (name !== 'koffi' || SYSTEM_CALLS === undefined) return loaded;
  return Object.create(loaded, {
    load: {
      value(path) {
        const library = loaded.load(path);
        return { func: (declaration) => notingFunction(library.func(declaration)) };
      },
    },
  });
};
