/** The few plain API calls that the command line makes itself, over the cluster's unix socket. */
import { request } from 'node:http';
import { PintleError } from '../../kernel/contract/errors.ts';

export interface ApiAnswer {
  readonly status: number;
  readonly body: string;
}

export class ApiClient {
  readonly #socketPath: string;

  constructor(socketPath: string) {
    this.#socketPath = socketPath;
  }

  raw(method: string, path: string, body?: unknown): Promise<ApiAnswer> {
    const payload = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const sent = request(
        {
          socketPath: this.#socketPath,
          method,
          path,
          headers: {
            accept: 'application/json',
            ...(payload === undefined
              ? {}
              : { 'content-type': 'application/json', 'content-length': Buffer.byteLength(payload) }),
          },
          timeout: 10_000,
        },
        (response) => {
          const chunks: Buffer[] = [];
          response.on('data', (chunk: Buffer) => chunks.push(chunk));
          response.on('error', reject);
          response.on('end', () =>
            resolve({ status: response.statusCode ?? 0, body: Buffer.concat(chunks).toString('utf8') }),
          );
        },
      );
      sent.on('timeout', () => sent.destroy(new Error('no answer within 10 s')));
      sent.on('error', reject);
      sent.end(payload);
    });
  }

  async #json<T>(method: string, path: string, body?: unknown): Promise<T> {
    let answer: ApiAnswer;
    try {
      answer = await this.raw(method, path, body);
    } catch (cause) {
      throw new PintleError(
        'UNAVAILABLE',
        `the API server does not answer on ${this.#socketPath}: ${(cause as Error).message}`,
        {
          cause,
        },
      );
    }
    const parsed = JSON.parse(answer.body) as T & { message?: string };
    if (answer.status >= 300) {
      throw new PintleError(
        answer.status === 409 ? 'ALREADY_EXISTS' : 'BAD_REQUEST',
        `${method} ${path}: ${parsed.message ?? answer.status}`,
      );
    }
    return parsed;
  }

  get<T>(path: string): Promise<T> {
    return this.#json<T>('GET', path);
  }

  create<T>(path: string, object: unknown): Promise<T> {
    return this.#json<T>('POST', path, object);
  }
}

/** Tries until `attempt` answers something, or the time is over; then rejects with what `describe` says. */
export async function waitFor<T>(
  attempt: () => Promise<T | undefined>,
  options: { readonly timeoutMs: number; readonly signal: AbortSignal; describe(): string },
): Promise<T> {
  const until = performance.now() + options.timeoutMs;
  for (;;) {
    options.signal.throwIfAborted();
    const found = await attempt();
    if (found !== undefined) return found;
    if (performance.now() > until) throw new PintleError('TIMEOUT', options.describe());
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
