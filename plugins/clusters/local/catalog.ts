/**
 * Which resources are served, and what is stored of them. Several served resources may share one storage (two versions
 * of one kind): the others are views of the stored version.
 */
import type {
  KubernetesObject,
  ResourceType,
  ServedResource,
  ServedSubresource,
} from '../../../kernel/contract/index.ts';
import { builtInResources } from '../../../kernel/machinery/resources.ts';
import type { BuiltInResource } from '../../../kernel/machinery/resources.ts';
import { unknownResource } from './api-errors.ts';
import type { Collection } from './state/collection.ts';
import type { State } from './state/state.ts';
import { root } from './state/state.ts';
import type { Strategy } from './strategies/strategy.ts';
import { views } from './views.ts';
import type { View } from './views.ts';

export interface Storage {
  /** "apps/deployments"; core is "core/pods". */
  readonly path: string;
  /** "/registry/apps/deployments/" */
  readonly prefix: string;
  /** Group, version and kind in which it is stored. */
  readonly type: ResourceType;
  readonly apiVersion: string;
  readonly strategy: Strategy;
  readonly hasStatus: boolean;
  readonly collection: Collection;
}

export interface Resource {
  readonly served: ServedResource;
  readonly apiVersion: string;
  /** Undefined: answers to `create` only, nothing is stored (reviews). */
  readonly storage: Storage | undefined;
  /** Set when this is another version than the stored one. */
  readonly view: View | undefined;
}

const allVerbs = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const changeVerbs = ['get', 'patch', 'update'];

const withStatus = new Set([
  'core/namespaces',
  'core/nodes',
  'core/persistentvolumeclaims',
  'core/persistentvolumes',
  'core/pods',
  'core/replicationcontrollers',
  'core/resourcequotas',
  'core/services',
  'apps/daemonsets',
  'apps/deployments',
  'apps/replicasets',
  'apps/statefulsets',
  'autoscaling/horizontalpodautoscalers',
  'batch/cronjobs',
  'batch/jobs',
  'networking.k8s.io/ingresses',
  'networking.k8s.io/servicecidrs',
  'policy/poddisruptionbudgets',
  'storage.k8s.io/volumeattachments',
  'certificates.k8s.io/certificatesigningrequests',
  'admissionregistration.k8s.io/validatingadmissionpolicies',
  'apiextensions.k8s.io/customresourcedefinitions',
  'apiregistration.k8s.io/apiservices',
  'flowcontrol.apiserver.k8s.io/flowschemas',
  'flowcontrol.apiserver.k8s.io/prioritylevelconfigurations',
  'resource.k8s.io/resourceclaims',
]);

/** Subresources of single kinds: name, body, verbs. */
const special: Readonly<Record<string, readonly ServedSubresource[]>> = {
  'core/pods': [
    { name: 'attach', group: '', version: 'v1', kind: 'PodAttachOptions', verbs: ['create', 'get'] },
    { name: 'binding', group: '', version: 'v1', kind: 'Binding', verbs: ['create'] },
    { name: 'ephemeralcontainers', group: '', version: 'v1', kind: 'Pod', verbs: changeVerbs },
    { name: 'eviction', group: 'policy', version: 'v1', kind: 'Eviction', verbs: ['create'] },
    { name: 'exec', group: '', version: 'v1', kind: 'PodExecOptions', verbs: ['create', 'get'] },
    { name: 'log', group: '', version: 'v1', kind: 'Pod', verbs: ['get'] },
    { name: 'portforward', group: '', version: 'v1', kind: 'PodPortForwardOptions', verbs: ['create', 'get'] },
    { name: 'resize', group: '', version: 'v1', kind: 'Pod', verbs: changeVerbs },
  ],
  'core/serviceaccounts': [
    { name: 'token', group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest', verbs: ['create'] },
  ],
  'core/namespaces': [{ name: 'finalize', group: '', version: 'v1', kind: 'Namespace', verbs: ['update'] }],
  'certificates.k8s.io/certificatesigningrequests': [
    {
      name: 'approval',
      group: 'certificates.k8s.io',
      version: 'v1',
      kind: 'CertificateSigningRequest',
      verbs: changeVerbs,
    },
  ],
};

export function storagePath(group: string, resource: string): string {
  return `${group || 'core'}/${resource}`;
}

export function apiVersionOf(type: Pick<ResourceType, 'group' | 'version'>): string {
  return type.group ? `${type.group}/${type.version}` : type.version;
}

function subresources(type: BuiltInResource, path: string, strategy: Strategy): ServedSubresource[] {
  const list = [...(special[path] ?? [])];
  if (withStatus.has(path)) {
    const { group, version, kind } = type;
    list.push({ name: 'status', group, version, kind, verbs: changeVerbs });
  }
  if (strategy.scale)
    list.push({ name: 'scale', group: 'autoscaling', version: 'v1', kind: 'Scale', verbs: changeVerbs });
  return list.sort((a, b) => (a.name < b.name ? -1 : 1));
}

export class Catalog {
  readonly #resources = new Map<string, Resource>();
  readonly #storages = new Map<string, Storage>();
  #served: readonly ServedResource[] = [];

  constructor(state: State, strategies: ReadonlyMap<string, Strategy>) {
    for (const type of builtInResources) {
      const view = views.get(`${apiVersionOf(type)}/${type.resource}`);
      const path = storagePath(view?.stored.group ?? type.group, type.resource);
      const strategy = strategies.get(path) ?? {};
      let storage = this.#storages.get(path);
      if (type.stored && !storage) {
        const stored = view?.stored ?? type;
        storage = {
          path,
          prefix: `${root}${path}/`,
          type: stored,
          apiVersion: apiVersionOf(stored),
          strategy,
          hasStatus: withStatus.has(path),
          collection: state.collection(path),
        };
        this.#storages.set(path, storage);
        const { indexedField } = strategy;
        if (indexedField) storage.collection.indexBy((object) => strategy.field!(object, indexedField));
      }
      this.#add({
        served: {
          ...type,
          verbs: type.computed
            ? ['get', 'list']
            : !type.stored
              ? ['create']
              : path === 'core/namespaces'
                ? allVerbs.filter((verb) => verb !== 'deletecollection')
                : allVerbs,
          subresources: type.stored ? subresources(type, path, strategy) : [],
        },
        apiVersion: apiVersionOf(type),
        storage,
        view,
      });
    }
  }

  #add(resource: Resource): void {
    this.#resources.set(`${resource.apiVersion}/${resource.served.resource}`, resource);
    this.#served = Object.freeze([...this.#served, Object.freeze(resource.served)]);
  }

  /** A new array whenever the set changes. */
  served(): readonly ServedResource[] {
    return this.#served;
  }

  resource(type: Pick<ResourceType, 'group' | 'version' | 'resource'>): Resource {
    const found = this.#resources.get(`${apiVersionOf(type)}/${type.resource}`);
    if (!found) throw unknownResource();
    return found;
  }

  /** By the name that quotas have for it: "pods", "deployments.apps". */
  storageOf(resource: string): Storage | undefined {
    const dot = resource.indexOf('.');
    return dot < 0
      ? this.#storages.get(`core/${resource}`)
      : this.#storages.get(`${resource.slice(dot + 1)}/${resource.slice(0, dot)}`);
  }

  storages(): Iterable<Storage> {
    return this.#storages.values();
  }

  /** The object as this resource's readers see it; the same input gives the same output object. */
  shown(resource: Resource, stored: KubernetesObject): KubernetesObject {
    return resource.view ? resource.view.shown(stored) : stored;
  }
}
