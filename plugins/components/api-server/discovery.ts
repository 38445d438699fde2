/** What the API serves: aggregated discovery (v2, v2beta1), the older lists, and their ETags. */
import { createHash } from 'node:crypto';
import type { ServedResource, ServedSubresource } from '../../../kernel/contract/index.ts';
import { parseAccept } from './negotiation.ts';
import { apiVersionOf } from './request-target.ts';
import { noSuchPath } from './status.ts';

export interface DiscoveryDocument {
  readonly body: Buffer;
  readonly contentType: string;
  /** Quoted, as in the header. */
  readonly etag: string;
}

interface VersionEntry {
  readonly version: string;
  readonly resources: readonly ServedResource[];
}
interface GroupEntry {
  readonly group: string;
  readonly versions: readonly VersionEntry[];
}

const documents = new WeakMap<readonly ServedResource[], Map<string, DiscoveryDocument>>();

/** `segments`: ["api"], ["api", "v1"], ["apis"], ["apis", group] or ["apis", group, version]. */
export function discoveryDocument(
  served: readonly ServedResource[],
  segments: readonly string[],
  accept: string | undefined,
): DiscoveryDocument {
  const aggregated = segments.length === 1 ? aggregatedVersion(accept) : undefined;
  const key = `${aggregated ?? ''}/${segments.join('/')}`;
  let known = documents.get(served);
  if (known === undefined) documents.set(served, (known = new Map()));
  let document = known.get(key);
  if (document === undefined) {
    document = finished(build(served, segments, aggregated), aggregated);
    known.set(key, document);
  }
  return document;
}

/** kubectl up to 1.29 asks for v2beta1 alone and finds no resource in a v2 answer: give what is asked, in its order. */
function aggregatedVersion(accept: string | undefined): 'v2' | 'v2beta1' | undefined {
  for (const clause of parseAccept(accept)) {
    const { parameters } = clause;
    if (clause.type !== 'application/json') {
      if (clause.type === '*/*' || clause.type === 'application/*') return undefined;
      continue;
    }
    if (parameters.get('as') === undefined) return undefined;
    if (parameters.get('g') !== 'apidiscovery.k8s.io' || parameters.get('as') !== 'APIGroupDiscoveryList') continue;
    const version = parameters.get('v');
    if (version === 'v2' || version === 'v2beta1') return version;
  }
  return undefined;
}

function finished(document: unknown, aggregated: 'v2' | 'v2beta1' | undefined): DiscoveryDocument {
  const body = Buffer.from(`${JSON.stringify(document)}\n`);
  return {
    body,
    contentType:
      aggregated === undefined
        ? 'application/json'
        : `application/json;g=apidiscovery.k8s.io;v=${aggregated};as=APIGroupDiscoveryList`,
    etag: `"${createHash('sha256').update(body).digest('hex').toUpperCase()}"`,
  };
}

function build(
  served: readonly ServedResource[],
  segments: readonly string[],
  aggregated: 'v2' | 'v2beta1' | undefined,
): unknown {
  const groups = groupsOf(served);
  const [root, group, version] = segments;
  if (root === 'api') {
    const core = groups.filter((entry) => entry.group === '');
    if (group !== undefined) return resourceList(core, '', group);
    return aggregated === undefined
      ? {
          kind: 'APIVersions',
          versions: core.flatMap((entry) => entry.versions.map((one) => one.version)),
          serverAddressByClientCIDRs: [],
        }
      : aggregatedList(core, aggregated);
  }
  const named = groups.filter((entry) => entry.group !== '');
  if (group === undefined)
    return aggregated === undefined
      ? { kind: 'APIGroupList', apiVersion: 'v1', groups: named.map(groupDocument) }
      : aggregatedList(named, aggregated);
  if (version !== undefined) return resourceList(named, group, version);
  const found = named.find((entry) => entry.group === group);
  if (found === undefined) throw noSuchPath();
  return { kind: 'APIGroup', apiVersion: 'v1', ...groupDocument(found) };
}

