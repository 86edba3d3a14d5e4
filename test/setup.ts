/** Runs before each test file. Files share modules: what is to run once is in a module of its own. */
import { afterAll, expect } from 'vitest';
import './helpers/equal-bytes.js';
import './helpers/whole-messages.js';
import { fixture, openFiles } from './helpers/temp.js';

// For system-calls.cjs.
process.env['TEST_FILE'] = expect.getState().testPath;

// It was for this process, and not for those that it starts.
delete process.env['GLIBC_TUNABLES'];

// Each process that is started would read these certificates first, which takes longer than most commands.
delete process.env['NODE_EXTRA_CA_CERTS'];

// Files share a process, too, and some tests look at what it has open.
afterAll(() => expect(openFiles(fixture('')), 'fixtures left open').toEqual([]));
