/** Commands that move a dump or a process, with the far ends that they start. */
import { LISTEN_OPTIONS, SINK_OPTIONS, SOURCE_OPTIONS } from '../options.js';
import type { CommandSpec } from './spec.js';

export const MOVE = {
  copy: {
    group: 'move',
    summary: 'copy a dump into another container, unchanged',
    usage: ['DUMP OUT [options]'],
    about: `Copies a dump unchanged into another place or another container, as tar and
criu-image-streamer extract do, but refuses an incomplete dump. DUMP is a
directory, a tar archive (plain, gzip or zstd), the shards of
criu-image-streamer or a page stream. OUT appears complete or not at all. The
same as pagepipe read DUMP | pagepipe write OUT, but a copy from an archive to
an archive includes the files outside the dump.`,
    options: [...SINK_OPTIONS, 'json', 'progress', ...SOURCE_OPTIONS],
    examples: `  pagepipe copy checkpoint.tar.zst dump
  pagepipe copy dump checkpoint.tar.zst --prefix checkpoint
  pagepipe copy shard0,shard1 dump --from shards
  pagepipe copy dump - --to tar --compress zstd |
    ssh host 'pagepipe copy - dump'
`,
  },
  send: {
    group: 'move',
    summary: 'send a dump to another machine through ssh',
    usage: ['DUMP HOST:OUT [--lazy] [options]'],
    about: `Sends a dump through ssh to the directory OUT on HOST, where pagepipe must be
installed, too. OUT appears complete or not at all. With --lazy it first sends
what make-lazy keeps, and says when HOST can restore it. The other pages follow
through the same connection on demand. It ends when a restore has fetched all.
For that DUMP must be a directory or a plain tar archive.

After an interruption run it again: HOST has either nothing or a lazy dump,
which the next run replaces.

The same with pipes
  pagepipe read dump | zstd | ssh host 'zstd -d | pagepipe write out'
and with --lazy, the pages through a second connection
  pagepipe read dump | pagepipe run 'classify | filter --drop lazy | rebuild' |
    ssh host pagepipe write out
  host$  pagepipe connect --listen 127.0.0.1:27000 -- \\
           ssh source pagepipe serve dump --stdio`,
    options: [
      'lazy',
      'policy',
      'eagerList',
      'pageServer',
      'keepServing',
      'compress',
      'force',
      'incomplete',
      'rsh',
      'pagepipePath',
      'json',
      'progress',
      ...SOURCE_OPTIONS,
    ],
  },
  migrate: {
    group: 'move',
    summary: 'move a running process to another machine',
    usage: ['PID HOST[:DIR] [options] [-- CRIU DUMP OPTIONS ...]'],
    about: `Moves a process and its descendants to HOST through ssh. criu dump streams
their images to the directory DIR there, without a file here. When all of the
dump is there and checked, and not before, the processes end here, and HOST
restores them. If anything fails until then (the far side, the connection, a
full disk, Ctrl-C), they go on here as if nothing had happened. After it, the
dump is complete on HOST, and the error says how to restore it. So there are
never two running copies, and always a complete one.

With --lazy they run on HOST as soon as what they need at once is there, and
the other pages follow on demand and in the background. Until the last one is
there, the frozen processes are held here.

HOST needs pagepipe and criu, which are checked first. The options behind --
are for criu dump; those that criu restore must have as well, such as
--shell-job and --tcp-established, are passed on. DIR is pagepipe-PID by
default, and is removed when the processes run. See docs/migrate.md.`,
    options: [
      'lazy',
      'dumpDir',
      'criu',
      'farCriu',
      'olderCriu',
      'restoreOptions',
      'keepDump',
      'force',
      'rsh',
      'pagepipePath',
      'json',
      'progress',
    ],
    examples: `  pagepipe migrate 1234 dest
  pagepipe migrate 1234 dest --lazy
  pagepipe migrate 1234 root@dest:dumps/12 -- --tcp-established
`,
  },
  receive: {
    group: 'move',
    summary: 'receive what criu dump --page-server sends',
    usage: ['OUT [--listen HOST:PORT] [options]', '- [--listen HOST:PORT] [options] > STREAM'],
    about: `Receives the pages of one dump, as criu page-server does, and exits. OUT
appears complete or not at all. With - the pages go into a page stream as they
arrive. criu dump writes all other images locally; a restore needs them in the
same directory as the pages.

  dest$    pagepipe receive dump --listen 10.0.0.2:27000
  source$  criu dump -t PID -D rest --page-server --address 10.0.0.2 \\
             --port 27000 && rsync -a rest/ dest:dump/

Only criu dump knows whether the dump succeeded: after a failure, too, it
reports to the page server that the dump is complete.`,
    options: [...LISTEN_OPTIONS, 'prevImagesDir', 'pageSize', 'force', 'ifAbsent', 'json', 'progress'],
    examples: `  pagepipe receive - | pagepipe run 'filter --drop lazy | rebuild' |
    pagepipe write small
`,
  },
  connect: {
    group: 'move',
    summary: 'open a local port for a page server behind a command',
    usage: ['[--listen HOST:PORT] [--once] -- COMMAND ...'],
    about: `Listens on a local port for a page server that a command reaches. For each
client it runs COMMAND and connects the client to its stdin and stdout. The
address is printed to stderr when clients can connect.`,
    options: ['listen', 'once', 'json'],
    examples: `  pagepipe connect -- ssh source pagepipe serve dump --stdio &
  criu lazy-pages --page-server --address 127.0.0.1 --port 27000 \\
    -D small -W run -d
`,
  },
  capture: {
    group: 'move',
    summary: 'take what criu dump --stream sends',
    usage: [
      '-D DIR OUT [options]',
      '-D DIR [-] [options] > STREAM',
      '-D DIR -t PID [OUT | -] [options] [-- CRIU OPTIONS ...]',
    ],
    about: `Is the other end of criu dump --stream: takes the images from CRIU as they
come, and writes them into any container, or as a page stream to stdout. No
image is written to DIR, where the two meet at a socket. OUT appears complete
or not at all: a dump that fails, or is cut off, leaves nothing.

With -t it also runs criu dump, and its exit code is that of the command.
Otherwise start criu when capture says so, with its --action-script. CRIU then
waits, with the tasks still frozen, until OUT is complete, and if that fails,
the tasks go on unharmed. Without the script a task that is left running may
change pages that are still on their way. See docs/stream.md.`,
    options: [
      'imagesDir',
      'tree',
      'criu',
      'shardFds',
      'extFileFds',
      'progressFd',
      ...SINK_OPTIONS,
      'pageSize',
      'buffer',
      'spillDir',
      'endpointUrl',
      'json',
      'progress',
    ],
    examples: `  pagepipe capture -D DIR dump.tar.zst -t PID -- --shell-job
  pagepipe capture -D DIR -t PID -- --leave-running |
    ssh host 'pagepipe write dump'
  pagepipe capture -D DIR OUT &
  criu dump --stream -D DIR --action-script DIR/pagepipe-post-dump -t PID
`,
  },
  'capture-wait': {
    summary: 'wait for the end of a capture, as the action script does',
    usage: ['[-D DIR]'],
    about: `Waits until the capture in DIR has ended. Exits with success if its dump is
complete. CRIU runs it after a dump, through DIR/pagepipe-post-dump, which
pagepipe capture makes.`,
    options: ['imagesDir'],
  },
  provide: {
    group: 'move',
    summary: 'give criu restore --stream the images of a dump',
    usage: ['DUMP -D DIR [options]'],
    about: `Is the other end of criu restore --stream: gives CRIU the images of a dump in
any container as it asks for them. DIR only has the socket at which the two
meet. What does not come from a directory or a plain archive is read to its end
first, within --buffer and --spill-dir. Ends when CRIU closes its connection.

--set changes a field as edit does, on its way to CRIU: DUMP stays as it is.
PATH begins with the name of the image and a colon.`,
    options: [
      'progress',
      'imagesDir',
      'set',
      'tcpListenRemap',
      'extFileFds',
      'progressFd',
      'incomplete',
      'json',
      ...SOURCE_OPTIONS,
    ],
    examples: `  pagepipe provide checkpoint.tar.zst -D DIR &
  criu restore --stream -D DIR -d
  pagepipe provide DUMP -D DIR --tcp-listen-remap 80:8080
  pagepipe provide DUMP -D DIR --set 'files.img:entries[3].reg.name=/new.log'
`,
  },
  adopt: {
    summary: 'run at the far end of migrate, which starts it',
    usage: ['DIR [options] [-- CRIU RESTORE OPTIONS ...]'],
    about: `The far side of pagepipe migrate, which starts it through ssh. Writes the dump
from stdin to the directory DIR, and restores it when the processes have ended
at the other side.`,
    options: ['lazy', 'criu', 'keepDump', 'force'],
  },
  accept: {
    summary: 'run at the far end of send, which starts it',
    usage: ['OUT [--page-server HOST:PORT] [--force]'],
    about: `The far side of pagepipe send, which starts it through ssh. Writes the dump
from stdin to the directory OUT, which appears complete or not at all. With
--page-server it then serves the pages that are not in OUT, and forwards
requests of restores through stdout.`,
    options: ['pageServer', 'force'],
  },
} as const satisfies Record<string, CommandSpec>;
