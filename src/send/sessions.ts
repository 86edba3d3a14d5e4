/**
 * HTTP/2 between the two ends of `pagepipe send` and `pagepipe migrate`, over the stdin and stdout of ssh. The near end, which
 * the user has started, answers; the far end asks.
 */
import {
  type ClientHttp2Session,
  type ClientHttp2Stream,
  connect,
  performServerHandshake,
  type ServerHttp2Session,
} from 'node:http2';
import type { Duplex } from 'node:stream';

/** Flow-control window of a stream, in bytes; that of ssh is as large. */
const STREAM_WINDOW_BYTES = 2 * 1024 * 1024;
/** The same for all streams together: one that waits holds up no other. */
const SESSION_WINDOW_BYTES = 64 * STREAM_WINDOW_BYTES;

/** Few large frames cost less than many small ones. */
export const MAX_FRAME_BYTES = 256 * 1024;
const SETTINGS = { initialWindowSize: STREAM_WINDOW_BYTES, maxFrameSize: MAX_FRAME_BYTES };

/** HTTP/2 wants an origin, though the connection leads to one place only. */
const ORIGIN = 'http://pagepipe';

/**
 * Time limit for the last answers to reach an end that may hang, and for a session whose end Node may miss: some of its events
 * do not come if the other end is faster or slower than usual.
 */
const LINGER_MS = 5000;

export interface NearSession {
  session: ServerHttp2Session;
  /** Resolves when the connection is gone. */
  closed: Promise<void>;
  /** Ends the session when its streams have ended, and the connection at the latest after {@link LINGER_MS}. */
  close(): void;
}

/** The near end of a connection. */
export function nearSession(connection: Duplex): NearSession {
  const session = performServerHandshake(connection, { settings: SETTINGS });
  session.setLocalWindowSize(SESSION_WINDOW_BYTES);
  // The session itself does not end with its input, which is all that is seen of a far end that was killed.
  connection.on('end', () => connection.destroy());
  const closed = new Promise<void>((resolve) => {
    session.on('close', resolve);
    // In Node 20 a session never emits 'close' if its last frame cannot be written. Its other events come before this.
    connection.on('close', () => setImmediate(resolve));
    // The events may have come before there was a listener.
    if (connection.destroyed) resolve();
    else if (connection.readableEnded) connection.destroy();
  });
  const close = () => {
    session.close();
    afterLinger(connection, () => connection.destroy());
  };
  return { session, closed, close };
}

/** Calls back if the connection is still there then. */
function afterLinger(connection: Duplex, end: () => void): void {
  if (connection.destroyed) return;
  const linger = setTimeout(end, LINGER_MS);
  connection.once('close', () => clearTimeout(linger));
}

/**
 * The far end of a connection.
 * @param onEnd called when the near end is gone, before the streams are destroyed
 */
export function farSession(connection: Duplex, onEnd: () => void = () => {}): ClientHttp2Session {
  const session = connect(ORIGIN, {
    createConnection: () => connection,
    settings: { ...SETTINGS, enablePush: false },
  });
  session.on('connect', () => session.destroyed || session.setLocalWindowSize(SESSION_WINDOW_BYTES));
  // The streams report it to their readers and writers.
  session.on('error', () => {});
  // The session itself does not end with its input, which is all that is seen of a near end that was killed.
  const end = () => {
    onEnd();
    session.destroy();
    connection.destroy();
  };
  connection.on('end', end);
  // The near end is done.
  session.once('goaway', () => afterLinger(connection, end));
  return session;
}

/** The status of the answer to a request. Throws an error of the connection if there is none. */
export function statusOf(stream: ClientHttp2Stream): Promise<unknown> {
  return new Promise((resolve, reject) => {
    stream.on('response', (headers) => resolve(headers[':status']));
    stream.on('error', reject);
    stream.on('close', () => reject(Object.assign(new Error('closed'), { code: 'ERR_HTTP2_STREAM_CANCEL' })));
  });
}
