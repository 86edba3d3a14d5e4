/** Certificates as CRIU uses them: both sides present one, signed by the same authority. */
import { readFileSync } from 'node:fs';
import { onFile } from '../errors.js';

/** For node:tls. */
export interface TlsFiles {
  ca: Buffer;
  cert: Buffer;
  key: Buffer;
  crl?: Buffer;
}

/** Where CRIU looks for them by default. Source: CRIU 4.2.1, tls.c. */
const DEFAULT_FILES = {
  ca: '/etc/pki/CA/cacert.pem',
  cert: '/etc/pki/criu/cert.pem',
  key: '/etc/pki/criu/private/key.pem',
};

/** @throws {DumpError} SYSTEM for a file that cannot be read */
export function readTlsFiles(paths: { ca?: string; crl?: string; cert?: string; key?: string }): TlsFiles {
  const read = (path: string) => onFile(path, () => readFileSync(path));
  return {
    ca: read(paths.ca ?? DEFAULT_FILES.ca),
    cert: read(paths.cert ?? DEFAULT_FILES.cert),
    key: read(paths.key ?? DEFAULT_FILES.key),
    ...(paths.crl === undefined ? {} : { crl: read(paths.crl) }),
  };
}