function groupsOf(served: readonly ServedResource[]): readonly GroupEntry[] {
  const groups = new Map<string, Map<string, ServedResource[]>>();
  for (const resource of served) {
    let versions = groups.get(resource.group);
    if (versions === undefined) groups.set(resource.group, (versions = new Map()));
    const list = versions.get(resource.version);
    if (list === undefined) versions.set(resource.version, [resource]);
    else list.push(resource);
  }
  return [...groups].map(([group, versions]) => ({
    group,
    versions: [...versions]
      .map(([version, resources]) => ({ version, resources }))
      .sort((a, b) => compareVersions(a.version, b.version)),
  }));
}

/** Preferred first: v2, v1, v1beta2, v1beta1, v1alpha1. */
function compareVersions(a: string, b: string): number {
  const rank = (version: string): readonly number[] => {
    const match = /^v(\d+)(?:(alpha|beta)(\d+))?$/.exec(version);
    if (match === null) return [0, 0, 0];
    return [match[2] === undefined ? 3 : match[2] === 'beta' ? 2 : 1, Number(match[1]), Number(match[3] ?? 0)];
  };
  const [x, y] = [rank(a), rank(b)];
  for (let index = 0; index < 3; index++) {
    const difference = (y[index] ?? 0) - (x[index] ?? 0);
    if (difference !== 0) return difference;
  }
  return a < b ? -1 : a > b ? 1 : 0;
}

function groupDocument(entry: GroupEntry): Record<string, unknown> {
  const versions = entry.versions.map(({ version }) => ({ groupVersion: `${entry.group}/${version}`, version }));
  return { name: entry.group, versions, preferredVersion: versions[0] };
}

function resourceList(groups: readonly GroupEntry[], group: string, version: string): unknown {
  const found = groups.find((entry) => entry.group === group)?.versions.find((entry) => entry.version === version);
  if (found === undefined) throw noSuchPath();
  const resources = found.resources.flatMap((resource) => [
    {
      name: resource.resource,
      singularName: resource.singular,
      namespaced: resource.namespaced,
      kind: resource.kind,
      verbs: resource.verbs,
      ...(resource.shortNames.length === 0 ? {} : { shortNames: resource.shortNames }),
      ...(resource.categories.length === 0 ? {} : { categories: resource.categories }),
    },
    ...resource.subresources.map((subresource) => ({
      name: `${resource.resource}/${subresource.name}`,
      singularName: '',
      namespaced: resource.namespaced,
      ...(apiVersionOf(subresource) === apiVersionOf(resource)
        ? {}
        : { group: subresource.group, version: subresource.version }),
      kind: subresource.kind,
      verbs: subresource.verbs,
    })),
  ]);
  return {
    kind: 'APIResourceList',
    apiVersion: 'v1',
    groupVersion: group === '' ? version : `${group}/${version}`,
    resources,
  };
}

function aggregatedList(groups: readonly GroupEntry[], version: 'v2' | 'v2beta1'): unknown {
  return {
    kind: 'APIGroupDiscoveryList',
    apiVersion: `apidiscovery.k8s.io/${version}`,
    metadata: {},
    items: groups.map((entry) => ({
      metadata: { name: entry.group, creationTimestamp: null },
      versions: entry.versions.map((one) => ({
        version: one.version,
        resources: one.resources.map(aggregatedResource),
        freshness: 'Current',
      })),
    })),
  };
}

function aggregatedResource(resource: ServedResource): unknown {
  return {
    resource: resource.resource,
    responseKind: kindOf(resource),
    scope: resource.namespaced ? 'Namespaced' : 'Cluster',
    singularResource: resource.singular,
    verbs: resource.verbs,
    ...(resource.shortNames.length === 0 ? {} : { shortNames: resource.shortNames }),
    ...(resource.categories.length === 0 ? {} : { categories: resource.categories }),
    ...(resource.subresources.length === 0
      ? {}
      : {
          subresources: resource.subresources.map((subresource) => ({
            subresource: subresource.name,
            responseKind: kindOf(subresource),
            verbs: subresource.verbs,
          })),
        }),
  };
}

function kindOf(type: ServedSubresource | ServedResource): { group: string; version: string; kind: string } {
  return { group: type.group, version: type.version, kind: type.kind };
}
