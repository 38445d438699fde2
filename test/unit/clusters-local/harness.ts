/** A cluster/local on a memory store of its own, and small words for what the tests do with it. */
import type { ExecutionContext } from 'ava';
import { isPintleError } from '../../../kernel/contract/index.ts';
import type {
  Clock,
  Cluster,
  ErrorCode,
  KubernetesObject,
  NewObject,
  PintleError,
  ResourceType,
  Store,
  WatchEvent,
  WatchOptions,
} from '../../../kernel/contract/index.ts';
import type { ConfigMap, Pod } from '../../../kernel/contract/kubernetes.ts';
import { systemClock } from '../../../kernel/machinery/clock.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { openLocalCluster } from '../../../plugins/clusters/local/open.ts';
import type { LocalClusterOptions } from '../../../plugins/clusters/local/open.ts';
import { createMemoryStore } from '../../../plugins/stores/memory/memory-store.ts';

export const ns = 'default';

export function memoryStore(t: ExecutionContext): Store & AsyncDisposable {
  const history = { keepSeconds: 300, keepRevisions: 1_000, maxRevisions: 50_000 };
  const store = createMemoryStore({ history, clock: systemClock });
  t.teardown(() => store[Symbol.asyncDispose]());
  return store;
}

/** Time that stands still until it is moved. */
export function handClock(startMs = Date.UTC(2030, 0, 1)): Clock & { advance(ms: number): void } {
  let now = startMs;
  let sleepers: { at: number; wake: () => void }[] = [];
  return {
    now: () => now,
    sleep: (ms, signal) =>
      new Promise((resolve, reject) => {
        if (signal?.aborted) return reject(signal.reason as Error);
        sleepers.push({ at: now + ms, wake: resolve });
        signal?.addEventListener('abort', () => reject(signal.reason as Error));
      }),
    advance(ms) {
      now += ms;
      const due = sleepers.filter(({ at }) => at <= now);
      sleepers = sleepers.filter(({ at }) => at > now);
      for (const { wake } of due) wake();
    },
  };
}

export interface Opened {
  readonly cluster: Cluster & AsyncDisposable;
  readonly store: Store & AsyncDisposable;
  /** Messages of level error that were logged. */
  readonly errors: string[];
}

export async function open(
  t: ExecutionContext,
  options: Partial<LocalClusterOptions> & { store?: Store & AsyncDisposable } = {},
): Promise<Opened> {
  const store = options.store ?? memoryStore(t);
  const errors: string[] = [];
  const quiet = () => undefined;
  const cluster = await openLocalCluster(
    {
      clock: systemClock,
      log: { debug: quiet, info: quiet, warn: quiet, error: (message) => errors.push(message) },
      serviceCidrs: ['10.96.0.0/12'],
      nodePorts: { first: 30_000, last: 32_767 },
      authorization: 'always-allow',
      serviceAccounts: undefined,
      history: { changes: 10_000, megabytes: 8, seconds: 300 },
      eventTtlSeconds: 3_600,
      maxEvents: 10_000,
      bookmarkSeconds: 60,
      ...options,
      store,
    },
    new AbortController().signal,
  );
  t.teardown(() => cluster[Symbol.asyncDispose]());
  return { cluster, store, errors };
}

export function configMap(
  name: string,
  more: Partial<ConfigMap> & { labels?: Record<string, string> } = {},
): NewObject<ConfigMap> {
  const { labels, metadata, ...rest } = more;
  return { ...rest, metadata: { name, namespace: ns, ...(labels && { labels }), ...metadata } };
}

export function pod(
  name: string,
  spec: Partial<Pod['spec']> = {},
  metadata: Partial<Pod['metadata']> = {},
): NewObject<Pod> {
  return {
    metadata: { name, namespace: ns, ...metadata },
    spec: { containers: [{ name: 'main', image: 'host' }], ...spec },
  };
}

/** The PintleError that the call rejects with. */
export async function refusal(t: ExecutionContext, call: Promise<unknown>, code: ErrorCode): Promise<PintleError> {
  try {
    await call;
  } catch (error) {
    if (isPintleError(error)) {
      t.is(error.code, code, error.message);
      return error;
    }
    throw error;
  }
  t.fail(`expected ${code}, but the call went through`);
  throw new Error('unreachable');
}

export interface Collected<T extends KubernetesObject> {
  readonly events: WatchEvent<T>[];
  /** "ADDED a" and so on, bookmarks left out. */
  readonly lines: () => string[];
  until(condition: () => boolean): Promise<void>;
  readonly ended: Promise<unknown>;
  stop(): void;
}

/** Reads a watch in the background. `ended` resolves to undefined, or to what it rejected with. */
export function collect<T extends KubernetesObject>(
  t: ExecutionContext,
  cluster: Cluster,
  type: ResourceType<T>,
  options: WatchOptions = {},
): Collected<T> {
  const events: WatchEvent<T>[] = [];
  const stop = new AbortController();
  let notify = () => {};
  const ended = (async () => {
    try {
      for await (const batch of cluster.watch(type, options, stop.signal)) {
        events.push(...batch);
        notify();
      }
      return undefined;
    } catch (error) {
      return error;
    } finally {
      notify();
    }
  })();
  t.teardown(async () => {
    stop.abort();
    await ended;
  });
  return {
    events,
    lines: () =>
      events
        .filter(({ type: kind }) => kind !== 'BOOKMARK')
        .map(({ type: kind, object }) => `${kind} ${object.metadata.name}`),
    ended,
    stop: () => stop.abort(),
    async until(condition) {
      while (!condition()) {
        await new Promise<void>((resolve) => {
          notify = resolve;
        });
      }
    },
  };
}

/** Waits for a condition without a time of its own; the runner's time-out is the limit. */
export async function eventually(condition: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await condition())) await new Promise((resolve) => setTimeout(resolve, 5));
}

export const types = resources;
