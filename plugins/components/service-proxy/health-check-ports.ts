/**
 * Answers load balancers that ask whether this node has endpoints of a Service: externalTrafficPolicy Local sends outsiders to
 * no other node's. Owns one HTTP listener a `healthCheckNodePort`, at all addresses of the node. 200 with ready endpoints
 * here, 503 without, and while the proxy is not well; endpoints that terminate do not count, so that balancers turn away in time.
 */
import { createServer, type Server } from 'node:http';
import type { Logger } from '../../../kernel/contract/index.ts';

export interface CheckedService {
  readonly namespace: string;
  readonly name: string;
  /** healthCheckNodePort */
  readonly port: number;
  /** Addresses of ready endpoints on this node. */
  readonly localEndpoints: number;
}

interface Listener {
  readonly server: Server;
  checked: CheckedService;
}

export class HealthCheckPorts implements AsyncDisposable {
  readonly #log: Logger;
  /** Whether the rules of this node are what they should be. */
  readonly #isHealthy: () => boolean;
  readonly #listeners = new Map<number, Listener>();

  constructor(log: Logger, isHealthy: () => boolean) {
    this.#log = log;
    this.#isHealthy = isHealthy;
  }

  /** Listens for exactly these. */
  update(services: Iterable<CheckedService>): void {
    const left = new Set(this.#listeners.keys());
    for (const checked of services) {
      left.delete(checked.port);
      const known = this.#listeners.get(checked.port);
      if (known === undefined) this.#open(checked);
      else known.checked = checked;
    }
    for (const port of left) void this.#close(port);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([...this.#listeners.keys()].map((port) => this.#close(port)));
  }

  #open(checked: CheckedService): void {
    const server = createServer((request, response) => {
      request.resume();
      const { namespace, name, localEndpoints } = listener.checked;
      const serviceProxyHealthy = this.#isHealthy();
      const body = { service: { namespace, name }, localEndpoints, serviceProxyHealthy };
      response.writeHead(localEndpoints > 0 && serviceProxyHealthy ? 200 : 503, {
        'content-type': 'application/json',
        'x-content-type-options': 'nosniff',
        'x-load-balancing-endpoint-weight': String(localEndpoints),
      });
      response.end(JSON.stringify(body));
    });
    const listener: Listener = { server, checked };
    server.on('error', (error: NodeJS.ErrnoException) => {
      const fields = { port: checked.port, service: `${checked.namespace}/${checked.name}`, error: error.message };
      this.#log.warn('Health checks of a Service cannot be answered: its port cannot be listened on', fields);
      // The next update tries again.
      if (!server.listening && this.#listeners.get(checked.port) === listener) this.#listeners.delete(checked.port);
    });
    this.#listeners.set(checked.port, listener);
    server.listen({ port: checked.port });
    server.unref();
  }

  #close(port: number): Promise<void> {
    const server = this.#listeners.get(port)?.server;
    this.#listeners.delete(port);
    return new Promise((resolve) => {
      if (server?.listening !== true) return resolve();
      server.close(() => resolve());
      server.closeAllConnections();
    });
  }
}
