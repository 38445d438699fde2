/** The Cluster interface over the state of this process: finds the resource, picks the verb. */
import { isPintleError } from '../../../kernel/contract/index.ts';
import type {
  AccessRequest,
  CallOptions,
  Cluster,
  ClusterServer,
  DeleteOptions,
  KubernetesObject,
  ListOptions,
  NewObject,
  NodeService,
  ObjectKey,
  ObjectList,
  ResourceType,
  UserInfo,
  WatchEvent,
  WatchOptions,
  WriteOptions,
} from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';
import { badRequest, methodNotAllowed, notFound, unknownResource } from './api-errors.ts';
import type { Engine, Stored } from './engine.ts';
import { list, parseRevision } from './list.ts';
import type { NodeConnections } from './node-connections.ts';
import { review } from './reviews.ts';
import { shape } from './shape.ts';
import { deepFreeze } from './state/frozen-json.ts';
import { apply } from './verbs/apply.ts';
import { change } from './verbs/change.ts';
import type { Edit } from './verbs/change.ts';
import { create } from './verbs/create.ts';
import { patchEdit } from './verbs/patch.ts';
import type { Patch } from './verbs/patch.ts';
import { remove } from './verbs/remove.ts';
import { bind } from './verbs/subresources/binding.ts';
import { evict } from './verbs/subresources/eviction.ts';
import { requestToken } from './verbs/subresources/token.ts';
import { partialSubresources } from './verbs/subresources/partial.ts';
import type { PartialMerge } from './verbs/subresources/partial.ts';
import { patchScale, scaleOf, updateScale } from './verbs/subresources/scale.ts';
import { ResourceMetrics } from './usage/resource-metrics.ts';
import { watch } from './watch.ts';

const streams = new Set(['attach', 'exec', 'log', 'portforward']);
/** How many objects of a collection are deleted at a time. */
const deleteConcurrency = 16;

export class LocalCluster implements Cluster {
  readonly #engine: Engine;
  readonly #nodes: NodeConnections;
  readonly #usage: ResourceMetrics;
  readonly #bookmarkMs: number;
  readonly server: ClusterServer;

  constructor(engine: Engine, nodes: NodeConnections, checks: ClusterServer['checks'], bookmarkMs: number) {
    this.#bookmarkMs = bookmarkMs;
    this.#engine = engine;
    this.#nodes = nodes;
    this.#usage = new ResourceMetrics(engine, nodes);
    this.server = Object.freeze({
      authenticate: (token: string) => {
        const answer = engine.tokens?.authenticate(token);
        return answer !== undefined && 'user' in answer ? answer.user : undefined;
      },
      authorize: (user: UserInfo, request: AccessRequest) =>
        engine.access?.authorize(user, request) ?? { allowed: false, reason: 'no authorizer' },
      tokenIssuer: () => engine.tokens && { issuer: engine.tokens.issuer, keys: [engine.tokens.publicKey()] },
      resources: () => engine.catalog.served(),
      node: (name: string) => nodes.get(name),
      checks,
      get revision() {
        return engine.state.revision;
      },
    });
  }

