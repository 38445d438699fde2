/**
 * The connection to a Docker engine: where it is, whether it answers, and its errors as ours. An engine that is away is
 * UNAVAILABLE and found again by `watch`, which reads its events and starts over when they stop.
 */
import { readFileSync } from 'node:fs';
import type Docker from 'dockerode';
import { PintleError, type Logger } from '../../../kernel/contract/index.ts';

export interface EngineAddress {
  /** "unix:///var/run/docker.sock", "tcp://127.0.0.1:2375" */
  readonly url: string;
  /** Files in PEM form: with them, tcp is TLS. */
  readonly tls?: { readonly ca: string; readonly cert: string; readonly key: string } | undefined;
}

/** An event of a container, as far as it is used here. */
export interface EngineEvent {
  readonly Action: string;
  readonly Actor: { readonly ID: string; readonly Attributes: Readonly<Record<string, string>> };
}

/** Loads the client: 66 packages, so only when this runtime runs. */
export async function connectEngine(address: EngineAddress, log: Logger): Promise<Engine> {
  const { default: Client } = await import('dockerode');
  const socketPath = address.url.startsWith('unix://') ? address.url.slice('unix://'.length) : undefined;
  if (socketPath !== undefined) return new Engine(new Client({ socketPath, host: undefined }), address.url, log);
  const { hostname, port } = new URL(address.url);
  const tls = address.tls && {
    ca: readFileSync(address.tls.ca),
    cert: readFileSync(address.tls.cert),
    key: readFileSync(address.tls.key),
  };
  const protocol = tls === undefined ? 'http' : 'https';
  return new Engine(new Client({ host: hostname, port: Number(port), protocol, ...tls }), address.url, log);
}

export class Engine {
  readonly docker: Docker;
  readonly #url: string;
  readonly #log: Logger;
  readonly #stopped = new AbortController();
  #problem: string | undefined;

  constructor(docker: Docker, url: string, log: Logger) {
    this.docker = docker;
    this.#url = url;
    this.#log = log;
  }

  /** Why the engine cannot be used now. */
  get problem(): string | undefined {
    return this.#problem;
  }

  /** Runs a call; a lost connection is UNAVAILABLE. What the engine answers stays a Docker error: see `statusOf`. */
  async call<T>(work: (docker: Docker) => Promise<T>): Promise<T> {
    try {
      return await work(this.docker);
    } catch (cause) {
      if (statusOf(cause) !== undefined || cause instanceof PintleError) throw cause;
      throw new PintleError(
        'UNAVAILABLE',
        `the Docker engine at ${this.#url} does not answer: ${textOf(cause)}; is it running?`,
        { cause },
      );
    }
  }

  /** As `call`; undefined when the engine knows no such thing. */
  async find<T>(work: (docker: Docker) => Promise<T>): Promise<T | undefined> {
    try {
      return await this.call(work);
    } catch (error) {
      if (statusOf(error) === 404) return undefined;
      throw error;
    }
  }

  /** Reads events until `stop`. `onConnect` runs after each (re)connection, when events from before were missed. */
  async watch(
    label: string,
    listeners: { readonly onEvent: (event: EngineEvent) => void; readonly onConnect: () => void },
  ): Promise<void> {
    await this.#subscribe(label, listeners);
    listeners.onConnect();
  }

  stop(): void {
    this.#stopped.abort();
  }

  async #subscribe(
    label: string,
    listeners: { readonly onEvent: (event: EngineEvent) => void; readonly onConnect: () => void },
  ): Promise<void> {
    const filters = { type: ['container'], event: ['start', 'die', 'oom', 'destroy'], label: [label] };
    const stream = await this.call((docker) =>
      docker.getEvents({ filters: JSON.stringify(filters), abortSignal: this.#stopped.signal }),
    );
    this.#problem = undefined;
    let rest = '';
    stream.on('data', (chunk: Buffer) => {
      const lines = (rest + chunk.toString('utf8')).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) if (line.trim() !== '') listeners.onEvent(JSON.parse(line) as EngineEvent);
    });
    stream.once('error', () => undefined);
    stream.once('close', () => void this.#reconnect(label, listeners));
  }

  async #reconnect(label: string, listeners: Parameters<Engine['watch']>[1]): Promise<void> {
    if (this.#stopped.signal.aborted) return;
    this.#problem = `the Docker engine at ${this.#url} does not answer`;
    this.#log.warn('the Docker engine has gone; trying to reach it again', { engine: this.#url });
    for (let waitMs = 100; !this.#stopped.signal.aborted; waitMs = Math.min(waitMs * 2, 2_000)) {
      await new Promise((resolve) => void setTimeout(resolve, waitMs).unref());
      try {
        await this.#subscribe(label, listeners);
        this.#log.info('the Docker engine is back', { engine: this.#url });
        listeners.onConnect();
        return;
      } catch (error) {
        if (!(error instanceof PintleError)) this.#problem = `the Docker engine refuses: ${textOf(error)}`;
      }
    }
  }
}

/** HTTP status of an engine's answer; undefined when there was none. */
export function statusOf(error: unknown): number | undefined {
  return (error as { readonly statusCode?: number } | undefined)?.statusCode;
}

/** The engine's own words. */
export function textOf(error: unknown): string {
  const { json, message } = error as { readonly json?: { readonly message?: string }; readonly message?: string };
  return (json?.message ?? message ?? String(error)).trim();
}
