/** A server and clients that show each other certificates. */
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { type ConnectionOptions, connect as connectTls, type TLSSocket } from 'node:tls';
import { fileURLToPath } from 'node:url';
import { describe, expect, it, onTestFinished } from 'vitest';
import { readTlsFiles } from '../../src/serve/tls.js';
import { CLOSE, connection, GET, message, PageClient } from '../helpers/page-client.js';
import { drain, pagesAt, servedDump, startServer } from '../helpers/serving.js';

describe('a server with certificates', () => {
  const folder = fileURLToPath(new URL('certificates/', import.meta.url));
  const pem = (name: string) => readFileSync(join(folder, `${name}.pem`));
  const tls = (crl = false) =>
    readTlsFiles({
      ca: join(folder, 'ca.pem'),
      cert: join(folder, 'server.pem'),
      key: join(folder, 'server-key.pem'),
      ...(crl ? { crl: join(folder, 'crl.pem') } : {}),
    });

  function secure(port: number, options: ConnectionOptions): TLSSocket {
    const socket = connectTls({ host: '127.0.0.1', port, ca: pem('ca'), ...options });
    socket.on('error', () => {});
    onTestFinished(() => {
      socket.destroy();
    });
    return socket;
  }
  const identity = (name: string) => ({ cert: pem(name), key: pem(`${name}-key`) });

  it('serves clients with one of the same authority', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory, { tls: tls(true) });
    const socket = secure(server.port, identity('client'));
    let sessions = 0;
    socket.on('session', () => sessions++);
    await once(socket, 'secureConnect');
    expect(socket.authorized).toBe(true);
    const client = new PageClient(socket, 32);
    await drain(client, 15, oracle, 64);
    await drain(client, 16, oracle, 1);
    expect(await client.close()).toBe(0);
    expect((await server.ended(1))[0]?.closed).toBe(true);
    // Nothing but answers comes behind the handshake, for CRIU expects nothing else: no tickets of TLS 1.3.
    expect(socket.getProtocol()).toBe('TLSv1.2');
    expect(sessions).toBe(1);
  });

  it('gives each header a record of its own: CRIU waits for the socket between the two', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory, { tls: tls() });
    const socket = secure(server.port, identity('client'));
    const asked: [bigint, number][] = [
      [0x400000n, 1],
      [0x500000n, 300],
      [0x40f000n, 1],
    ];
    for (const [vaddr, pages] of asked) socket.write(message(24, { command: GET, pages, vaddr, dstId: 15 }));
    socket.write(message(24, { command: CLOSE }));
    // A chunk is a record.
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk);
    for (const [vaddr, most] of asked) {
      const header = chunks.shift() as Buffer;
      expect(header.length).toBe(24);
      const expected = pagesAt(oracle.get(15), vaddr, most);
      let length = 0;
      while (length < expected.length) length += (chunks.shift() as Buffer).length;
      expect(length).toBe(expected.length);
    }
    expect(chunks).toEqual([Buffer.alloc(4)]);
  });

  const refused: [string, ConnectionOptions, boolean, string][] = [
    ['no certificate', {}, false, 'TLS: peer did not return a certificate'],
    ['one of another authority', identity('stranger'), false, 'TLS: UNABLE_TO_VERIFY_LEAF_SIGNATURE'],
    ['one that was revoked', identity('revoked'), true, 'TLS: CERT_REVOKED'],
  ];
  it.each(refused)('refuses clients with %s', async (_, options, crl, error) => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory, { tls: tls(crl) });
    for (let i = 0; i < 2; i++) {
      const client = new PageClient(secure(server.port, options), 24);
      client.get(15, 0x400000n, 1);
      expect((await client.rest()).length).toBe(0);
    }
    for (const end of await server.ended(2)) {
      expect(end.closed).toBe(false);
      expect(end.error).toBe(error);
      expect(end.client).toMatch(/:\d+$/);
    }
    // Others are served.
    const client = new PageClient(secure(server.port, identity('client')), 24);
    await drain(client, 15, oracle, 64);
    expect(await client.close()).toBe(0);
  });

  it('takes a revoked one where there is no list of them', async () => {
    const { memory, oracle } = servedDump();
    const server = await startServer(memory, { tls: tls(false) });
    const client = new PageClient(secure(server.port, identity('revoked')), 24);
    await drain(client, 15, oracle, 64);
    expect(await client.close()).toBe(0);
  });

  it('is refused by clients that do not know its authority', async () => {
    const { memory } = servedDump();
    const server = await startServer(memory, { tls: tls() });
    const socket = secure(server.port, { ...identity('client'), ca: pem('other-ca') });
    const [error] = await once(socket, 'error');
    expect(error.code).toBe('SELF_SIGNED_CERT_IN_CHAIN');
    expect((await server.ended(1))[0]?.closed).toBe(false);
  });

  it('refuses who speaks no TLS, and stops with one that says nothing', async () => {
    const { memory } = servedDump();
    const server = await startServer(memory, { tls: tls() });
    const plain = new PageClient(connection(server.port), 32);
    plain.get(15, 0x400000n, 1);
    await plain.rest();
    expect((await server.ended(1))[0]?.error).toBe('TLS: wrong version number');
    const silent = connection(server.port);
    await once(silent, 'connect');
    server.stop();
    await server.finished;
  });

  it('needs certificates that are some', async () => {
    const { memory } = servedDump();
    const files = { ...tls(), cert: Buffer.from('nothing') };
    await expect(startServer(memory, { tls: files })).rejects.toThrow(
      /^expected certificates and a key for TLS: error:[0-9A-F]{8}:PEM routines::no start line$/,
    );
    const mixed = { ...tls(), key: pem('client-key') };
    await expect(startServer(memory, { tls: mixed })).rejects.toThrow(
      /^expected certificates and a key for TLS: error:[0-9A-F]{8}:x509 certificate routines::key values mismatch$/,
    );
    expect(() => readTlsFiles({ ca: '/nowhere/ca.pem' })).toThrow(
      '/nowhere/ca.pem: no such file or directory (ENOENT)',
    );
  });
});
