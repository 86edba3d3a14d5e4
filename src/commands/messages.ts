/**
 * What is said on stderr: one line a message, for people, or with `--json` for programs (docs/json.md). The stages of a pipe
 * share a terminal, so their names are in their messages.
 */
import { DumpError, InternalError, isErrno, UsageError } from '../errors.js';
import { ERASE_LINE, oneLine, printable } from '../printable.js';
import { sourceStack } from '../source-stack.js';
import { isTemporary } from '../temporary.js';
import { type Finding, findingOf, findingText } from '../verify/findings.js';

export interface MessageOptions {
  /** Before each line: `pagepipe`, or for a stage `pagepipe filter`. */
  prefix: string;
  json: boolean;
  quiet: boolean;
}

/** An error as `--json` gives it. */
interface ErrorMessage {
  severity: 'error';
  /** That of a {@link DumpError}, or USAGE, SYSTEM or BUG. */
  code: string;
  file?: string | undefined;
  offset?: number | undefined;
  entry?: number | undefined;
  path?: string | undefined;
  message: string;
  hint?: string | undefined;
  /** Set if trying again may help: the exit code is 75 then. */
  temporary?: true | undefined;
}

export class Messages {
  constructor(
    private readonly err: (text: string) => void,
    private readonly options: MessageOptions,
  ) {}

  /** Text without a prefix: a report, or progress, which begins with {@link ERASE_LINE}. */
  readonly print = (text: string): void => {
    if (this.options.quiet) return;
    const start = text.startsWith(ERASE_LINE) ? ERASE_LINE : '';
    this.err(start + printable(text.slice(start.length)));
  };

  /** A result as a line of JSON, where stdout carries something else. */
  readonly record = (value: object): void => {
    this.err(`${printable(JSON.stringify(value))}\n`);
  };

  readonly warn = (message: string): void => this.line('warning', message);

  readonly finding = (finding: Finding): void => {
    if (this.options.json) this.record(finding);
    else this.text(`${finding.severity}: ${findingText(finding)}`);
  };

  readonly note = (message: string): void => {
    if (!this.options.quiet) this.line('note', message);
  };

  /** Progress or state, in one sentence. */
  /** @param details only for programs */
  readonly tell = (message: string, details: object = {}): void => {
    if (this.options.quiet) return;
    if (this.options.json) this.record({ severity: 'info', message, ...details });
    else this.text(message);
  };

  /** @param usageHint what to do about a {@link UsageError} */
  error(error: unknown, usageHint: string | undefined): void {
    const described = describe(error);
    const message = described.code === 'USAGE' && usageHint ? { ...described, hint: usageHint } : described;
    if (this.options.json) this.record(message);
    else this.errorText(error, message);
  }

  private errorText(error: unknown, { code, message, hint }: ErrorMessage): void {
    if (error instanceof DumpError) this.text(`error: ${error.message}`);
    else if (code === 'SYSTEM') this.text(`error: ${message}`);
    // Help and stacks have lines of their own.
    else this.err(`${this.options.prefix}: ${code === 'BUG' ? 'bug: ' : ''}${printable(message)}\n`);
    if (hint !== undefined) this.text(`hint: ${hint}`);
  }

  private text(message: string): void {
    this.err(`${this.options.prefix}: ${oneLine(message)}\n`);
  }

  private line(severity: 'warning' | 'note', message: string): void {
    if (this.options.json) this.record({ severity, message });
    else this.text(`${severity}: ${message}`);
  }
}

/** An error as an object. The place of a {@link DumpError} is in fields of its own, not in the message. */
function describe(error: unknown): ErrorMessage {
  const severity = 'error';
  const temporary = isTemporary(error) ? { temporary: true as const } : {};
  if (error instanceof UsageError) return { severity, code: 'USAGE', message: error.message };
  if (error instanceof DumpError) {
    const { file, message, offset, entry } = findingOf(error, '', '');
    const place = { file: file || undefined, offset, entry, path: error.path };
    return { severity, code: error.code, ...place, message, hint: error.hint, ...temporary };
  }
  if (isErrno(error)) return { severity, code: 'SYSTEM', message: error.message, ...temporary };
  return { severity, code: 'BUG', message: bugText(error) };
}

function bugText(error: unknown): string {
  if (error instanceof InternalError) return error.message;
  return error instanceof Error ? sourceStack(error.stack ?? '') : String(error);
}
