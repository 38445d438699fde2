/** A whole API server for tests: memory store, the real local cluster, the component, in a folder of its own. */
import { mkdtemp, rm } from 'node:fs/promises';
import { request as httpRequest, type IncomingHttpHeaders, type IncomingMessage } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Cluster, Component, Logger } from '../../../kernel/contract/index.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import localCluster from '../../../plugins/clusters/local/index.ts';
import apiServer from '../../../plugins/components/api-server/index.ts';
import memoryStore from '../../../plugins/stores/memory/index.ts';

export const quiet: Logger = {
  debug: () => undefined,
  info: () => undefined,
  warn: () => undefined,
  error: () => undefined,
};

export const clusterFacts = {
  podCidrs: ['10.244.0.0/16'],
  serviceCidrs: ['10.96.0.0/12'],
  dnsDomain: 'cluster.local',
  dnsServiceIp: '10.96.0.10',
};

export interface Reply {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly text: string;
  /** The body as JSON; undefined when it is none. */
  readonly json: any;
}

export interface Api extends AsyncDisposable {
  readonly folder: string;
  readonly socket: string;
  readonly kubeconfig: string;
  readonly cluster: Cluster;
  readonly component: Component;
  /** Over the unix socket. */
  call(method: string, path: string, body?: unknown, headers?: Record<string, string>): Promise<Reply>;
}

export async function validated<T>(
  plugin: { readonly config: { readonly '~standard': { validate(value: unknown): unknown } } },
  value: unknown,
): Promise<T> {
  const result = (await plugin.config['~standard'].validate(value)) as { value: T; issues?: unknown };
  if (result.issues !== undefined) throw new Error(JSON.stringify(result.issues));
  return result.value;
}

export interface ApiOptions {
  readonly cluster?: Cluster | undefined;
  readonly config?: Record<string, unknown>;
  /** Of cluster/local. */
  readonly local?: Record<string, unknown>;
  readonly folder?: string;
  readonly log?: Logger;
}

export async function startApi(options: ApiOptions = {}): Promise<Api> {
  const folder = options.folder ?? (await mkdtemp(join(tmpdir(), 'pintle-api-')));
  const parts: AsyncDisposable[] = [];
  const base = {
    log: options.log ?? quiet,
    clock: systemClock,
    stateDir: folder,
    nodeName: undefined,
    processMetrics: async () => (await (parts[0] as Partial<Component> | undefined)?.metrics?.()) ?? '',
    cluster: clusterFacts,
  };
  const signal = new AbortController().signal;
  let cluster = options.cluster;
  if (cluster === undefined) {
    const store = await memoryStore.start(
      { ...base, config: await validated(memoryStore, {}), uses: {} } as never,
      signal,
    );
    parts.unshift(store);
    const local = await localCluster.start(
      { ...base, config: await validated(localCluster, options.local ?? {}), uses: { store } } as never,
      signal,
    );
    parts.unshift(local);
    cluster = local;
  }
  // A fake cluster counts what it is asked.
  const publish = options.cluster === undefined;
  const config = await validated(apiServer, { port: 0, publish, ...options.config });
  const component = await apiServer.start({ ...base, config, uses: { cluster } } as never, signal);
  parts.unshift(component);
  const socket = join(folder, 'api.sock');
  return {
    folder,
    socket,
    kubeconfig: join(folder, 'admin.kubeconfig'),
    cluster,
    component,
    call: (method, path, body, headers) => callSocket(socket, method, path, body, headers),
    async [Symbol.asyncDispose]() {
      for (const part of parts) await part[Symbol.asyncDispose]();
      if (options.folder === undefined) await rm(folder, { recursive: true, force: true });
    },
  };
}

export function callSocket(
  socketPath: string,
  method: string,
  path: string,
  body?: unknown,
  headers: Record<string, string> = {},
): Promise<Reply> {
  return new Promise((resolve, reject) => {
    const bytes = body === undefined || typeof body === 'string' || Buffer.isBuffer(body) ? body : JSON.stringify(body);
    const request = httpRequest(
      {
        socketPath,
        method,
        path,
        agent: false,
        headers: {
          ...(bytes === undefined
            ? {}
            : { 'content-type': 'application/json', 'content-length': String(Buffer.byteLength(bytes)) }),
          ...headers,
        },
      },
      (answer) => {
        void readReply(answer).then(resolve, reject);
      },
    );
    request.on('error', reject);
    request.end(bytes);
  });
}

async function readReply(answer: IncomingMessage): Promise<Reply> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const text = Buffer.concat(chunks).toString();
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch {
    json = undefined;
  }
  return { status: answer.statusCode ?? 0, headers: answer.headers, text, json };
}

/** Opens a watch over the unix socket and hands out its events one by one. */
export async function openWatch(
  socketPath: string,
  path: string,
  headers: Record<string, string> = {},
): Promise<{ next(): Promise<any>; close(): void; readonly headers: IncomingHttpHeaders }> {
  const answer = await new Promise<IncomingMessage>((resolve, reject) => {
    const request = httpRequest({ socketPath, path, agent: false, headers }, resolve);
    request.on('error', reject);
    request.end();
  });
  if (answer.statusCode !== 200) throw new Error(`watch ${path}: ${(await readReply(answer)).text}`);
  const lines = (async function* () {
    let rest = '';
    for await (const chunk of answer) {
      rest += String(chunk);
      const parts = rest.split('\n');
      rest = parts.pop() ?? '';
      for (const part of parts) yield JSON.parse(part);
    }
  })();
  return {
    headers: answer.headers,
    next: async () => (await lines.next()).value,
    close: () => answer.destroy(),
  };
}
