/** The last line of a command that has used an object store: requests cost money, and so may bytes. */
import { s3Usage } from '../containers/s3/usage.js';
import { counted } from '../printable.js';
import type { Messages } from './messages.js';

const NONE = { requests: 0, bytesReceived: 0, bytesSent: 0 };

/** Says what was used since now, if anything was. */
export function s3UsageTeller(messages: Messages): () => void {
  const before = s3Usage() ?? NONE;
  return () => {
    const after = s3Usage() ?? NONE;
    const requests = after.requests - before.requests;
    if (requests <= 0) return;
    const s3 = {
      requests,
      bytesReceived: after.bytesReceived - before.bytesReceived,
      bytesSent: after.bytesSent - before.bytesSent,
    };
    const sent = s3.bytesSent > 0 ? `, ${s3.bytesSent} bytes sent` : '';
    messages.tell(`s3: ${counted(requests, 'request')}, ${s3.bytesReceived} bytes fetched${sent}`, { s3 });
  };
}
