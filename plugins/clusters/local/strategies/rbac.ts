/** Roles and bindings: checked, also for what their writer may give away. They are enforced in access/authorizer.ts. */
import type {
  ClusterRole,
  ClusterRoleBinding,
  PolicyRule,
  Role,
  RoleBinding,
} from '../../../../kernel/contract/kubernetes.ts';
import { checkBinding, checkRole } from '../access/escalation.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { pathSegmentFaults } from '../validation/names.ts';
import type { Strategy, StrategyContext } from './strategy.ts';

function validateRules(rules: readonly PolicyRule[] | undefined, isNamespaced: boolean, errors: FieldErrors): void {
  for (const [index, rule] of (rules ?? []).entries()) {
    const field = `rules[${index}]`;
    if (!rule.verbs?.length) errors.required(`${field}.verbs`, 'verbs must contain at least one value');
    if (rule.nonResourceURLs?.length) {
      if (isNamespaced) {
        errors.invalid(
          `${field}.nonResourceURLs`,
          rule.nonResourceURLs,
          'namespaced rules cannot apply to non-resource URLs',
        );
      }
      if (rule.apiGroups?.length || rule.resources?.length || rule.resourceNames?.length) {
        errors.invalid(
          `${field}.nonResourceURLs`,
          rule.nonResourceURLs,
          'rules cannot apply to both regular resources and non-resource URLs',
        );
      }
      continue;
    }
    if (!rule.apiGroups?.length)
      errors.required(`${field}.apiGroups`, 'resource rules must supply at least one api group');
    if (!rule.resources?.length)
      errors.required(`${field}.resources`, 'resource rules must supply at least one resource');
  }
}

/** Of a change only what it adds is looked at; one that adds nothing needs no right but to write. */
const roleAdmission = {
  prepareCreate(object: Role | ClusterRole, { access, user }: StrategyContext) {
    if (access) checkRole(object, access, user);
  },
  prepareUpdate(object: Role | ClusterRole, current: Role | ClusterRole, { access, user }: StrategyContext) {
    const parts = ({ rules, aggregationRule }: ClusterRole) => [rules, aggregationRule];
    if (access && !sameJson(parts(object), parts(current))) checkRole(object, access, user);
  },
};

export const role: Strategy<Role> = {
  nameRule: 'path',
  ...roleAdmission,
  validate: (object, errors) => validateRules(object.rules, true, errors),
};
export const clusterRole: Strategy<ClusterRole> = {
  nameRule: 'path',
  ...roleAdmission,
  validate: (object, errors) => validateRules(object.rules, false, errors),
};

const rbacGroup = 'rbac.authorization.k8s.io';

function validateBinding(
  object: RoleBinding | ClusterRoleBinding,
  kinds: readonly string[],
  errors: FieldErrors,
): void {
  const { roleRef } = object;
  if (roleRef.apiGroup !== rbacGroup) errors.notSupported('roleRef.apiGroup', roleRef.apiGroup ?? '', [rbacGroup]);
  errors.oneOf('roleRef.kind', roleRef.kind, kinds);
  if (!roleRef.name) errors.required('roleRef.name');
  else errors.faults('roleRef.name', roleRef.name, pathSegmentFaults(roleRef.name));
  for (const [index, subject] of (object.subjects ?? []).entries()) {
    const field = `subjects[${index}]`;
    if (!subject.name) errors.required(`${field}.name`);
    errors.oneOf(`${field}.kind`, subject.kind, ['Group', 'ServiceAccount', 'User']);
    if (subject.kind === 'ServiceAccount') {
      if (!subject.namespace && object.kind === 'ClusterRoleBinding') errors.required(`${field}.namespace`);
    } else if (subject.apiGroup !== undefined && subject.apiGroup !== rbacGroup) {
      errors.notSupported(`${field}.apiGroup`, subject.apiGroup, [rbacGroup]);
    }
  }
}

/** kube-apiserver's defaults of a subject. */
function fillSubjects(object: RoleBinding | ClusterRoleBinding): void {
  for (const subject of object.subjects ?? [])
    if (subject.kind !== 'ServiceAccount' && !subject.apiGroup) subject.apiGroup = rbacGroup;
}

function bindingStrategy<T extends RoleBinding | ClusterRoleBinding>(kinds: readonly string[]): Strategy<T> {
  return {
    nameRule: 'path',
    prepareCreate(object, { access, user }) {
      fillSubjects(object);
      if (access) checkBinding(object, access, user);
    },
    prepareUpdate(object, current, { access, user }) {
      fillSubjects(object);
      const parts = ({ roleRef, subjects }: RoleBinding | ClusterRoleBinding) => [roleRef, subjects];
      if (access && !sameJson(parts(object), parts(current))) checkBinding(object, access, user);
    },
    validate: (object, errors) => validateBinding(object, kinds, errors),
    validateUpdate(object, current, errors) {
      if (!sameJson(object.roleRef, current.roleRef))
        errors.invalid('roleRef', object.roleRef, 'cannot change roleRef');
    },
  };
}
export const roleBinding = bindingStrategy<RoleBinding>(['ClusterRole', 'Role']);
export const clusterRoleBinding = bindingStrategy<ClusterRoleBinding>(['ClusterRole']);
