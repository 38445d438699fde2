/**
 * A TCP door on the node's address that leads to the API's TLS port by the way that the agent itself takes. Bytes pass
 * unopened: clients prove themselves to the server, and check its certificate. What doesn't begin with a TLS handshake
 * never gets in: at the end of the way may be the server's unix socket, where plain HTTP is the administrator's. Owns its
 * listener and the connections.
 */
import { createServer, type Server, type Socket } from 'node:net';
import type { Duplex } from 'node:stream';
import type { Logger } from '../../../kernel/contract/index.ts';

const keepAliveProbeMs = 30_000;
/** Who says nothing for so long isn't waited for. */
const firstBytesMs = 15_000;
/** The first byte of a TLS handshake (RFC 8446, 5.1). */
const handshake = 0x16;

export class Forwarder {
  readonly #connect: () => Promise<Duplex>;
  readonly #log: Pick<Logger, 'warn'>;
  readonly #maxConnections: number;
  readonly #open = new Set<Duplex>();
  #server: Server | undefined;
  #listening: string | undefined;
  connections = 0;
  failures = 0;

  constructor(options: {
    readonly connect: () => Promise<Duplex>;
    readonly maxConnections: number;
    readonly log: Pick<Logger, 'warn'>;
  }) {
    this.#connect = options.connect;
    this.#maxConnections = options.maxConnections;
    this.#log = options.log;
  }

  /** Listens there, and nowhere else; nothing happens when it does already. */
  async listen(address: string, port: number): Promise<void> {
    const wanted = `${address} ${port}`;
    if (this.#listening === wanted) return;
    await this.close();
    // A half-closed connection is a client that has said all and waits for the answer: both directions end on their own.
    const server = createServer({ allowHalfOpen: true }, (socket) => void this.#forward(socket));
    server.maxConnections = this.#maxConnections;
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: address, port, exclusive: true }, resolve);
    });
    server.on('error', (error) => this.#log.warn('the way of pods to the API failed', { error: error.message }));
    this.#server = server;
    this.#listening = wanted;
  }

  async close(): Promise<void> {
    const server = this.#server;
    this.#server = undefined;
    this.#listening = undefined;
    if (server === undefined) return;
    const closed = new Promise<void>((resolve) => server.close(() => resolve()));
    for (const stream of this.#open) stream.destroy();
    await closed;
  }

  async #forward(client: Socket): Promise<void> {
    this.connections++;
    this.#keep(client);
    client.setNoDelay(true);
    client.setKeepAlive(true, keepAliveProbeMs);
    const first = await firstBytes(client);
    if (first?.[0] !== handshake) return void client.resetAndDestroy();
    let upstream: Duplex;
    try {
      upstream = await this.#connect();
    } catch {
      this.failures++;
      // A reset, as from a port on which nobody listens: clients try again.
      client.resetAndDestroy();
      return;
    }
    this.#keep(upstream);
    client.once('close', () => upstream.destroy());
    upstream.once('close', () => client.destroy());
    if (client.destroyed) return void upstream.destroy();
    upstream.write(first);
    client.pipe(upstream).pipe(client);
  }

  #keep(stream: Duplex): void {
    this.#open.add(stream);
    stream.on('error', () => stream.destroy());
    stream.once('close', () => this.#open.delete(stream));
  }
}

/** Undefined when the client ends, or says nothing. Leaves it paused. */
function firstBytes(client: Socket): Promise<Buffer | undefined> {
  return new Promise((resolve) => {
    const finish = (chunk?: Buffer) => {
      client.pause();
      client.off('data', finish).off('end', onEnd).off('close', onEnd);
      clearTimeout(timer);
      resolve(chunk);
    };
    const onEnd = () => finish();
    const timer = setTimeout(onEnd, firstBytesMs);
    client.once('data', finish).once('end', onEnd).once('close', onEnd);
  });
}
