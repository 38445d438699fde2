/** Namespaces, nodes, ConfigMaps, Secrets, events, endpoints and the rest of the core group without a file of its own. */
import type {
  ConfigMap,
  Endpoints,
  Event,
  Namespace,
  Node,
  ResourceQuota,
  Secret,
} from '../../../../kernel/contract/kubernetes.ts';
import { setOwn } from '../../../../kernel/machinery/json-value.ts';
import { resources } from '../../../../kernel/machinery/resources.ts';
import { labelKeyFaults, labelValueFaults } from '../../../../kernel/machinery/label-syntax.ts';
import { forbidden } from '../api-errors.ts';
import { familyOf, parseRange } from '../services/ip.ts';
import { sameJson } from '../state/frozen-json.ts';
import type { FieldErrors } from '../validation/field-errors.ts';
import { configKeyFaults } from '../validation/names.ts';
import { validateResourceQuota } from '../validation/resource-quota.ts';
import { fillTokenSecret } from './service-account.ts';
import type { Strategy } from './strategy.ts';

/** Without these nothing works; Kubernetes refuses to delete them, too. */
const immortal = ['default', 'kube-system', 'kube-public'];

export const namespace: Strategy<Namespace> = {
  nameRule: 'label',
  initialStatus: () => ({ phase: 'Active' }),
  prepareCreate(object) {
    object.metadata.labels = { ...object.metadata.labels, 'kubernetes.io/metadata.name': object.metadata.name };
    const finalizers = new Set(object.spec?.finalizers ?? []);
    object.spec = { ...object.spec, finalizers: [...finalizers.add('kubernetes')] };
  },
  prepareUpdate(object, current) {
    object.metadata.labels = { ...object.metadata.labels, 'kubernetes.io/metadata.name': object.metadata.name };
    // Only the finalize subresource takes finalizers away.
    const finalizers = current.spec?.finalizers;
    object.spec = { ...object.spec };
    if (finalizers) object.spec.finalizers = [...finalizers];
    else delete object.spec.finalizers;
  },
  isHeld: ({ spec }) => (spec?.finalizers?.length ?? 0) > 0,
  terminate(object) {
    if (immortal.includes(object.metadata.name)) {
      throw forbidden(resources.namespaces, object.metadata.name, 'this namespace may not be deleted');
    }
    object.status = { ...object.status, phase: 'Terminating' };
  },
  fieldNames: ['status.phase'],
  field: ({ status }) => status?.phase ?? '',
};

export const node: Strategy<Node> = {
  keepsStatus: true,
  statusStandsAlone: true,
  statusMayLabel: true,
  validate({ spec }, errors) {
    const seen = new Set<string>();
    for (const [index, taint] of (spec?.taints ?? []).entries()) {
      const field = `spec.taints[${index}]`;
      errors.faults(`${field}.key`, taint.key, labelKeyFaults(taint.key));
      if (taint.value) errors.faults(`${field}.value`, taint.value, labelValueFaults(taint.value));
      if (!taint.effect) errors.required(`${field}.effect`);
      const identity = `${taint.key}:${taint.effect}`;
      if (seen.has(identity)) errors.duplicate(field, taint);
      seen.add(identity);
    }
    const ranges = spec?.podCIDRs ?? (spec?.podCIDR ? [spec.podCIDR] : []);
    for (const [index, range] of ranges.entries()) {
      try {
        parseRange(range);
      } catch {
        errors.invalid(
          `spec.podCIDRs[${index}]`,
          range,
          'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)',
        );
      }
    }
    if (ranges.length > 0 && spec.podCIDR !== undefined && ranges[0] !== spec.podCIDR) {
      errors.invalid('spec.podCIDRs', ranges, 'first value must match `podCIDR`');
    }
  },
  prepareCreate: (object) => alignPodCidrs(object),
  prepareUpdate: (object) => alignPodCidrs(object),
  validateUpdate({ spec }, { spec: old }, errors) {
    if (old?.podCIDRs?.length && !sameJson(spec?.podCIDRs, old.podCIDRs)) {
      errors.forbidden('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid');
    }
    if (old?.providerID && spec?.providerID !== old.providerID) {
      errors.forbidden('spec.providerID', 'node updates may not change providerID except from "" to valid');
    }
  },
  fieldNames: ['spec.unschedulable'],
  field: ({ spec }) => String(spec?.unschedulable ?? false),
};

/** podCIDR and podCIDRs[0] are one value under two names. */
function alignPodCidrs({ spec }: Node): void {
  if (!spec) return;
  if (spec.podCIDR && !spec.podCIDRs?.length) spec.podCIDRs = [spec.podCIDR];
  else if (!spec.podCIDR && spec.podCIDRs?.length) spec.podCIDR = spec.podCIDRs[0]!;
}

const maximumDataBytes = 1024 * 1024;

function validateKeys(field: string, data: Readonly<Record<string, string>> | undefined, errors: FieldErrors): void {
  for (const key of Object.keys(data ?? {})) errors.faults(`${field}[${key}]`, key, configKeyFaults(key));
}

function textBytes(data: Readonly<Record<string, string>> | undefined): number {
  let total = 0;
  for (const value of Object.values(data ?? {})) total += Buffer.byteLength(value);
  return total;
}

function base64Bytes(data: Readonly<Record<string, string>> | undefined): number {
  let total = 0;
  for (const value of Object.values(data ?? {})) total += Buffer.byteLength(value, 'base64');
  return total;
}

