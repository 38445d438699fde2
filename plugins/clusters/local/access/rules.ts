/** RBAC's arithmetic: does a rule allow a request, and do somebody's rules cover those that they want to give away. */
import type { AccessRequest } from '../../../../kernel/contract/index.ts';
import type { PolicyRule } from '../../../../kernel/contract/kubernetes.ts';

const any = '*';
const has = (list: readonly string[] | undefined, value: string): boolean =>
  list !== undefined && (list.includes(any) || list.includes(value));

// RBAC knows no "pods/*"; a star before the slash stands for that subresource of every resource.
function hasResource(list: readonly string[] | undefined, resource: string, subresource: string): boolean {
  if (list === undefined) return false;
  const whole = subresource === '' ? resource : `${resource}/${subresource}`;
  return list.some(
    (entry) => entry === any || entry === whole || (subresource !== '' && entry === `${any}/${subresource}`),
  );
}

function hasPath(list: readonly string[] | undefined, path: string): boolean {
  return (list ?? []).some(
    (entry) => entry === any || entry === path || (entry.endsWith(any) && path.startsWith(entry.slice(0, -1))),
  );
}

export function ruleAllows(rule: PolicyRule, request: AccessRequest): boolean {
  if (!has(rule.verbs, request.verb)) return false;
  if (request.path !== undefined) return hasPath(rule.nonResourceURLs, request.path);
  if (!has(rule.apiGroups, request.group ?? '')) return false;
  if (!hasResource(rule.resources, request.resource ?? '', request.subresource ?? '')) return false;
  return !rule.resourceNames?.length || rule.resourceNames.includes(request.name ?? '');
}

/** One verb on one resource (or path): what a rule comes to when it is taken apart. */
function* parts(rule: PolicyRule): Generator<PolicyRule> {
  for (const verb of rule.verbs ?? []) {
    for (const url of rule.nonResourceURLs ?? []) yield { verbs: [verb], nonResourceURLs: [url] };
    for (const group of rule.apiGroups ?? [])
      for (const resource of rule.resources ?? [])
        for (const name of rule.resourceNames?.length ? rule.resourceNames : [undefined])
          yield {
            verbs: [verb],
            apiGroups: [group],
            resources: [resource],
            ...(name !== undefined && { resourceNames: [name] }),
          };
  }
}

function coversPart(owner: PolicyRule, part: PolicyRule): boolean {
  if (!has(owner.verbs, part.verbs![0]!)) return false;
  if (part.nonResourceURLs) return hasPath(owner.nonResourceURLs, part.nonResourceURLs[0]!);
  if (!has(owner.apiGroups, part.apiGroups![0]!)) return false;
  const [resource = '', subresource = ''] = part.resources![0]!.split('/');
  if (!hasResource(owner.resources, resource, subresource)) return false;
  if (!owner.resourceNames?.length) return true;
  return part.resourceNames !== undefined && owner.resourceNames.includes(part.resourceNames[0]!);
}

/** The parts of `wanted` that nothing in `owned` allows. */
export function uncovered(owned: readonly PolicyRule[], wanted: readonly PolicyRule[]): readonly PolicyRule[] {
  return wanted.flatMap((rule) => [...parts(rule)].filter((part) => !owned.some((owner) => coversPart(owner, part))));
}

/** As kube-apiserver prints a rule in its refusals. */
export function ruleText(rule: PolicyRule): string {
  const list = (name: string, values: readonly string[] | undefined) =>
    values?.length ? [`${name}:[${values.map((value) => JSON.stringify(value)).join(' ')}]`] : [];
  return `{${[
    ...list('APIGroups', rule.apiGroups),
    ...list('Resources', rule.resources),
    ...list('ResourceNames', rule.resourceNames),
    ...list('NonResourceURLs', rule.nonResourceURLs),
    ...list('Verbs', rule.verbs),
  ].join(', ')}}`;
}
