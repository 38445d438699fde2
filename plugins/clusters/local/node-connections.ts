/** Which nodes offer their containers' streams at the moment, and how to reach them. */
import { PintleError } from '../../../kernel/contract/index.ts';
import type { NodeService } from '../../../kernel/contract/index.ts';

export class NodeConnections {
  readonly #services = new Map<string, NodeService>();

  /** Serves the node until the signal aborts. The newest registration of a name counts. */
  serve(name: string, service: NodeService, signal: AbortSignal): Promise<void> {
    if (signal.aborted) return Promise.resolve();
    this.#services.set(name, service);
    return new Promise((resolve) => {
      const end = () => {
        if (this.#services.get(name) === service) this.#services.delete(name);
        resolve();
      };
      signal.addEventListener('abort', end, { once: true });
    });
  }

  has(name: string): boolean {
    return this.#services.has(name);
  }

  get(name: string): NodeService {
    const service = this.#services.get(name);
    if (service) return service;
    throw new PintleError(
      'UNAVAILABLE',
      `Node "${name}" is not connected to this server: expected its agent to hold a connection; check that the agent runs.`,
      { details: { retryAfterSeconds: 1 } },
    );
  }
}