function validateImmutable<T extends ConfigMap | Secret>(
  object: T,
  current: T,
  parts: readonly (keyof T & string)[],
  errors: FieldErrors,
): void {
  if (!current.immutable) return;
  if (!object.immutable) errors.forbidden('immutable', 'field is immutable when `immutable` is set');
  for (const part of parts) {
    if (!sameJson(object[part] ?? {}, current[part] ?? {})) {
      errors.forbidden(part, 'field is immutable when `immutable` is set');
    }
  }
}

export const configMap: Strategy<ConfigMap> = {
  validate(object, errors) {
    validateKeys('data', object.data, errors);
    validateKeys('binaryData', object.binaryData, errors);
    for (const key of Object.keys(object.binaryData ?? {})) {
      if (object.data && Object.hasOwn(object.data, key)) {
        errors.invalid(`data[${key}]`, key, 'duplicate of key present in binaryData');
      }
    }
    if (textBytes(object.data) + base64Bytes(object.binaryData) > maximumDataBytes)
      errors.tooLong('', maximumDataBytes);
  },
  validateUpdate: (object, current, errors) => validateImmutable(object, current, ['data', 'binaryData'], errors),
};

/** stringData is for writing only: each entry becomes one of data. */
function takeStringData(object: Secret): void {
  if (!object.stringData) return;
  const data: Record<string, unknown> = { ...object.data };
  for (const [key, value] of Object.entries(object.stringData))
    setOwn(data, key, Buffer.from(value).toString('base64'));
  object.data = data as Record<string, string>;
  delete object.stringData;
}

/** Keys that a Secret of this type must have. */
const secretKeys: ReadonlyMap<string, readonly string[]> = new Map([
  ['kubernetes.io/dockercfg', ['.dockercfg']],
  ['kubernetes.io/dockerconfigjson', ['.dockerconfigjson']],
  ['kubernetes.io/ssh-auth', ['ssh-privatekey']],
  ['kubernetes.io/tls', ['tls.crt', 'tls.key']],
]);

export const secret: Strategy<Secret> = {
  prepareCreate(object, context) {
    takeStringData(object);
    fillTokenSecret(object, context);
  },
  prepareUpdate(object, _current, context) {
    takeStringData(object);
    fillTokenSecret(object, context);
  },
  validate(object, errors) {
    validateKeys('data', object.data, errors);
    if (base64Bytes(object.data) > maximumDataBytes) errors.tooLong('data', maximumDataBytes);
    for (const key of secretKeys.get(object.type ?? '') ?? []) {
      if (!object.data || !Object.hasOwn(object.data, key)) errors.required(`data[${key}]`);
    }
    if (object.type === 'kubernetes.io/basic-auth' && !object.data?.['username'] && !object.data?.['password']) {
      errors.required('data[username]');
    }
    if (object.type === 'kubernetes.io/service-account-token') {
      const annotation = 'kubernetes.io/service-account.name';
      if (!object.metadata.annotations?.[annotation]) errors.required(`metadata.annotations[${annotation}]`);
    }
  },
  validateUpdate(object, current, errors) {
    if (object.type !== current.type) errors.invalid('type', object.type, 'field is immutable');
    validateImmutable(object, current, ['data'], errors);
  },
  fieldNames: ['type'],
  field: ({ type }) => type ?? '',
};

const involved = ['kind', 'namespace', 'name', 'uid', 'apiVersion', 'resourceVersion', 'fieldPath'] as const;

export const event: Strategy<Event> = {
  validate(object, errors) {
    const { namespace: place } = object.involvedObject ?? {};
    const own = object.metadata.namespace;
    // Events about cluster-scoped objects live in "default" (or "kube-system", where some clients put them).
    const isRight = place ? place === own : own === 'default' || own === 'kube-system';
    if (!isRight) errors.invalid('involvedObject.namespace', place ?? '', 'does not match event.namespace');
  },
  fieldNames: [
    ...involved.map((name) => `involvedObject.${name}`),
    ...involved.map((name) => `regarding.${name}`),
    'reason',
    'reportingComponent',
    'reportingController',
    'source',
    'type',
  ],
  field(object, path) {
    const dot = path.indexOf('.');
    if (dot > 0) return object.involvedObject?.[path.slice(dot + 1) as (typeof involved)[number]] ?? '';
    switch (path) {
      case 'reason':
        return object.reason ?? '';
      case 'source':
        return object.source?.component || (object.reportingComponent ?? '');
      case 'type':
        return object.type ?? '';
      default:
        return object.reportingComponent ?? '';
    }
  },
};

export const endpoints: Strategy<Endpoints> = {
  validate({ subsets }, errors) {
    for (const [index, subset] of (subsets ?? []).entries()) {
      for (const name of ['addresses', 'notReadyAddresses'] as const) {
        for (const [at, address] of (subset[name] ?? []).entries()) {
          const field = `subsets[${index}].${name}[${at}].ip`;
          if (!familyOf(address.ip)) {
            errors.invalid(field, address.ip, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)');
          }
        }
      }
      for (const [at, port] of (subset.ports ?? []).entries()) {
        errors.range(`subsets[${index}].ports[${at}].port`, port.port, 1, 65_535);
        if (!port.name && subset.ports!.length > 1) errors.required(`subsets[${index}].ports[${at}].name`);
      }
    }
  },
};

export const resourceQuota: Strategy<ResourceQuota> = {
  initialStatus: () => ({}),
  validate: validateResourceQuota,
};
