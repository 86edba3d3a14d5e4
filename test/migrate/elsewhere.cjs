// Makes a process believe that it runs on another machine, which has another pid namespace and none of the processes here.
const fs = require('node:fs');

const { existsSync, readlinkSync } = fs;
fs.readlinkSync = (path, ...more) => (/^\/proc\/[^/]+\/ns\/pid$/.test(path) ? 'pid:[1]' : readlinkSync(path, ...more));
fs.existsSync = (path) => !/^\/proc\/\d+$/.test(path) && existsSync(path);
