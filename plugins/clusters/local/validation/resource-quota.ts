/** The spec of a ResourceQuota: what may be counted, in which amounts, and for which pods. */
import type { ResourceQuota } from '../../../../kernel/contract/kubernetes.ts';
import { parseQuantity } from '../../../../kernel/machinery/quantity.ts';
import type { FieldErrors } from './field-errors.ts';

const compute = ['cpu', 'memory'].flatMap((name) => [name, `requests.${name}`, `limits.${name}`]);
const counts: readonly string[] = [
  ...['pods', 'resourcequotas', 'services', 'services.nodeports', 'services.loadbalancers', 'replicationcontrollers'],
  ...['secrets', 'configmaps', 'persistentvolumeclaims'],
];
const standard = new Set([
  ...compute,
  ...counts,
  ...['ephemeral-storage', 'requests.ephemeral-storage', 'limits.ephemeral-storage', 'requests.storage'],
]);
const isStandard = (name: string) => standard.has(name) || /^(requests\.)?hugepages-/.test(name);

/** What a scope can be about: pods that ask for nothing can only be counted. */
const ofPods = new Set(['pods', ...compute]);
const scopes: Readonly<Record<string, ReadonlySet<string>>> = {
  ...{ Terminating: ofPods, NotTerminating: ofPods, NotBestEffort: ofPods, PriorityClass: ofPods },
  ...{ CrossNamespacePodAffinity: ofPods, BestEffort: new Set(['pods']) },
  VolumeAttributesClass: new Set(['persistentvolumeclaims', 'requests.storage']),
};
const opposites = [
  ['BestEffort', 'NotBestEffort'],
  ['Terminating', 'NotTerminating'],
] as const;

export function validateResourceQuota({ spec }: ResourceQuota, errors: FieldErrors): void {
  const names = Object.keys(spec?.hard ?? {});
  for (const [name, quantity] of Object.entries(spec?.hard ?? {})) {
    const field = `spec.hard[${name}]`;
    if (!name.includes('/') && !isStandard(name)) errors.invalid(field, name, 'must be a standard resource for quota');
    const value = parseQuantity(quantity);
    if (value < 0) errors.invalid(field, quantity, 'must be greater than or equal to 0');
    if (counts.includes(name) && !Number.isInteger(value)) errors.invalid(field, quantity, 'must be an integer');
  }
  const given = spec?.scopes ?? [];
  for (const scope of given) {
    const about = scopes[scope];
    if (about === undefined) errors.invalid('spec.scopes', given, 'unsupported scope');
    else if (names.some((name) => isStandard(name) && !about.has(name)))
      errors.invalid('spec.scopes', given, 'unsupported scope applied to resource');
  }
  if (opposites.some((pair) => pair.every((scope) => given.includes(scope))))
    errors.invalid('spec.scopes', given, 'conflicting scopes');
}
