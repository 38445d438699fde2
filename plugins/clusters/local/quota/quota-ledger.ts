/**
 * ResourceQuota at the door: what is used of each quota, kept up with every change, and what calls that are still being
 * written have been promised. Checking and promising is one step without a pause, so that two calls at once never get
 * the same last piece.
 */
import type { KubernetesObject } from '../../../../kernel/contract/index.ts';
import type { Pod, ResourceQuota } from '../../../../kernel/contract/kubernetes.ts';
import { quotaCovers } from '../../../../kernel/machinery/quota/scopes.ts';
import {
  quotaAmount,
  quotaResource,
  quotaText,
  resourceOfQuotaName,
  usageOf,
  type Usage,
} from '../../../../kernel/machinery/quota/usage.ts';
import { forbidden } from '../api-errors.ts';
import type { Storage } from '../catalog.ts';
import type { Reservation } from '../strategies/strategy.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { Collection } from '../state/collection.ts';
import { unspecified } from './unspecified.ts';

interface Account {
  readonly quota: ResourceQuota;
  readonly used: Record<string, number>;
}

interface Promised {
  readonly namespace: string;
  readonly quota: string;
  readonly amounts: Usage;
}

export class QuotaLedger {
  readonly #quotas: Collection;
  readonly #storageOf: (resource: string) => Storage | undefined;
  /** Namespace → quota name → account, of namespaces that have been asked about. */
  readonly #accounts = new Map<string, Map<string, Account>>();
  readonly #followed = new Set<string>();
  /** By uid of the object that is being written. */
  readonly #promises = new Map<string, readonly Promised[]>();

  /** `storageOf`: by name as count/… has it. */
  constructor(quotas: Collection, storageOf: (resource: string) => Storage | undefined) {
    this.#quotas = quotas;
    this.#storageOf = storageOf;
    quotas.follow({
      changed: ({ type, object, previous }) => {
        // The controller writes the status all the time; that is the other way round.
        const specOf = (quota: KubernetesObject | undefined) => (quota as ResourceQuota | undefined)?.spec;
        if (type === 'MODIFIED' && sameJson(specOf(object), specOf(previous))) return;
        this.#accounts.delete(object.metadata.namespace ?? '');
      },
      reset: () => this.#accounts.clear(),
    });
  }

  /** Promises what the draft uses more than the current object, or throws FORBIDDEN in kube-apiserver's words. */
  charge(storage: Storage, draft: KubernetesObject, current: KubernetesObject | undefined): Reservation | undefined {
    const { namespace, uid } = draft.metadata;
    if (namespace === undefined) return undefined;
    const accounts = this.#accountsOf(namespace);
    if (accounts.size === 0) return undefined;
    const resource = quotaResource(storage.type.group, storage.type.resource);
    const promises: Promised[] = [];
    for (const [quota, account] of accounts) {
      const amounts = this.#more(account, resource, draft, current);
      if (amounts === undefined) continue;
      this.#check(storage, draft, account, amounts);
      promises.push({ namespace, quota, amounts });
    }
    if (promises.length === 0) return undefined;
    this.#promises.set(uid, promises);
    const release = () => void this.#promises.delete(uid);
    return { keep: release, cancel: release };
  }

  /** Undefined: this quota is not concerned. */
  #more(
    { quota }: Account,
    resource: string,
    draft: KubernetesObject,
    current: KubernetesObject | undefined,
  ): Usage | undefined {
    const hard = Object.keys(quota.spec?.hard ?? {}).filter((name) => resourceOfQuotaName(name) === resource);
    if (hard.length === 0 || !quotaCovers(quota, resource, draft)) return undefined;
    const usage = usageOf(resource, draft);
    const before = current && quotaCovers(quota, resource, current) ? usageOf(resource, current) : {};
    const more: Record<string, number> = {};
    for (const name of hard) {
      const difference = (usage[name] ?? 0) - (before[name] ?? 0);
      if (difference > 0) more[name] = difference;
    }
    if (resource === 'pods' && current === undefined) {
      const missing = unspecified(draft as Pod, hard);
      if (missing !== '')
        throw forbidden(
          this.#storageOf('pods')!.type,
          draft.metadata.name,
          `failed quota: ${quota.metadata.name}: must specify ${missing}`,
        );
    }
    return Object.keys(more).length === 0 ? undefined : more;
  }

  #check({ type }: Storage, draft: KubernetesObject, { quota, used }: Account, amounts: Usage): void {
    const { name: quotaName, namespace } = quota.metadata;
    const hard = quota.spec?.hard ?? {};
    const total = (name: string) => (used[name] ?? 0) + this.#promised(namespace, quotaName, name);
    const exceeded = Object.keys(amounts)
      .filter((name) => total(name) + amounts[name]! > quotaAmount(name, hard[name]!))
      .toSorted();
    if (exceeded.length === 0) return;
    const list = (value: (name: string) => string) => exceeded.map((name) => `${name}=${value(name)}`).join(',');
    throw forbidden(
      type,
      draft.metadata.name,
      `exceeded quota: ${quotaName}, requested: ${list((name) => quotaText(name, amounts[name]!))}, used: ${list((name) => quotaText(name, total(name)))}, limited: ${list((name) => hard[name]!)}`,
    );
  }

  #promised(namespace: string, quota: string, name: string): number {
    let sum = 0;
    for (const promises of this.#promises.values())
      for (const each of promises)
        if (each.namespace === namespace && each.quota === quota) sum += each.amounts[name] ?? 0;
    return sum;
  }

  #accountsOf(namespace: string): Map<string, Account> {
    let accounts = this.#accounts.get(namespace);
    if (accounts !== undefined) return accounts;
    accounts = new Map();
    const prefix = `${namespace}/`;
    this.#quotas.tree.scan(prefix, (key, object) => {
      if (!key.startsWith(prefix)) return false;
      accounts.set(object.metadata.name, { quota: object as ResourceQuota, used: {} });
      return true;
    });
    if (accounts.size === 0) return accounts;
    this.#accounts.set(namespace, accounts);
    const names = [...accounts.values()].flatMap(({ quota }) => Object.keys(quota.spec?.hard ?? {}));
    for (const resource of new Set(names.map(resourceOfQuotaName))) {
      const storage = this.#storageOf(resource);
      if (storage === undefined) continue;
      this.#follow(resource, storage);
      storage.collection.tree.scan(prefix, (key, object) => {
        if (!key.startsWith(prefix)) return false;
        count(accounts.values(), resource, object, 1);
        return true;
      });
    }
    return accounts;
  }

  #follow(resource: string, storage: Storage): void {
    if (this.#followed.has(resource)) return;
    this.#followed.add(resource);
    storage.collection.follow({
      changed: ({ type, object, previous }) => {
        // What was promised is there now, and counted.
        if (this.#promises.size > 0) this.#promises.delete(object.metadata.uid);
        const accounts = this.#accounts.get(object.metadata.namespace ?? '');
        if (accounts === undefined || accounts.size === 0) return;
        if (previous !== undefined) count(accounts.values(), resource, previous, -1);
        if (type !== 'DELETED') count(accounts.values(), resource, object, 1);
      },
      reset: () => this.#accounts.clear(),
    });
  }
}

function count(accounts: Iterable<Account>, resource: string, object: KubernetesObject, times: 1 | -1): void {
  let usage: Usage | undefined;
  for (const { quota, used } of accounts) {
    if (!quotaCovers(quota, resource, object)) continue;
    usage ??= usageOf(resource, object);
    for (const name in usage) used[name] = (used[name] ?? 0) + times * usage[name]!;
  }
}
