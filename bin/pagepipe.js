#!/usr/bin/env node
import { setFlagsFromString } from 'node:v8';

// Batches of records die as soon as they are written. A young generation of one MiB collects them while they are few,
// so that a process takes the same memory for a dump of 1 GiB and for one of 64 GiB. The tokens of a piece of JSON
// live a little longer, and are many: collected so early they would take half of the time of encode.
if (process.argv[2] === 'encode') {
  setFlagsFromString('--max-semi-space-size=4');
} else {
  setFlagsFromString('--max-semi-space-size=1');
  setFlagsFromString('--semi-space-growth-factor=1');
  // One MiB is collected before the threads that could help have woken up.
  setFlagsFromString('--no-parallel-scavenge');
}

const { runProcess } = await import('../dist/cli.js');
await runProcess();
