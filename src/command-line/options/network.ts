/** Options about pages over the network. */
import { ADDRESS, FILE, type Option } from './option.js';

export const NETWORK_OPTIONS = {
  listen: {
    ...ADDRESS,
    help: 'address to listen at. Without --tls everybody who can connect can read or send the memory of the dump',
    fallback: '127.0.0.1:27000',
  },
  stdio: {
    type: 'boolean',
    help: 'one client, on stdin and stdout, for ssh, socat and pagepipe connect',
  },
  once: { type: 'boolean', help: 'exit after the first client; serve waits for one that closes its session' },
  maxClients: { type: 'number', value: 'N', help: 'refuse further clients', fallback: '64' },
  idleTimeout: {
    type: 'number',
    value: 'SECONDS',
    help: 'disconnect clients that neither send nor receive, such as 90 or 5m; 0 for never',
    fallback: '600',
  },
  tls: {
    type: 'boolean',
    help: 'TLS with certificates on both sides, as criu --tls. The files below are by default those of criu',
  },
  tlsCacert: { ...FILE, help: 'certificate of the authority' },
  tlsCacrl: { ...FILE, help: 'its list of revoked certificates' },
  tlsCert: { ...FILE, help: 'certificate of this side' },
  tlsKey: { ...FILE, help: 'key of this side' },
  record: { ...FILE, help: 'record which pages are faulted on, for --order and --eager-list' },
  metrics: { ...ADDRESS, help: 'address of metrics for Prometheus', fallback: 'none' },
  prevImagesDir: {
    type: 'string',
    value: 'DIR',
    completes: 'folder',
    help: 'the dump that this one builds on, relative to OUT, as for criu',
  },
} as const satisfies Record<string, Option>;
