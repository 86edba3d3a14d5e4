// In place of ssh between two machines that are namespaces: runs a command at the other one, with its stdin, stdout, stderr and exit
// code. As with ssh, the command gets the end of its stdin when the connection breaks.
//
//   rsh.mjs serve FOLDER             listens at port 2222; commands run in this folder
//   rsh.mjs HOST WORD...             the client
import { spawn } from 'node:child_process';
import { connect, createServer } from 'node:net';

const PORT = 2222;
const DATA = 0;
const ERRORS = 1;
const EXIT = 2;

const [first, ...words] = process.argv.slice(2);
if (first === 'serve') serve(words[0]);
else call(first, words);

/** Frames of kind, length and bytes. */
function frame(kind, bytes) {
  const head = Buffer.alloc(5);
  head[0] = kind;
  head.writeUInt32LE(bytes.length, 1);
  return Buffer.concat([head, bytes]);
}

function serve(cwd) {
  createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
    socket.on('error', () => {});
    socket.once('data', (chunk) => {
      const end = chunk.indexOf(0);
      const child = spawn('sh', ['-c', chunk.subarray(0, end).toString()], { cwd });
      child.stdin.on('error', () => {});
      child.stdin.write(chunk.subarray(end + 1));
      socket.pipe(child.stdin);
      socket.on('close', () => child.stdin.end());
      const pass = (kind, stream) =>
        stream.on('data', (bytes) => {
          if (!socket.destroyed && !socket.write(frame(kind, bytes))) {
            stream.pause();
            socket.once('drain', () => stream.resume());
          }
        });
      pass(DATA, child.stdout);
      pass(ERRORS, child.stderr);
      // A command that goes on in the background may keep them open.
      child.on('close', (code) => socket.end(frame(EXIT, Buffer.of(code ?? 255))));
    });
  }).listen(PORT, () => console.log('ready'));
}

function call(host, command) {
  const socket = connect({ port: PORT, host, noDelay: true });
  socket.write(`${command.join(' ')}\0`);
  process.stdin.pipe(socket);
  let rest = Buffer.alloc(0);
  let code = 255;
  // Who has closed it wants no more.
  process.stdout.on('error', () => {});
  socket.on('data', (chunk) => {
    rest = Buffer.concat([rest, chunk]);
    while (rest.length >= 5 && rest.length >= 5 + rest.readUInt32LE(1)) {
      const bytes = rest.subarray(5, 5 + rest.readUInt32LE(1));
      if (rest[0] === DATA) process.stdout.write(bytes);
      else if (rest[0] === ERRORS) process.stderr.write(bytes);
      else code = bytes[0];
      rest = rest.subarray(5 + bytes.length);
    }
  });
  for (const event of ['error', 'close']) socket.on(event, () => process.exit(code));
}
