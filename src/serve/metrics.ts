/** Metrics of the page server for Prometheus. */
import { createServer, type Server } from 'node:http';
import { Counter, Gauge, Histogram, Registry } from 'prom-client';
import { systemError } from '../errors.js';
import type { Message } from '../protocol/page-server.js';
import { type Address, addressText } from './address.js';

/** Seconds: from a page in the page cache to one on a slow disk. */
const ANSWER_BUCKETS = [25e-6, 50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 50e-3, 0.25, 1];

/** One collector asks now and then; others must not take the files that clients need. */
const MAX_CONNECTIONS = 16;
/** Time limit for a request to be complete. */
const REQUEST_MS = 10_000;

export class Metrics {
  private readonly registry = new Registry();
  private readonly pages = this.counter('pagepipe_pages_total', 'Pages sent');
  private readonly bytes = this.counter('pagepipe_page_bytes_total', 'Bytes of pages sent');
  private readonly requests = new Counter({
    name: 'pagepipe_requests_total',
    help: 'Requests answered; a fault asks for one page, the background sweep for more',
    labelNames: ['kind'],
    registers: [this.registry],
  });
  private readonly clients = new Gauge({
    name: 'pagepipe_clients',
    help: 'Clients being served',
    registers: [this.registry],
  });
  private readonly ends = new Counter({
    name: 'pagepipe_clients_ended_total',
    help: 'Clients that ended: closed their session, or failed',
    labelNames: ['how'],
    registers: [this.registry],
  });
  private readonly answers = new Histogram({
    name: 'pagepipe_answer_seconds',
    help: 'From a request to its answer in the hands of the kernel',
    buckets: ANSWER_BUCKETS,
    registers: [this.registry],
  });
  private server: Server | undefined;

  private counter(name: string, help: string): Counter {
    return new Counter({ name, help, registers: [this.registry] });
  }

  clientBegan(): void {
    this.clients.inc();
  }

  clientEnded(closed: boolean): void {
    this.clients.dec();
    this.ends.inc({ how: closed ? 'closed' : 'failed' });
  }

  answered(request: Message, pages: number, bytes: number, milliseconds: number): void {
    this.pages.inc(pages);
    this.bytes.inc(bytes);
    this.requests.inc({ kind: request.pages === 1 ? 'fault' : 'background' });
    this.answers.observe(milliseconds / 1000);
  }

  /** Pages were placed in a restored task. */
  delivered(pages: number, bytes: number): void {
    this.pages.inc(pages);
    this.bytes.inc(bytes);
  }

  /** The page that a restored task waited for is there. */
  faultAnswered(milliseconds: number): void {
    this.requests.inc({ kind: 'fault' });
    this.answers.observe(milliseconds / 1000);
  }

  /** Serves them at `/metrics`. Throws {@link DumpError} if it cannot listen. */
  async listen(address: Address): Promise<Address> {
    const limits = {
      headersTimeout: REQUEST_MS,
      requestTimeout: REQUEST_MS,
      connectionsCheckingInterval: REQUEST_MS / 2,
    };
    const server = createServer(limits, (request, response) => {
      if (request.url !== '/metrics' && request.url !== '/') {
        response.writeHead(404).end();
        return;
      }
      this.registry.metrics().then(
        (text) => response.writeHead(200, { 'content-type': this.registry.contentType }).end(text),
        () => response.writeHead(500).end(),
      );
    });
    server.maxConnections = MAX_CONNECTIONS;
    this.server = server;
    await new Promise<void>((resolve, reject) => {
      server.on('error', (error) => reject(systemError(error, addressText(address))));
      server.listen(address, resolve);
    });
    const bound = server.address();
    return bound && typeof bound === 'object' ? { host: bound.address, port: bound.port } : address;
  }

  close(): void {
    this.server?.close();
    this.server?.closeAllConnections();
  }
}
