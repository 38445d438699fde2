/** The smaller groups: networking, discovery, policy, RBAC, storage, scheduling, autoscaling, coordination. */
import type {
  ClusterRole,
  ClusterRoleBinding,
  EndpointSlice,
  HorizontalPodAutoscaler,
  Ingress,
  IngressBackend,
  Lease,
  NetworkPolicy,
  PersistentVolume,
  PersistentVolumeClaim,
  PodDisruptionBudget,
  PolicyRule,
  PriorityClass,
  Role,
  RoleBinding,
  StorageClass,
} from '../../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { familyOf } from '../services/ip.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { pathSegmentFaults, subdomainFaults } from '../validation/names.ts';
import { validateSelector } from '../validation/selector.ts';
import type { Strategy } from './strategy.ts';

function validateBackend(backend: IngressBackend, field: string, errors: FieldErrors): void {
  if (!backend.service === !backend.resource) {
    if (backend.service) errors.invalid(field, '', 'cannot set both resource and service backends');
    else errors.required(field, 'a service or a resource must be specified');
    return;
  }
  if (!backend.service) return;
  if (!backend.service.name) errors.required(`${field}.service.name`);
  const { name, number } = backend.service.port ?? {};
  if (!name && !number) errors.required(`${field}.service.port`, 'port name or number is required');
  else if (name && number) errors.invalid(`${field}.service.port`, '', 'cannot set both port name & port number');
  errors.range(`${field}.service.port.number`, number || undefined, 1, 65_535);
}

export const ingress: Strategy<Ingress> = {
  countsGeneration: true,
  initialStatus: () => ({ loadBalancer: {} }),
  validate({ spec }, errors) {
    if (!spec.rules?.length && !spec.defaultBackend) {
      errors.invalid('spec', [], 'either `defaultBackend` or `rules` must be specified');
    }
    if (spec.defaultBackend) validateBackend(spec.defaultBackend, 'spec.defaultBackend', errors);
    for (const [index, rule] of (spec.rules ?? []).entries()) {
      const field = `spec.rules[${index}]`;
      if (rule.host) {
        if (familyOf(rule.host)) errors.invalid(`${field}.host`, rule.host, 'must be a DNS name, not an IP address');
        else errors.faults(`${field}.host`, rule.host, subdomainFaults(rule.host.replace(/^\*\./, '')));
      }
      for (const [at, path] of (rule.http?.paths ?? []).entries()) {
        const place = `${field}.http.paths[${at}]`;
        if (!path.pathType) errors.required(`${place}.pathType`, 'pathType must be specified');
        else errors.oneOf(`${place}.pathType`, path.pathType, ['Exact', 'ImplementationSpecific', 'Prefix']);
        const isPath = path.pathType === 'Exact' || path.pathType === 'Prefix' || path.path;
        if (isPath && !path.path?.startsWith('/'))
          errors.invalid(`${place}.path`, path.path ?? '', 'must be an absolute path');
        if (path.backend) validateBackend(path.backend, `${place}.backend`, errors);
      }
    }
  },
};

export const networkPolicy: Strategy<NetworkPolicy> = {
  countsGeneration: true,
  validate({ spec }, errors) {
    validateSelector(spec?.podSelector, 'spec.podSelector', errors);
    for (const [index, type] of (spec?.policyTypes ?? []).entries()) {
      errors.oneOf(`spec.policyTypes[${index}]`, type, ['Egress', 'Ingress']);
    }
    for (const direction of ['ingress', 'egress'] as const) {
      for (const [index, rule] of (spec?.[direction] ?? []).entries()) {
        const peers = 'from' in rule ? rule.from : 'to' in rule ? rule.to : undefined;
        const word = direction === 'ingress' ? 'from' : 'to';
        for (const [at, peer] of (peers ?? []).entries()) {
          const field = `spec.${direction}[${index}].${word}[${at}]`;
          const { ipBlock, podSelector, namespaceSelector } = peer;
          if (!ipBlock && !podSelector && !namespaceSelector) errors.required(field, 'must specify a peer');
          if (ipBlock && (podSelector || namespaceSelector)) {
            errors.forbidden(field, 'may not specify both ipBlock and another peer');
          }
          validateSelector(podSelector, `${field}.podSelector`, errors);
          validateSelector(namespaceSelector, `${field}.namespaceSelector`, errors);
        }
        for (const [at, port] of (rule.ports ?? []).entries()) {
          const field = `spec.${direction}[${index}].ports[${at}]`;
          if (typeof port.port === 'number') errors.range(`${field}.port`, port.port, 1, 65_535);
          if (port.endPort !== undefined && typeof port.port === 'number' && port.endPort < port.port) {
            errors.invalid(`${field}.endPort`, port.endPort, 'must be greater than or equal to `port`');
          }
        }
      }
    }
  },
};

