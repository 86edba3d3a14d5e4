/** Addresses on the command line. */
export interface Address {
  host: string;
  port: number;
}

/** Parses `HOST:PORT`, `[IPV6]:PORT`, `:PORT` or `PORT`; loopback if no host is given. Undefined for anything else. */
export function parseAddress(text: string): Address | undefined {
  const [, ipv6, host, port] = /^(?:\[([\da-fA-F:.%\w]+)\]:|([^:[\]]*):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === undefined || Number(port) > 65535) return undefined;
  return { host: ipv6 ?? (host || LOOPBACK), port: Number(port) };
}

/** Where `pagepipe serve` listens, and `receive`. */
export const DEFAULT_PORT = 27000;

export const LOOPBACK = '127.0.0.1';

export const isLoopback = ({ host }: Address): boolean =>
  /^127\.\d+\.\d+\.\d+$/.test(host) || host === '::1' || host === 'localhost';

export const addressText = ({ host, port }: Address): string => `${host.includes(':') ? `[${host}]` : host}:${port}`;
