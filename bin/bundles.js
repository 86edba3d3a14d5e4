// The commands of each bundle. A process reads all of its bundle when it starts, so commands that often run for a moment share
// small ones. Any other command is in dist/pagepipe.cjs, which has all of them. scripts/build.mjs reads this table, too.
'use strict';

module.exports = {
  help: ['completion', '--help', '-h', 'help', '--version', '-V', '-v', 'version'],
  stages: ['classify', 'filter', 'rebuild', 'run'],
  ends: ['read', 'write'],
  dumps: ['copy', 'make-lazy', 'split', 'merge'],
  look: ['verify', 'x'],
  images: ['decode', 'encode', 'show', 'info', 'edit'],
};
