/** Calls over a child's IPC channel, and the other side of them. Sets, maps and bytes pass as they are. */
import type { ChildProcess } from 'node:child_process';
import { PintleError } from '../../kernel/contract/errors.ts';

export interface Request {
  readonly id: number;
  readonly verb: string;
  readonly args: unknown;
}
type Response = { readonly id: number; readonly value: unknown } | { readonly id: number; readonly error: string };

export class Remote {
  readonly child: ChildProcess;
  readonly #name: string;
  readonly #waiting = new Map<number, { resolve(value: unknown): void; reject(error: unknown): void }>();
  #next = 1;

  constructor(name: string, child: ChildProcess) {
    this.#name = name;
    this.child = child;
    child.on('message', (message: Response) => {
      const waiting = this.#waiting.get(message.id);
      this.#waiting.delete(message.id);
      if ('error' in message) waiting?.reject(new PintleError('BENCH_FAILED', `${name}: ${message.error}`));
      else waiting?.resolve(message.value);
    });
    child.on('exit', () => this.#fail('its process ended'));
    child.on('error', (error) => this.#fail(error.message));
  }

  call<T>(verb: string, args: unknown = {}): Promise<T> {
    if (this.child.exitCode !== null || this.child.signalCode !== null)
      return Promise.reject(new PintleError('BENCH_FAILED', `${this.#name}: ${verb}: its process has ended`));
    const id = this.#next;
    this.#next += 1;
    return new Promise<T>((resolve, reject) => {
      this.#waiting.set(id, { resolve: (value) => resolve(value as T), reject });
      this.child.send({ id, verb, args } satisfies Request);
    });
  }

  #fail(why: string): void {
    for (const { reject } of this.#waiting.values()) reject(new PintleError('BENCH_FAILED', `${this.#name}: ${why}`));
    this.#waiting.clear();
  }
}

export type Verbs = Readonly<Record<string, (args: never) => unknown>>;

/** Serves the parent's calls until it is gone. */
export function serveParent(verbs: Verbs): void {
  process.on('message', ({ id, verb, args }: Request) => {
    const handler = verbs[verb] as ((args: unknown) => unknown) | undefined;
    void (async () => {
      try {
        if (handler === undefined) throw new Error(`no verb ${verb}`);
        const value = await handler(args);
        process.send?.({ id, value } satisfies Response);
      } catch (error) {
        const text = error instanceof Error ? error.message : String(error);
        process.send?.({ id, error: `${verb}: ${text}` } satisfies Response);
      }
    })();
  });
  process.on('disconnect', () => process.exit(0));
}
