/**
 * Failures after which trying again may help: the only table of them. A command that fails so exits with 75, which is
 * EX_TEMPFAIL of sysexits.h, so that a scheduler can tell it from bad input, where every attempt fails.
 */

/** The exit code. */
export const EX_TEMPFAIL = 75;

/** Codes of errors that are temporary unless the place that throws them knows better. */
export const TEMPORARY_CODES: ReadonlySet<string> = new Set(['CHANGED', 'UNAVAILABLE']);

/**
 * System calls that may succeed later or on another machine: the network, room, and what others use at the moment. EIO is not
 * among them, because a broken disk stays broken, and neither is EMFILE, because the limit stays the same.
 */
const TEMPORARY_ERRNOS: ReadonlySet<string> = new Set([
  // The network.
  'EAI_AGAIN',
  'ECONNABORTED',
  'ECONNREFUSED',
  'ECONNRESET',
  'EHOSTDOWN',
  'EHOSTUNREACH',
  'ENETDOWN',
  'ENETRESET',
  'ENETUNREACH',
  'ENOBUFS',
  'ESTALE',
  'ETIMEDOUT',
  // Room.
  'EDQUOT',
  'ENOMEM',
  'ENOSPC',
  // In use.
  'EADDRINUSE',
  'EAGAIN',
  'EBUSY',
  'ENFILE',
  'ETXTBSY',
]);

/** A chain of causes is short; one that goes in a circle ends, too. */
const MAX_CAUSES = 8;

/** Whether trying again may help: an error says so itself, or the first of its causes that does. */
export function isTemporary(error: unknown): boolean {
  let cause = error;
  for (let depth = 0; depth < MAX_CAUSES && cause instanceof Error; depth++) {
    const { temporary, code, cause: next } = cause as Error & { temporary?: unknown; code?: unknown };
    if (typeof temporary === 'boolean') return temporary;
    if (typeof code === 'string' && TEMPORARY_ERRNOS.has(code)) return true;
    cause = next;
  }
  return false;
}
