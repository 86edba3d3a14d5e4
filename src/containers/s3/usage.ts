/** What a process has used of object stores. It knows no client, so that asking costs nothing where there is none. */

export interface S3Usage {
  /** Requests that were sent, those that were repeated too. */
  requests: number;
  /** Bytes of objects. */
  bytesReceived: number;
  bytesSent: number;
}

const counters: (() => S3Usage)[] = [];

/** Has something counted, also after it has ended. */
export function countUsage(counter: () => S3Usage): void {
  counters.push(counter);
}

/** What was used so far; undefined if there was nothing to use. */
export function s3Usage(): S3Usage | undefined {
  if (counters.length === 0) return undefined;
  const total = { requests: 0, bytesReceived: 0, bytesSent: 0 };
  for (const counter of counters) {
    const { requests, bytesReceived, bytesSent } = counter();
    total.requests += requests;
    total.bytesReceived += bytesReceived;
    total.bytesSent += bytesSent;
  }
  return total;
}

/** Begins anew. */
export function forgetUsage(): void {
  counters.length = 0;
}
