/**
 * What `criu restore --lazy-pages` says to its daemon, over one connection for each restore.
 *
 * message := i32 pid, byte with the task's userfaultfd | i32 -pid of a zombie | u32 0x52535446 when the restore is finished
 *
 * The tasks come in no fixed order. The end of the connection before the last message means that the restore failed. Source:
 * observed with CRIU 4.1.1 and 4.2.1; the number is that of its page server's "restore finished".
 */
import { DumpError } from '../errors.js';

const FINISHED = 0x52535446;
/** Linux, PID_MAX_LIMIT. */
const MAX_PID = 4 * 1024 * 1024;

export type RestoreMessage = { type: 'task'; pid: number; fd: number } | { type: 'zombie' } | { type: 'finished' };

export class RestoreMessages {
  private rest: Uint8Array = new Uint8Array(0);
  private readonly descriptors: number[] = [];

  /**
   * Takes what has come.
   * @throws {DumpError} PROTOCOL; descriptors that nobody has taken are then in {@link untaken}
   */
  *push(bytes: Uint8Array, descriptors: readonly number[]): Generator<RestoreMessage> {
    this.descriptors.push(...descriptors);
    this.rest = Buffer.concat([this.rest, bytes]);
    for (;;) {
      const { rest } = this;
      if (rest.length < 4) return;
      const word = new DataView(rest.buffer, rest.byteOffset).getInt32(0, true);
      const isTask = word > 0 && word !== FINISHED;
      if (Math.abs(word) > MAX_PID && word !== FINISHED) throw refused(`expected a pid, found ${word}`);
      if (isTask && rest.length < 5) return;
      this.rest = rest.subarray(isTask ? 5 : 4);
      if (!isTask) {
        yield { type: word === FINISHED ? 'finished' : 'zombie' };
        continue;
      }
      const fd = this.descriptors.shift();
      if (fd === undefined) throw refused(`expected a descriptor for process ${word}, found none`);
      yield { type: 'task', pid: word, fd };
    }
  }

  /** Descriptors that have come and belong to no task; the caller closes them. */
  get untaken(): readonly number[] {
    return this.descriptors;
  }
}

const refused = (what: string): DumpError =>
  new DumpError('PROTOCOL', what, { file: 'lazy-pages.socket', hint: 'only criu restore --lazy-pages connects here' });