export const endpointSlice: Strategy<EndpointSlice> = {
  countsGeneration: true,
  validate(object, errors) {
    const { addressType } = object;
    if (!addressType) errors.required('addressType');
    else errors.oneOf('addressType', addressType, ['FQDN', 'IPv4', 'IPv6']);
    if ((object.endpoints?.length ?? 0) > 1_000) {
      errors.add(
        'FieldValueTooMany',
        'endpoints',
        `Too many: ${object.endpoints!.length}: must have at most 1000 items`,
      );
    }
    for (const [index, endpoint] of (object.endpoints ?? []).entries()) {
      const field = `endpoints[${index}].addresses`;
      if (!endpoint.addresses?.length) errors.required(field, 'must contain at least 1 address');
      for (const [at, address] of (endpoint.addresses ?? []).entries()) {
        if (addressType === 'FQDN') errors.faults(`${field}[${at}]`, address, subdomainFaults(address));
        else if (familyOf(address) !== addressType) {
          errors.invalid(`${field}[${at}]`, address, `must be a valid ${addressType} address`);
        }
      }
    }
    const names = new Set<string>();
    for (const [index, port] of (object.ports ?? []).entries()) {
      const name = port.name ?? '';
      if (names.has(name)) errors.duplicate(`ports[${index}].name`, name);
      names.add(name);
      errors.range(`ports[${index}].port`, port.port, 1, 65_535);
    }
  },
  validateUpdate(object, current, errors) {
    if (object.addressType !== current.addressType)
      errors.invalid('addressType', object.addressType, 'field is immutable');
  },
};

export const podDisruptionBudget: Strategy<PodDisruptionBudget> = {
  countsGeneration: true,
  initialStatus: () => ({ disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }),
  validate({ spec }, errors) {
    if (spec?.minAvailable !== undefined && spec.maxUnavailable !== undefined) {
      errors.invalid('spec', spec, 'minAvailable and maxUnavailable cannot be both set');
    }
    for (const name of ['minAvailable', 'maxUnavailable'] as const) {
      const value = spec?.[name];
      if (typeof value === 'number') errors.nonNegative(`spec.${name}`, value);
      else if (value !== undefined && (!/^\d+%$/.test(value) || Number.parseInt(value, 10) > 100)) {
        errors.invalid(`spec.${name}`, value, "must be an integer or a percentage from 0% to 100% (e.g '5%')");
      }
    }
    validateSelector(spec?.selector, 'spec.selector', errors);
    errors.oneOf('spec.unhealthyPodEvictionPolicy', spec?.unhealthyPodEvictionPolicy, [
      'AlwaysAllow',
      'IfHealthyBudget',
    ]);
  },
};

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

