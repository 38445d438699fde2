/**
 * A small in-memory cluster for tests of the HTTP front: keeps what it is given, counts revisions, watches. It validates
 * and defaults nothing. `fail` lets a test choose the error of the next call.
 */
import {
  PintleError,
  type Cluster,
  type KubernetesObject,
  type NodeService,
  type ObjectKey,
  type ResourceType,
  type ServedResource,
  type WatchEvent,
} from '../../../kernel/contract/index.ts';
import { builtInResources } from '../../../kernel/machinery/resources.ts';

const allVerbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];

export interface FakeCluster extends Cluster {
  fail: unknown;
  readonly calls: { readonly verb: string; readonly options: unknown }[];
  readonly nodes: Map<string, NodeService>;
  readonly checks: { name: string; failure: string | undefined }[];
  seed(type: ResourceType, object: Record<string, unknown>): KubernetesObject;
}

export function fakeCluster(): FakeCluster {
  const objects = new Map<string, KubernetesObject>();
  const listeners = new Set<(plural: string, event: WatchEvent<KubernetesObject>) => void>();
  const served: readonly ServedResource[] = builtInResources.map((resource) => ({
    ...resource,
    verbs: resource.stored ? allVerbs : ['create'],
    subresources: [
      {
        name: 'status',
        group: resource.group,
        version: resource.version,
        kind: resource.kind,
        verbs: ['get', 'patch', 'update'],
      },
    ],
  }));
  let revision = 1;
  let uids = 0;
  const pathOf = (type: ResourceType, key: ObjectKey): string =>
    `${type.group}/${type.resource}/${key.namespace ?? ''}/${key.name}`;
  const calls: { verb: string; options: unknown }[] = [];
  const call = (verb: string, options: unknown): void => {
    calls.push({ verb, options });
    const { fail } = cluster;
    cluster.fail = undefined;
    if (fail !== undefined) throw fail;
  };
  const notFound = (type: ResourceType, name: string): PintleError =>
    new PintleError('NOT_FOUND', `${type.resource} "${name}" not found`, {
      details: { group: type.group, resource: type.resource, name },
    });
  const stamp = (object: object, metadata: Record<string, unknown>): KubernetesObject =>
    Object.freeze({
      ...object,
      metadata: { ...metadata, resourceVersion: String(++revision) },
    }) as unknown as KubernetesObject;
  const tell = (type: ResourceType, event: WatchEvent<KubernetesObject>): void => {
    for (const listener of listeners) listener(`${type.group}/${type.resource}`, event);
  };
  const find = (type: ResourceType, key: ObjectKey): KubernetesObject => {
    const found = objects.get(pathOf(type, key));
    if (found === undefined) throw notFound(type, key.name);
    return found;
  };
  const all = (type: ResourceType, namespace: string | undefined): KubernetesObject[] =>
    [...objects]
      .filter(([path]) =>
        path.startsWith(`${type.group}/${type.resource}/${namespace === undefined ? '' : `${namespace}/`}`),
      )
      .map(([, object]) => object);
  const put = (type: ResourceType, object: object): KubernetesObject => {
    const metadata = (object as KubernetesObject).metadata;
    const path = pathOf(type, { namespace: metadata.namespace, name: metadata.name ?? '' });
    const before = objects.get(path);
    const next = stamp(object, metadata as unknown as Record<string, unknown>);
    objects.set(path, next);
    tell(type, { type: before === undefined ? 'ADDED' : 'MODIFIED', object: next });
    return next;
  };

  const cluster: FakeCluster = {
    fail: undefined,
    calls,
    nodes: new Map(),
    checks: [{ name: 'store', failure: undefined }],
    seed(type, object) {
      const metadata = {
        uid: `u${++uids}`,
        creationTimestamp: '2026-01-01T00:00:00Z',
        ...(object['metadata'] as object),
      };
      return put(type, {
        apiVersion: type.group === '' ? type.version : `${type.group}/${type.version}`,
        kind: type.kind,
        ...object,
        metadata,
      });
    },
    async get(type, key, options) {
      call('get', options);
      return find(type, key) as never;
    },
    async list(type, options) {
      call('list', options);
      const found = all(type, options?.namespace);
      return { items: found.slice(0, options?.limit ?? found.length) as never, resourceVersion: String(revision) };
    },
    async *watch(type, options, signal) {
      call('watch', options);
      let queue: WatchEvent<KubernetesObject>[] = [];
      if (options.resourceVersion === undefined)
        queue = all(type, options.namespace).map((object) => ({ type: 'ADDED' as const, object }));
      let wake = (): void => undefined;
      const listener = (plural: string, event: WatchEvent<KubernetesObject>): void => {
        if (plural !== `${type.group}/${type.resource}`) return;
        queue.push(event);
        wake();
      };
      listeners.add(listener);
      const onAbort = (): void => wake();
      signal.addEventListener('abort', onAbort);
      try {
        while (!signal.aborted) {
          if (queue.length > 0) {
            const batch = queue;
            queue = [];
            yield batch as never;
          } else await new Promise<void>((resolve) => (wake = resolve));
        }
      } finally {
        listeners.delete(listener);
        signal.removeEventListener('abort', onAbort);
      }
    },
    async create(type, object, options) {
      call('create', options);
      if (options?.subresource !== undefined) return { ...object } as never;
      const given = object.metadata;
      const key = { namespace: given.namespace, name: given.name ?? '' };
      if (objects.has(pathOf(type, key)))
        throw new PintleError('ALREADY_EXISTS', `${type.resource} "${key.name}" already exists`, {
          details: { group: type.group, resource: type.resource, name: key.name },
        });
      return cluster.seed(type, object as unknown as Record<string, unknown>) as never;
    },
    async update(type, object, options) {
      call('update', options);
      find(type, { namespace: object.metadata.namespace, name: object.metadata.name ?? '' });
      return put(type, object) as never;
    },
    async patch(type, key, patch, options) {
      call('patch', { ...options, patch });
      if (patch.kind === 'apply' && !objects.has(pathOf(type, key)))
        return cluster.seed(type, patch.body as Record<string, unknown>) as never;
      const before = find(type, key);
      return put(type, { ...before, ...(patch.body as object), metadata: before.metadata }) as never;
    },
    async delete(type, key, options) {
      call('delete', options);
      const object = find(type, key);
      objects.delete(pathOf(type, key));
      const last = stamp(object, object.metadata as unknown as Record<string, unknown>);
      tell(type, { type: 'DELETED', object: last });
      return { object: last as never, gone: true };
    },
    async deleteCollection(type, options) {
      call('deleteCollection', options);
      const found = all(type, options?.namespace);
      for (const object of found)
        objects.delete(pathOf(type, { namespace: object.metadata.namespace, name: object.metadata.name ?? '' }));
      return { items: found as never, resourceVersion: String(++revision) };
    },
    async serveNode(name, service, signal) {
      cluster.nodes.set(name, service);
      signal.addEventListener('abort', () => {
        if (cluster.nodes.get(name) === service) cluster.nodes.delete(name);
      });
    },
    server: {
      authenticate: () => undefined,
      authorize: () => ({ allowed: true, reason: '' }),
      resources: () => served,
      node(name) {
        const service = cluster.nodes.get(name);
        if (service === undefined) throw new PintleError('UNAVAILABLE', `node ${name} is not connected`);
        return service;
      },
      checks: () => cluster.checks,
      get revision() {
        return revision;
      },
    },
  };
  return cluster;
}
