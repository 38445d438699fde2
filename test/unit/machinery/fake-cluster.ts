/** A cluster in memory for tests of the machinery: one resource, and faults on demand. Everything else: clusters/local. */
import {
  PintleError,
  type Cluster,
  type ErrorCode,
  type KubernetesObject,
  type NewObject,
  type ObjectKey,
  type ResourceType,
  type WatchEvent,
} from '../../../kernel/contract/index.ts';
import { keyOf } from '../../../kernel/machinery/metadata.ts';

interface Subscriber {
  readonly queue: WatchEvent<KubernetesObject>[];
  wake: () => void;
  failure: ErrorCode | 'END' | undefined;
}

export class FakeCluster {
  readonly objects = new Map<string, KubernetesObject>();
  readonly calls: string[] = [];
  revision = 100;
  /** Revisions up to this one are forgotten: a watch from before is EXPIRED. */
  compacted = 0;
  readonly failNext: ErrorCode[] = [];
  readonly #log: { readonly revision: number; readonly event: WatchEvent<KubernetesObject> }[] = [];
  readonly #subscribers = new Set<Subscriber>();
  #uid = 0;

  get cluster(): Cluster {
    return this as unknown as Cluster;
  }

  get watchers(): number {
    return this.#subscribers.size;
  }

  put(name: string, more: { labels?: Record<string, string>; newUid?: boolean } = {}): KubernetesObject {
    const before = this.objects.get(`default/${name}`);
    const object: KubernetesObject = {
      apiVersion: 'v1',
      kind: 'ConfigMap',
      metadata: {
        name,
        namespace: 'default',
        uid: before === undefined || more.newUid === true ? `uid-${++this.#uid}` : before.metadata.uid,
        resourceVersion: String(++this.revision),
        creationTimestamp: '2026-01-01T00:00:00Z',
        labels: more.labels ?? {},
      },
    };
    this.objects.set(keyOf(object), object);
    this.#emit({ type: before === undefined ? 'ADDED' : 'MODIFIED', object });
    return object;
  }

  remove(name: string): void {
    const before = this.objects.get(`default/${name}`);
    if (before === undefined) return;
    this.objects.delete(`default/${name}`);
    const metadata = { ...before.metadata, resourceVersion: String(++this.revision) };
    this.#emit({ type: 'DELETED', object: { ...before, metadata } });
  }

  /** Ends all watches; with a code they reject with it, otherwise they return. */
  breakWatches(code: ErrorCode | 'END'): void {
    for (const subscriber of this.#subscribers) {
      subscriber.failure = code;
      subscriber.wake();
    }
  }

  async list(): Promise<{ items: KubernetesObject[]; resourceVersion: string }> {
    this.calls.push('list');
    await Promise.resolve();
    this.#maybeFail();
    return { items: [...this.objects.values()], resourceVersion: String(this.revision) };
  }

  async *watch(
    _type: ResourceType,
    options: { readonly resourceVersion?: string },
    signal: AbortSignal,
  ): AsyncGenerator<readonly WatchEvent<KubernetesObject>[]> {
    this.calls.push(`watch ${options.resourceVersion}`);
    await Promise.resolve();
    this.#maybeFail();
    const from = Number(options.resourceVersion);
    if (from < this.compacted) throw new PintleError('EXPIRED', 'The revision is compacted.');
    const subscriber: Subscriber = {
      queue: this.#log.filter((entry) => entry.revision > from).map((entry) => entry.event),
      wake: () => undefined,
      failure: undefined,
    };
    this.#subscribers.add(subscriber);
    const onAbort = () => subscriber.wake();
    signal.addEventListener('abort', onAbort);
    try {
      while (!signal.aborted) {
        if (subscriber.queue.length > 0) yield subscriber.queue.splice(0);
        else if (subscriber.failure === 'END') return;
        else if (subscriber.failure !== undefined) throw new PintleError(subscriber.failure, 'The watch broke.');
        else
          await new Promise<void>((resolve) => {
            subscriber.wake = resolve;
          });
      }
    } finally {
      signal.removeEventListener('abort', onAbort);
      this.#subscribers.delete(subscriber);
    }
  }

  async create(_type: ResourceType, object: NewObject<KubernetesObject>): Promise<KubernetesObject> {
    await Promise.resolve();
    this.#maybeFail();
    const created = object as KubernetesObject;
    this.objects.set(keyOf(created), created);
    return created;
  }

  async patch(_type: ResourceType, key: ObjectKey, patch: { readonly body: unknown }): Promise<KubernetesObject> {
    await Promise.resolve();
    this.#maybeFail();
    const id = `${key.namespace}/${key.name}`;
    const before = this.objects.get(id);
    if (before === undefined) throw new PintleError('NOT_FOUND', `${id} does not exist.`);
    const after = { ...before, ...(patch.body as object) };
    this.objects.set(id, after);
    return after;
  }

  #emit(event: WatchEvent<KubernetesObject>): void {
    this.#log.push({ revision: this.revision, event });
    for (const subscriber of this.#subscribers) {
      if (subscriber.failure !== undefined) continue;
      subscriber.queue.push(event);
      subscriber.wake();
    }
  }

  #maybeFail(): void {
    const code = this.failNext.shift();
    if (code !== undefined) throw new PintleError(code, `The server answered ${code}.`);
  }
}