export const role: Strategy<Role> = {
  nameRule: 'path',
  validate: (object, errors) => validateRules(object.rules, true, errors),
};
export const clusterRole: Strategy<ClusterRole> = {
  nameRule: 'path',
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

function bindingStrategy<T extends RoleBinding | ClusterRoleBinding>(kinds: readonly string[]): Strategy<T> {
  return {
    nameRule: 'path',
    validate: (object, errors) => validateBinding(object, kinds, errors),
    validateUpdate(object, current, errors) {
      if (!sameJson(object.roleRef, current.roleRef))
        errors.invalid('roleRef', object.roleRef, 'cannot change roleRef');
    },
  };
}
export const roleBinding = bindingStrategy<RoleBinding>(['ClusterRole', 'Role']);
export const clusterRoleBinding = bindingStrategy<ClusterRoleBinding>(['ClusterRole']);

const accessModes = ['ReadOnlyMany', 'ReadWriteMany', 'ReadWriteOnce', 'ReadWriteOncePod'];

export const persistentVolumeClaim: Strategy<PersistentVolumeClaim> = {
  initialStatus: () => ({ phase: 'Pending' }),
  validate({ spec }, errors) {
    if (!spec.accessModes?.length) errors.required('spec.accessModes', 'at least 1 access mode is required');
    for (const mode of spec.accessModes ?? []) errors.oneOf('spec.accessModes', mode, accessModes);
    const storage = spec.resources?.requests?.['storage'];
    if (storage === undefined) errors.required('spec.resources[storage]');
    else if (parseQuantity(storage) <= 0)
      errors.invalid('spec.resources[storage]', storage, 'must be greater than zero');
    validateSelector(spec.selector, 'spec.selector', errors);
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    const fixed = ({
      resources: _r,
      volumeAttributesClassName: _v,
      volumeName: _n,
      storageClassName: _s,
      ...rest
    }: typeof spec) => rest;
    const isBoundAnew = old.volumeName && spec.volumeName !== old.volumeName;
    const isMoved = old.storageClassName !== undefined && spec.storageClassName !== old.storageClassName;
    if (!sameJson(fixed(spec), fixed(old)) || isBoundAnew || isMoved) {
      errors.forbidden(
        'spec',
        'spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims',
      );
    }
    const [size, before] = [spec.resources?.requests?.['storage'], old.resources?.requests?.['storage']];
    if (size !== undefined && before !== undefined && parseQuantity(size) < parseQuantity(before)) {
      errors.forbidden('spec.resources.requests.storage', 'field can not be less than status.capacity');
    }
  },
};

const volumeBasics = new Set([
  'capacity',
  'accessModes',
  'claimRef',
  'persistentVolumeReclaimPolicy',
  'storageClassName',
  'mountOptions',
  'volumeMode',
  'nodeAffinity',
  'volumeAttributesClassName',
]);

function volumeSources(spec: PersistentVolume['spec']): [string, unknown][] {
  return Object.entries(spec).filter(([name, value]) => !volumeBasics.has(name) && value !== undefined);
}

export const persistentVolume: Strategy<PersistentVolume> = {
  initialStatus: () => ({ phase: 'Pending' }),
  validate({ spec }, errors) {
    if (!spec.accessModes?.length) errors.required('spec.accessModes');
    for (const mode of spec.accessModes ?? []) errors.oneOf('spec.accessModes', mode, accessModes);
    if (spec.capacity?.['storage'] === undefined) errors.required('spec.capacity');
    const [source, ...more] = volumeSources(spec);
    if (!source) errors.required('spec', 'must specify a volume type');
    for (const [name] of more) errors.forbidden(`spec.${name}`, 'may not specify more than 1 volume type');
    errors.oneOf('spec.persistentVolumeReclaimPolicy', spec.persistentVolumeReclaimPolicy, [
      'Delete',
      'Recycle',
      'Retain',
    ]);
  },
  validateUpdate({ spec }, { spec: old }, errors) {
    if (!sameJson(Object.fromEntries(volumeSources(spec)), Object.fromEntries(volumeSources(old)))) {
      errors.forbidden('spec.persistentvolumesource', 'spec.persistentvolumesource is immutable after creation');
    }
    if (spec.volumeMode !== old.volumeMode)
      errors.invalid('spec.volumeMode', spec.volumeMode ?? null, 'field is immutable');
  },
};

export const storageClass: Strategy<StorageClass> = {
  validate(object, errors) {
    if (!object.provisioner) errors.required('provisioner');
    errors.oneOf('reclaimPolicy', object.reclaimPolicy, ['Delete', 'Retain']);
  },
  validateUpdate(object, current, errors) {
    for (const name of ['parameters', 'provisioner', 'reclaimPolicy', 'volumeBindingMode'] as const) {
      if (!sameJson(object[name], current[name])) errors.forbidden(name, 'updates to ' + name + ' are forbidden.');
    }
  },
};

const highestUserPriority = 1_000_000_000;

export const priorityClass: Strategy<PriorityClass> = {
  countsGeneration: true,
  prepareCreate(object, context) {
    if (!object.globalDefault) return;
    const other = context.all(resources.priorityClasses).find((candidate) => candidate.globalDefault);
    if (other)
      context.warn(`PriorityClass ${other.metadata.name} is the global default already; the lower value counts`);
  },
  validate(object, errors) {
    const isSystem = object.metadata.name.startsWith('system-');
    if (isSystem && !['system-cluster-critical', 'system-node-critical'].includes(object.metadata.name)) {
      errors.forbidden('metadata.name', `priority class names with 'system-' prefix are reserved for system use only`);
    }
    if (!isSystem && (object.value ?? 0) > highestUserPriority) {
      errors.forbidden('value', `maximum allowed value of a user defined priority is ${highestUserPriority}`);
    }
    errors.oneOf('preemptionPolicy', object.preemptionPolicy, ['Never', 'PreemptLowerPriority']);
  },
  validateUpdate(object, current, errors) {
    if ((object.value ?? 0) !== (current.value ?? 0)) errors.forbidden('value', 'may not be changed in an update.');
    if (object.preemptionPolicy !== current.preemptionPolicy) {
      errors.invalid('preemptionPolicy', object.preemptionPolicy ?? null, 'field is immutable');
    }
  },
};

export const horizontalPodAutoscaler: Strategy<HorizontalPodAutoscaler> = {
  initialStatus: () => ({ currentReplicas: 0, desiredReplicas: 0 }),
  validate({ spec }, errors) {
    const { minReplicas, maxReplicas, scaleTargetRef } = spec;
    if (minReplicas !== undefined && minReplicas < 1) {
      errors.invalid('spec.minReplicas', minReplicas, 'must be greater than or equal to 1');
    }
    if (!(maxReplicas >= 1)) errors.invalid('spec.maxReplicas', maxReplicas ?? 0, 'must be greater than 0');
    else if (minReplicas !== undefined && maxReplicas < minReplicas) {
      errors.invalid('spec.maxReplicas', maxReplicas, 'must be greater than or equal to `minReplicas`');
    }
    if (!scaleTargetRef?.kind) errors.required('spec.scaleTargetRef.kind');
    if (!scaleTargetRef?.name) errors.required('spec.scaleTargetRef.name');
  },
};

export const lease: Strategy<Lease> = {
  validate({ spec }, errors) {
    if (spec?.leaseDurationSeconds !== undefined && spec.leaseDurationSeconds <= 0) {
      errors.invalid('spec.leaseDurationSeconds', spec.leaseDurationSeconds, 'must be greater than 0');
    }
    errors.nonNegative('spec.leaseTransitions', spec?.leaseTransitions);
  },
};
