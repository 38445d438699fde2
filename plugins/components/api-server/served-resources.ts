/** What the cluster serves, plus the subresources of pods, services and nodes that exist in the HTTP front alone. */
import type { ClusterServer, ServedResource, ServedSubresource } from '../../../kernel/contract/index.ts';

const stream = (name: string, kind: string, verbs: readonly string[]): ServedSubresource => ({
  name,
  group: '',
  version: 'v1',
  kind,
  verbs,
});
const podStreams: readonly ServedSubresource[] = [
  stream('attach', 'PodAttachOptions', ['create', 'get']),
  stream('exec', 'PodExecOptions', ['create', 'get']),
  stream('log', 'Pod', ['get']),
  stream('portforward', 'PodPortForwardOptions', ['create', 'get']),
  stream('proxy', 'PodProxyOptions', ['create', 'delete', 'get', 'patch', 'update']),
];
const extras: ReadonlyMap<string, readonly ServedSubresource[]> = new Map([
  ['/v1/pods', podStreams],
  ['/v1/services', [stream('proxy', 'ServiceProxyOptions', ['create', 'delete', 'get', 'patch', 'update'])]],
  ['/v1/nodes', [stream('proxy', 'NodeProxyOptions', ['get'])]],
]);

const completed = new WeakMap<readonly ServedResource[], readonly ServedResource[]>();

export function servedResources(server: ClusterServer): readonly ServedResource[] {
  const given = server.resources();
  let served = completed.get(given);
  if (served === undefined) {
    served = given.map(withExtras);
    completed.set(given, served);
  }
  return served;
}

function withExtras(resource: ServedResource): ServedResource {
  const added = extras.get(`${resource.group}/${resource.version}/${resource.resource}`);
  if (added === undefined) return resource;
  const others = resource.subresources.filter((entry) => !added.some(({ name }) => name === entry.name));
  const subresources = [...others, ...added].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { ...resource, subresources };
}
