/**
 * The far end of `criu dump --stream`: takes the images of one dump as they come, and gives them as the events of a dump that
 * arrives. CRIU never says that a dump is complete, and a dump that fails ends in the same way. So a capture is complete if
 * `inventory.img` came, which CRIU writes last, and every pipe is at its end.
 */
import type { FileEvents } from '../dump/events.js';
import { DumpError } from '../errors.js';
import { CriuSession } from './criu-session.js';
import type { ReceivedDescriptor } from './descriptors.js';
import { MergedFiles } from './merged-files.js';
import { PostDump } from './post-dump.js';
import { socketPath } from './private-socket.js';
import { CAPTURE_SOCKET, LAST_IMAGE } from './protocol.js';

/** What `criu dump` may ask for before it freezes the tasks. */
const BEFORE_FREEZE = 'cpuinfo.img';

export interface CaptureOptions {
  signal: AbortSignal;
  warn(message: string): void;
  /** Called when the tasks are frozen. */
  frozen(): void;
  /** Told of the bytes of files as they come. */
  progress?(bytes: number): void;
  /** Other files of the dump, which do not come from CRIU: pipes by name. They stay open. */
  external?: ReadonlyMap<string, number>;
  /** Whether CRIU is known to run the script. Without it, pages that are still in a pipe may change. */
  runsScript?: boolean;
  /** Whether the tasks go on however the capture ends. Then they wait only until all bytes are here. */
  goesOn?: boolean;
}

export class Capture {
  private readonly files: MergedFiles;
  private session: CriuSession | undefined;
  private isFrozen = false;
  private hasLast = false;
  private hasSucceeded = false;
  /** Whether CRIU ended before its script had its answer. */
  private hasLostCriu = false;
  private readonly abort = () => this.files.fail(this.options.signal.reason);

  private constructor(
    private readonly directory: string,
    private readonly postDump: PostDump,
    private readonly options: CaptureOptions,
  ) {
    const { runsScript = false, goesOn = false, progress = () => {} } = options;
    this.files = new MergedFiles({
      enlarges: runsScript,
      pagesFirst: goesOn,
      progress,
      ended: (name) => {
        this.hasLast ||= name === LAST_IMAGE;
        this.checkEnd();
      },
    });
    postDump.onWaiting = () => this.checkEnd();
    options.signal.addEventListener('abort', this.abort);
  }

  /**
   * Listens in the images directory. CRIU can be started then.
   * @throws {DumpError} BAD_NAME, OUTPUT_EXISTS, SYSTEM
   */
  static async listen(directory: string, options: CaptureOptions): Promise<Capture> {
    socketPath(directory, CAPTURE_SOCKET);
    const capture = new Capture(directory, await PostDump.open(directory), options);
    try {
      capture.session = await CriuSession.listen(directory, CAPTURE_SOCKET, {
        wants: () => true,
        file: (name, pipe) => capture.add(name, pipe),
        ended: () => capture.connectionEnded(),
        failed: (error) => capture.files.fail(error),
        warn: options.warn,
      });
    } catch (error) {
      capture.close();
      throw error;
    }
    for (const [name, fd] of options.external ?? []) capture.files.add(name, { fd, close: () => {} });
    return capture;
  }

  /** Path of the socket. */
  get path(): string {
    return this.session?.path ?? '';
  }

  /** Path of the action script with which CRIU waits for the end of the capture. */
  get script(): string {
    return this.postDump.script;
  }

  /** Whether CRIU has connected. */
  get hasBegun(): boolean {
    return this.session?.hasBegun === true;
  }

  /**
   * The files of the dump, once.
   * @throws {DumpError} TRUNCATED if CRIU has closed without a complete dump, and those of the protocol
   */
  async *events(): FileEvents {
    yield* this.files.events();
    const place = { file: this.directory, hint: 'its dump has failed: its log says why' };
    if (!this.hasLast) {
      throw new DumpError('TRUNCATED', `criu closed the connection without sending ${LAST_IMAGE}`, place);
    }
    if (this.hasLostCriu) throw new DumpError('TRUNCATED', 'criu ended before the capture was complete', place);
  }

  /** Ends a wait for CRIU. */
  fail(error: unknown): void {
    this.files.fail(error);
  }

  /** The dump is complete in its place. */
  succeed(): void {
    this.hasSucceeded = true;
    this.postDump.succeed();
  }

  close(): void {
    this.options.signal.removeEventListener('abort', this.abort);
    this.files.close();
    this.session?.close();
    this.postDump.close();
  }

  private add(name: string, pipe: ReceivedDescriptor): void {
    if (name !== BEFORE_FREEZE && !this.isFrozen) {
      this.isFrozen = true;
      this.options.frozen();
    }
    this.files.add(name, pipe);
  }

  /** One that has been killed while its script waits, or was to: its tasks go on, and may have changed pages in the pipes. */
  private connectionEnded(): void {
    const { runsScript = false } = this.options;
    this.hasLostCriu = (runsScript || this.postDump.isWaiting) && !this.hasSucceeded;
    this.files.complete();
  }

  /** CRIU keeps its connection while its script waits, but sends nothing any more. */
  private checkEnd(): void {
    if (!this.postDump.isWaiting || !this.hasLast || this.files.hasOpen) return;
    this.files.complete();
    if (this.options.goesOn) this.succeed();
  }
}
