/**
 * Calls of the container runtime interface, over gRPC on a unix socket. A runtime that is away is UNAVAILABLE; the channel
 * finds it again by itself. What the runtime answers stays a gRPC error: see `codeOf`.
 */
import type { Client } from '@grpc/grpc-js';
import { PintleError } from '../../../kernel/contract/index.ts';
import { criDescriptor } from './cri-messages.ts';

export const grpcCodes = {
  invalidArgument: 3,
  deadlineExceeded: 4,
  notFound: 5,
  alreadyExists: 6,
  unknown: 2,
  unavailable: 14,
} as const;

type Call = (
  request: object,
  options: { deadline: number },
  done: (error: Error | null, value: unknown) => void,
) => void;

/** What every call but pulling and stopping is given. */
const callMs = 240_000;

export class CriClient {
  readonly #endpoint: string;
  readonly #runtime: Client;
  readonly #images: Client;

  private constructor(endpoint: string, runtime: Client, images: Client) {
    this.#endpoint = endpoint;
    this.#runtime = runtime;
    this.#images = images;
  }

  /** Loads gRPC, so only when this runtime runs. `endpoint`: "unix:///run/containerd/containerd.sock". */
  static async open(endpoint: string): Promise<CriClient> {
    const [{ credentials, makeGenericClientConstructor }, { fromJSON }] = await Promise.all([
      import('@grpc/grpc-js'),
      import('@grpc/proto-loader'),
    ]);
    const options = { keepCase: true, longs: Number, defaults: true };
    const definition = fromJSON(criDescriptor() as Parameters<typeof fromJSON>[0], options);
    const make = (name: string): Client => {
      const service = definition[`runtime.v1.${name}`];
      const Constructor = makeGenericClientConstructor(
        service as Parameters<typeof makeGenericClientConstructor>[0],
        name,
      );
      return new Constructor(endpoint, credentials.createInsecure(), {
        'grpc.max_receive_message_length': 16 * 1024 * 1024,
        'grpc.max_reconnect_backoff_ms': 2_000,
        // Two agents of one process are two clients.
        'grpc.use_local_subchannel_pool': 1,
      }) as unknown as Client;
    };
    return new CriClient(endpoint, make('RuntimeService'), make('ImageService'));
  }

  /** Stops and removals are asked again when containerd lost its way to a container that ended meanwhile. */
  async runtime<Response = Record<string, never>>(
    method: string,
    request: object,
    timeoutMs = callMs,
  ): Promise<Response> {
    for (let tries = 1; ; tries += 1) {
      try {
        return await this.#call<Response>(this.#runtime, method, request, timeoutMs);
      } catch (error) {
        if (tries === 5 || !/^(Stop|Remove)/.test(method) || !/ttrpc: closed/.test(textOf(error as Error))) throw error;
        await new Promise((resolve) => setTimeout(resolve, 200 * tries));
      }
    }
  }

  images<Response = Record<string, never>>(method: string, request: object, timeoutMs = callMs): Promise<Response> {
    return this.#call(this.#images, method, request, timeoutMs);
  }

  close(): void {
    this.#runtime.close();
    this.#images.close();
  }

  #call<Response>(client: Client, method: string, request: object, timeoutMs: number): Promise<Response> {
    return new Promise((resolve, reject) => {
      const call = (client as unknown as Readonly<Record<string, Call>>)[method];
      if (call === undefined) throw new TypeError(`no method ${method}`);
      call.call(client, request, { deadline: Date.now() + timeoutMs }, (cause, value) => {
        if (cause === null) resolve(value as Response);
        else if (codeOf(cause) !== grpcCodes.unavailable) reject(cause);
        else
          reject(
            new PintleError(
              'UNAVAILABLE',
              `the container runtime at ${this.#endpoint} does not answer: ${textOf(cause)}; is it running?`,
              { cause },
            ),
          );
      });
    });
  }
}

/** The gRPC code of a runtime's answer; undefined for other errors. */
export function codeOf(error: unknown): number | undefined {
  const { code } = (error ?? {}) as { readonly code?: unknown };
  return typeof code === 'number' ? code : undefined;
}

/** Some runtimes say NotFound, some only in words. */
export const isNotFound = (error: unknown): boolean =>
  codeOf(error) === grpcCodes.notFound || (codeOf(error) === grpcCodes.unknown && /not found/i.test(textOf(error)));

/** The runtime's own words. */
export function textOf(error: unknown): string {
  const { details, message } = error as { readonly details?: unknown; readonly message?: string };
  return (typeof details === 'string' && details !== '' ? details : (message ?? String(error))).trim();
}
