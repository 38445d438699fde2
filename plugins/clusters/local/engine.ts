/** What every verb works with: the state, the catalogue, and the one way to write. */
import { randomUUID } from 'node:crypto';
import type {
  Clock,
  KubernetesObject,
  Logger,
  ObjectKey,
  ResourceType,
  WriteOptions,
} from '../../../kernel/contract/index.ts';
import { badRequest, methodNotAllowed } from './api-errors.ts';
import type { Authorizer } from './access/authorizer.ts';
import type { ServiceAccountTokens } from './access/service-account-tokens.ts';
import { Catalog } from './catalog.ts';
import type { Resource, Storage } from './catalog.ts';
import { QuotaLedger } from './quota/quota-ledger.ts';
import { atRevision } from './state/collection.ts';
import { encodeObject } from './state/encoding.ts';
import { deepFreeze } from './state/frozen-json.ts';
import type { State } from './state/state.ts';
import type { Strategy, StrategyContext } from './strategies/strategy.ts';

export interface Stored extends Resource {
  readonly storage: Storage;
}

export class Engine {
  readonly state: State;
  readonly catalog: Catalog;
  readonly clock: Clock;
  readonly log: Logger;
  /** Undefined: this cluster has no service account tokens, and pods get none. */
  tokens: ServiceAccountTokens | undefined;
  access: Authorizer | undefined;
  readonly quota: QuotaLedger;

  constructor(state: State, strategies: ReadonlyMap<string, Strategy>, clock: Clock, log: Logger) {
    this.state = state;
    this.catalog = new Catalog(state, strategies);
    this.clock = clock;
    this.log = log;
    this.quota = new QuotaLedger(state.collection('core/resourcequotas'), (resource) =>
      this.catalog.storageOf(resource),
    );
  }

  /** The resource, which must be one that is stored. */
  stored(type: ResourceType, verb: string): Stored {
    const resource = this.catalog.resource(type);
    if (!resource.storage) throw methodNotAllowed(resource.served, verb);
    return resource as Stored;
  }

  key(resource: Resource, key: ObjectKey): string {
    if (!key.name) throw badRequest('name must be provided');
    if (!resource.served.namespaced) return key.name;
    if (!key.namespace) throw badRequest(`the namespace of ${resource.served.resource} "${key.name}" must be provided`);
    return `${key.namespace}/${key.name}`;
  }

  context(options: WriteOptions): StrategyContext {
    const nowMs = this.clock.now();
    return {
      nowMs,
      timestamp: timestamp(nowMs),
      user: options.user,
      tokens: this.tokens,
      access: this.access,
      find: <T extends KubernetesObject>(type: ResourceType<T>, key: ObjectKey) => {
        const resource = this.stored(type, 'get');
        return resource.storage.collection.get(this.key(resource, key)) as T | undefined;
      },
      all: <T extends KubernetesObject>(type: ResourceType<T>, namespace?: string) => {
        const items: T[] = [];
        const prefix = namespace ? `${namespace}/` : '';
        this.stored(type, 'list').storage.collection.tree.scan(prefix, (key, object) => {
          if (!key.startsWith(prefix)) return false;
          items.push(object as T);
          return true;
        });
        return items;
      },
      warn: (message) => options.warn?.(message),
    };
  }

  newUid(): string {
    return randomUUID();
  }

  /** Undefined: the object was not at the expected revision (0: did exist). The draft belongs to the state afterwards. */
  async write(
    storage: Storage,
    key: string,
    draft: KubernetesObject,
    expected: number,
  ): Promise<KubernetesObject | undefined> {
    const bytes = encodeObject(draft);
    const revision = await this.state.commit([{ key: storage.prefix + key, bytes, object: draft, expected }]);
    if (revision === undefined) return undefined;
    const current = storage.collection.get(key);
    if (current?.metadata.resourceVersion === String(revision)) return current;
    // Somebody else was faster to write again; what this call made is still in the history.
    return storage.collection.treeAt(revision)?.get(key) ?? deepFreeze(atRevision(draft, revision));
  }

  /** Like `write`; resolves to the last state with the deletion's resourceVersion. */
  async remove(storage: Storage, key: string, last: KubernetesObject): Promise<KubernetesObject | undefined> {
    const expected = Number(last.metadata.resourceVersion);
    const revision = await this.state.commit([{ key: storage.prefix + key, bytes: undefined, expected }]);
    return revision === undefined ? undefined : deepFreeze(atRevision(last, revision));
  }
}

/** RFC 3339 with seconds. */
export function timestamp(ms: number): string {
  return `${new Date(ms).toISOString().slice(0, 19)}Z`;
}
