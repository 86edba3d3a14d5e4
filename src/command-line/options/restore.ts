/** Options of lazy restores, and of what streams a dump from or to CRIU. */
import { FILE, type Option } from './option.js';

export const RESTORE_OPTIONS = {
  workDir: {
    type: 'string',
    short: 'W',
    value: 'DIR',
    completes: 'folder',
    help: 'work directory of criu restore, in which the two meet at lazy-pages.socket',
    fallback: 'the current directory; of restore a new one',
  },
  imagesDir: {
    type: 'string',
    short: 'D',
    value: 'DIR',
    completes: 'folder',
    help: 'the images directory, as criu takes it: for lazy-pages DUMP, for the others the one in which CRIU looks for its streamer',
    fallback: 'none; for capture-wait the current directory',
  },
  tree: {
    type: 'number',
    short: 't',
    value: 'PID',
    help: 'run criu dump for this process tree; options behind -- are for it',
  },
  extFileFds: {
    type: 'string',
    short: 'e',
    value: 'NAME:FD',
    help: 'a file of the dump that goes through a pipe and not through CRIU, such as fs.tar:10; several by commas',
  },
  progressFd: {
    type: 'number',
    short: 'p',
    value: 'FD',
    help: 'write the lines of criu-image-streamer to this descriptor: socket-init, checkpoint-start, and JSON at the end',
  },
  tcpListenRemap: {
    type: 'string',
    value: 'OLD:NEW',
    help: 'have TCP sockets that listen at port OLD listen at NEW; several by commas, as for criu-image-streamer',
  },
  daemon: { type: 'boolean', short: 'd', help: 'go on in the background once a restore can begin' },
  pidfile: { ...FILE, help: 'write the pid of the daemon to FILE' },
  statusFd: {
    type: 'number',
    value: 'FD',
    help: 'write a byte of zero to this descriptor and close it once a restore can begin',
  },
  logFile: {
    ...FILE,
    help: 'with --daemon, write messages to FILE',
    fallback: 'lazy-pages.log in the work directory',
  },
  order: {
    ...FILE,
    help: 'deliver the pages that FILE names first, in its order: lines of PID 0xADDRESS, as --record writes them',
  },
  wait: { type: 'boolean', help: 'wait for the restored root task, as criu restore without -d' },
  plain: { type: 'boolean', help: 'restore without laziness, for comparison' },
  criu: { type: 'string', value: 'PATH', help: 'where criu is', fallback: 'criu' },
  keepListening: { type: 'boolean', help: 'serve any number of restores, until it is stopped' },
} as const satisfies Record<string, Option>;
