/** Nobody gives away what they do not have: checks on roles and bindings, with the verbs `escalate` and `bind` as the way around. */
import type { ResourceType, UserInfo } from '../../../../kernel/contract/index.ts';
import type {
  ClusterRole,
  ClusterRoleBinding,
  PolicyRule,
  Role,
  RoleBinding,
} from '../../../../kernel/contract/kubernetes.ts';
import { forbidden, notFound } from '../api-errors.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { isMaster, type Authorizer } from './authorizer.ts';
import { ruleText, uncovered } from './rules.ts';

const group = 'rbac.authorization.k8s.io';

function refuseUncovered(
  type: ResourceType,
  name: string,
  user: UserInfo,
  owned: readonly PolicyRule[],
  wanted: readonly PolicyRule[],
): void {
  const missing = uncovered(owned, wanted);
  if (missing.length === 0) return;
  const groups = user.groups.map((each) => JSON.stringify(each)).join(' ');
  throw forbidden(
    type,
    name,
    `user ${JSON.stringify(user.name)} (groups=[${groups}]) is attempting to grant RBAC permissions not currently held:\n${missing.map(ruleText).join('\n')}`,
  );
}

export function checkRole(object: Role | ClusterRole, access: Authorizer, user: UserInfo | undefined): void {
  if (user === undefined || isMaster(user)) return;
  const { namespace, name } = object.metadata;
  const type = namespace === undefined ? resources.clusterRoles : resources.roles;
  const escalate = { verb: 'escalate', group, resource: type.resource, namespace, name };
  if (access.authorize(user, escalate).allowed) return;
  const aggregates = (object as ClusterRole).aggregationRule !== undefined;
  // What is gathered is not known yet: only who may do everything may let it be gathered.
  const wanted = aggregates
    ? [
        { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
        { verbs: ['*'], nonResourceURLs: ['*'] },
      ]
    : (object.rules ?? []);
  refuseUncovered(type, name, user, access.rulesFor(user, namespace), wanted);
}

export function checkBinding(
  object: RoleBinding | ClusterRoleBinding,
  access: Authorizer,
  user: UserInfo | undefined,
): void {
  if (user === undefined || isMaster(user)) return;
  const { namespace, name } = object.metadata;
  const { roleRef } = object;
  const type = namespace === undefined ? resources.clusterRoleBindings : resources.roleBindings;
  const roles = roleRef.kind === 'ClusterRole' ? resources.clusterRoles : resources.roles;
  const bind = { verb: 'bind', group, resource: roles.resource, namespace, name: roleRef.name };
  if (access.authorize(user, bind).allowed) return;
  const wanted = access.rulesOfRole(roleRef, namespace);
  if (wanted === undefined) throw notFound(roles, roleRef.name);
  refuseUncovered(type, name, user, access.rulesFor(user, namespace), wanted);
}
