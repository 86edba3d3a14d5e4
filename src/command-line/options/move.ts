/** Options of commands that send a dump or a process to another machine. */
import { ADDRESS, type Option } from './option.js';

export const MOVE_OPTIONS = {
  lazy: { type: 'boolean', help: 'send first what is needed at once, the other pages later' },
  pageServer: {
    ...ADDRESS,
    help: 'address of the page server: where lazy-pages gets the pages, and where the far end of send serves them to criu lazy-pages',
    fallback: 'of send 127.0.0.1, a free port',
  },
  keepServing: { type: 'boolean', help: 'serve more restores until it is stopped' },
  rsh: {
    type: 'string',
    short: 'e',
    value: 'COMMAND',
    help: "use this in place of ssh, such as 'ssh -p 2222'; it gets HOST and the words of a command",
    fallback: 'ssh',
  },
  restoreOptions: {
    type: 'string',
    value: 'WORDS',
    help: 'more options for criu restore, in words between spaces: --restore-options=--tcp-established',
    fallback: 'those behind -- that both need',
  },
  farCriu: { type: 'string', value: 'PATH', help: 'where criu is on HOST', fallback: 'criu' },
  dumpDir: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'with --lazy, hold a complete dump in this folder until all pages are there, not the processes',
  },
  olderCriu: { type: 'boolean', help: 'take a criu on HOST that is older than the one here' },
  keepDump: { type: 'boolean', help: 'keep the dump when the processes run, instead of removing it' },
  pagepipePath: { type: 'string', value: 'PATH', help: 'where pagepipe is on HOST', fallback: 'pagepipe' },
} as const satisfies Record<string, Option>;
