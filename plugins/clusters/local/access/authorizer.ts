/**
 * Who may do what. Members of system:masters may do everything; everybody else what the roles allow that are bound to
 * them. Nodes may besides write only what is theirs. Bindings are indexed by subject, anew after each change of one.
 */
import type { AccessDecision, AccessRequest, KubernetesObject, UserInfo } from '../../../../kernel/contract/index.ts';
import type {
  ClusterRole,
  ClusterRoleBinding,
  PolicyRule,
  Role,
  RoleBinding,
  RoleRef,
} from '../../../../kernel/contract/kubernetes.ts';
import type { Collection } from '../state/collection.ts';
import { isNamedByPodOn } from './node-reads.ts';
import { ruleAllows } from './rules.ts';

export interface AccessCollections {
  readonly pods: Collection;
  readonly roles: Collection;
  readonly clusterRoles: Collection;
  readonly roleBindings: Collection;
  readonly clusterRoleBindings: Collection;
}

interface Grant {
  /** Undefined: everywhere. */
  readonly namespace: string | undefined;
  readonly roleRef: RoleRef;
  readonly binding: KubernetesObject;
}

export function isMaster(user: UserInfo): boolean {
  return user.groups.includes('system:masters');
}

const accountPrefix = 'system:serviceaccount:';

export class Authorizer {
  readonly #collections: AccessCollections;
  readonly #allowsAll: boolean;
  #grants: Map<string, Grant[]> | undefined;

  constructor(collections: AccessCollections, mode: 'rbac' | 'always-allow') {
    this.#collections = collections;
    this.#allowsAll = mode === 'always-allow';
    const forget = () => (this.#grants = undefined);
    for (const bindings of [collections.roleBindings, collections.clusterRoleBindings])
      bindings.follow({ changed: forget, reset: forget });
  }

  authorize(user: UserInfo, request: AccessRequest): AccessDecision {
    const isUnknown = user.name === 'system:anonymous' || user.groups.includes('system:unauthenticated');
    if (this.#allowsAll && !isUnknown)
      return { allowed: true, reason: 'this cluster allows everything to everybody it knows' };
    if (isMaster(user)) return { allowed: true, reason: '' };
    const refusal = nodeRefusal(user, request, this.#collections.pods);
    if (refusal !== undefined) return { allowed: false, reason: refusal };
    for (const grant of this.#grantsOf(user, request.namespace)) {
      if (!this.#rules(grant).some((rule) => ruleAllows(rule, request))) continue;
      const { kind, metadata } = grant.binding;
      const name = metadata.namespace === undefined ? metadata.name : `${metadata.name}/${metadata.namespace}`;
      return {
        allowed: true,
        reason: `RBAC: allowed by ${kind} "${name}" of ${grant.roleRef.kind} "${grant.roleRef.name}" to ${subjectText(user, grant)}`,
      };
    }
    return { allowed: false, reason: '' };
  }

  /** Everything that the user may do in this namespace (undefined: cluster-wide). */
  rulesFor(user: UserInfo, namespace: string | undefined): readonly PolicyRule[] {
    if (this.#allowsAll || isMaster(user))
      return [
        { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
        { verbs: ['*'], nonResourceURLs: ['*'] },
      ];
    return [...this.#grantsOf(user, namespace)].flatMap((grant) => this.#rules(grant));
  }

  /** Rules of the role that a binding names; undefined when there is no such role. */
  rulesOfRole(roleRef: RoleRef, namespace: string | undefined): readonly PolicyRule[] | undefined {
    const { roles, clusterRoles } = this.#collections;
    const found = (
      roleRef.kind === 'ClusterRole' ? clusterRoles.get(roleRef.name) : roles.get(`${namespace}/${roleRef.name}`)
    ) as Role | ClusterRole | undefined;
    return found && (found.rules ?? []);
  }

  #rules({ roleRef, namespace }: Grant): readonly PolicyRule[] {
    return this.rulesOfRole(roleRef, namespace) ?? [];
  }

  *#grantsOf(user: UserInfo, namespace: string | undefined): Generator<Grant> {
    const grants = (this.#grants ??= this.#index());
    for (const subject of [`User ${user.name}`, ...user.groups.map((group) => `Group ${group}`)])
      for (const grant of grants.get(subject) ?? [])
        if (grant.namespace === undefined || grant.namespace === namespace) yield grant;
  }

  #index(): Map<string, Grant[]> {
    const grants = new Map<string, Grant[]>();
    const add = (binding: RoleBinding | ClusterRoleBinding, namespace: string | undefined) => {
      for (const subject of binding.subjects ?? []) {
        const name =
          subject.kind === 'ServiceAccount'
            ? `User ${accountPrefix}${subject.namespace ?? namespace}:${subject.name}`
            : `${subject.kind} ${subject.name}`;
        const list = grants.get(name) ?? [];
        list.push({ namespace, roleRef: binding.roleRef, binding });
        grants.set(name, list);
      }
    };
    const { roleBindings, clusterRoleBindings } = this.#collections;
    clusterRoleBindings.tree.scan('', (_key, object) => (add(object as ClusterRoleBinding, undefined), true));
    roleBindings.tree.scan('', (_key, object) => (add(object as RoleBinding, object.metadata.namespace), true));
    return grants;
  }
}

function subjectText(user: UserInfo, { binding }: Grant): string {
  for (const subject of (binding as RoleBinding).subjects ?? []) {
    if (subject.kind === 'Group' && user.groups.includes(subject.name)) return `Group "${subject.name}"`;
    if (subject.kind === 'User' && subject.name === user.name) return `User "${user.name}"`;
    const namespace = subject.namespace ?? binding.metadata.namespace;
    if (subject.kind === 'ServiceAccount' && user.name === `${accountPrefix}${namespace}:${subject.name}`)
      return `ServiceAccount "${subject.name}/${namespace}"`;
  }
  return `User "${user.name}"`;
}

const nodePrefix = 'system:node:';
const changing = new Set(['update', 'patch', 'delete', 'deletecollection']);

/** A node writes its own Node and its own Lease, and reads the Secrets and ConfigMaps of its own pods. */
function nodeRefusal(user: UserInfo, request: AccessRequest, pods: Collection): string | undefined {
  if (!user.groups.includes('system:nodes') || !user.name.startsWith(nodePrefix)) return undefined;
  const own = user.name.slice(nodePrefix.length);
  const { resource, namespace, name } = request;
  if ((resource === 'secrets' || resource === 'configmaps') && (request.group ?? '') === '') {
    const isNamed = namespace && name && isNamedByPodOn(own, pods, resource, namespace, name);
    return isNamed ? undefined : `no pod on node "${own}" names this object`;
  }
  const isNode = resource === 'nodes' && (request.group ?? '') === '';
  const isLease = resource === 'leases' && namespace === 'kube-node-lease';
  if ((isNode || isLease) && changing.has(request.verb) && name !== own)
    return `node "${own}" is not allowed to modify ${isNode ? 'node' : 'the lease of node'} "${name ?? ''}"`;
  return undefined;
}