  async get<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    options: CallOptions & {
      readonly subresource?: string | undefined;
      readonly resourceVersion?: string | undefined;
    } = {},
  ): Promise<T> {
    const computed = this.#usage.find(type);
    if (computed !== undefined) return (await this.#usage.get(computed, key)) as KubernetesObject as T;
    const resource = this.#engine.stored(type, 'get');
    const path = this.#engine.key(resource, key);
    const asked = parseRevision(options.resourceVersion);
    if (asked === undefined) await this.#engine.state.fresh();
    else if (asked > this.#engine.state.revision) await this.#engine.state.reach(asked, 3_000);
    const stored = resource.storage.collection.get(path);
    if (!stored) throw notFound(resource.served, key.name);
    const { subresource } = options;
    if (subresource === 'scale') return scaleOf(resource, stored) as KubernetesObject as T;
    if (subresource) this.#subresource(resource, subresource, 'get');
    return this.#engine.catalog.shown(resource, stored) as T;
  }

  async list<T extends KubernetesObject>(type: ResourceType<T>, options: ListOptions = {}): Promise<ObjectList<T>> {
    const computed = this.#usage.find(type);
    if (computed !== undefined)
      return (await this.#usage.list(computed, options)) as ObjectList<KubernetesObject> as ObjectList<T>;
    const resource = this.#engine.stored(type, 'list');
    const found = await list(this.#engine.state, resource, resource.storage, options);
    return found as ObjectList<T>;
  }

  watch<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<readonly WatchEvent<T>[]> {
    const resource = this.#engine.stored(type, 'watch');
    return watch(this.#engine.state, resource, resource.storage, options, this.#bookmarkMs, signal) as AsyncIterable<
      readonly WatchEvent<T>[]
    >;
  }

  async create<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: NewObject<T>,
    options: WriteOptions & { readonly parent?: ObjectKey | undefined } = {},
  ): Promise<T> {
    const resource = this.#engine.catalog.resource(type);
    if (options.subresource) {
      return (await this.#createSubresource(
        this.#engine.stored(type, 'create'),
        object as unknown as KubernetesObject,
        options,
      )) as T;
    }
    if (!resource.served.verbs.includes('create')) throw methodNotAllowed(resource.served, 'create');
    if (!resource.storage)
      return deepFreeze(review(this.#engine, resource, shape(resource, object, options), options.user)) as T;
    const created = (await create(this.#engine, resource as Stored, object, options)) as T;
    if (type.resource === 'namespaces' && type.group === '' && this.#engine.tokens && !options.dryRun)
      await this.#ensureAccount(created.metadata.name);
    return created;
  }

  /** Before the answer: the first pod of a new namespace needs it, and would not find it. Controller service-account keeps it. */
  async #ensureAccount(namespace: string): Promise<void> {
    try {
      await this.create(resources.serviceAccounts, { metadata: { namespace, name: 'default' } });
    } catch (error) {
      if (!isPintleError(error, 'ALREADY_EXISTS', 'FORBIDDEN', 'NOT_FOUND')) throw error;
    }
  }

  async #createSubresource(
    resource: Stored,
    body: KubernetesObject,
    options: WriteOptions & { readonly parent?: ObjectKey | undefined },
  ): Promise<KubernetesObject> {
    const parent = options.parent ?? body.metadata;
    if (!parent?.name) throw badRequest('the parent of a subresource must be named');
    const { path } = resource.storage;
    if (path === 'core/pods' && options.subresource === 'binding') {
      return bind(this.#engine, resource, parent, body, options);
    }
    if (path === 'core/pods' && options.subresource === 'eviction') {
      return evict(this.#engine, resource, parent, body, options);
    }
    if (path === 'core/serviceaccounts' && options.subresource === 'token' && this.#engine.tokens) {
      return requestToken(this.#engine, resource, this.#engine.tokens, parent, body, options);
    }
    this.#subresource(resource, options.subresource!, 'create');
    throw unknownResource();
  }

  async update<T extends KubernetesObject>(type: ResourceType<T>, object: T, options: WriteOptions = {}): Promise<T> {
    const resource = this.#engine.stored(type, 'update');
    if (typeof object !== 'object' || object === null) throw badRequest('expected an object to update');
    const key = this.#engine.key(resource, object.metadata ?? { name: '' });
    const { subresource } = options;
    if (subresource === 'scale') {
      if (!resource.storage.strategy.scale) throw unknownResource();
      return (await updateScale(this.#engine, resource, key, object, options)) as T;
    }
    const merge = subresource ? this.#subresource(resource, subresource, 'update') : undefined;
    // A draft for each try: one that was offered to the store belongs to the state. Warned is only once.
    let { warn } = options;
    const edit = () => {
      const wanted = shape(resource, object, { ...options, warn });
      warn = undefined;
      return wanted;
    };
    return (await this.#change(resource, key, edit, merge, options)) as T;
  }

  async patch<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    patch: Patch,
    options: WriteOptions = {},
  ): Promise<T> {
    const resource = this.#engine.stored(type, 'patch');
    const path = this.#engine.key(resource, key);
    const { subresource } = options;
    if (subresource === 'scale') {
      if (!resource.storage.strategy.scale) throw unknownResource();
      return (await patchScale(this.#engine, resource, path, patch, options)) as T;
    }
    const merge = subresource ? this.#subresource(resource, subresource, 'patch') : undefined;
    if (patch.kind === 'apply') {
      const target = { scope: merge && ('free' as const), edit: (edit: Edit) => mergingEdit(resource, merge, edit) };
      return (await apply(this.#engine, resource, key, patch, options, target)) as T;
    }
    return (await this.#change(resource, path, patchEdit(resource, patch, options), merge, options)) as T;
  }

  #change(
    resource: Stored,
    key: string,
    edit: Edit,
    merge: PartialMerge | undefined,
    options: WriteOptions,
  ): Promise<KubernetesObject> {
    return change(this.#engine, resource, key, mergingEdit(resource, merge, edit), options, merge && 'free');
  }

  /** Checks that the subresource has the verb; its merge, unless it is status. */
  #subresource(resource: Stored, name: string, verb: string): PartialMerge | undefined {
    const served = resource.served.subresources.find((subresource) => subresource.name === name);
    if (!served) throw unknownResource();
    // Streams come from the node, not from the state.
    if (!served.verbs.includes(verb) || streams.has(name)) throw methodNotAllowed(resource.served, verb);
    return partialSubresources[`${resource.storage.path}/${name}`];
  }

  async delete<T extends KubernetesObject>(
    type: ResourceType<T>,
    key: ObjectKey,
    options: DeleteOptions = {},
  ): Promise<{ readonly object: T; readonly gone: boolean }> {
    const resource = this.#engine.stored(type, 'delete');
    const removed = await remove(this.#engine, resource, this.#engine.key(resource, key), options);
    return { object: removed.object as T, gone: removed.gone };
  }

  async deleteCollection<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: ListOptions & DeleteOptions = {},
  ): Promise<ObjectList<T>> {
    const resource = this.#engine.stored(type, 'deletecollection');
    if (!resource.served.verbs.includes('deletecollection'))
      throw methodNotAllowed(resource.served, 'deletecollection');
    const found = await this.list(type, options);
    const removed: KubernetesObject[] = [];
    let next = 0;
    const work = async () => {
      while (next < found.items.length) {
        const index = next++;
        const item = found.items[index]!;
        const preconditions = { uid: item.metadata.uid };
        try {
          const key = this.#engine.key(resource, item.metadata);
          removed[index] = (await remove(this.#engine, resource, key, { ...options, preconditions })).object;
        } catch (error) {
          // Gone already, or replaced by another of the same name: not in the collection that was asked for.
          if (!isPintleError(error, 'NOT_FOUND', 'CONFLICT')) throw error;
        }
      }
    };
    await Promise.all(Array.from({ length: deleteConcurrency }, work));
    return { ...found, items: removed.filter(Boolean) as T[] };
  }

  serveNode(nodeName: string, service: NodeService, signal: AbortSignal): Promise<void> {
    return this.#nodes.serve(nodeName, service, signal);
  }
}

/** Takes the subresource's part of what `edit` makes. */
function mergingEdit(resource: Stored, merge: PartialMerge | undefined, edit: Edit): Edit {
  if (!merge) return edit;
  return (shown) => {
    const shaped = edit(shown);
    return { ...shaped, object: merge(resource, shaped.object, shown) };
  };
}
