/** What the cluster serves, plus the streaming subresources of pods, which exist in the HTTP front alone. */
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
];
const streamNames = new Set(podStreams.map((entry) => entry.name));

const completed = new WeakMap<readonly ServedResource[], readonly ServedResource[]>();

export function servedResources(server: ClusterServer): readonly ServedResource[] {
  const given = server.resources();
  let served = completed.get(given);
  if (served === undefined) {
    served = given.map((resource) => (isPods(resource) ? withStreams(resource) : resource));
    completed.set(given, served);
  }
  return served;
}

function isPods(resource: ServedResource): boolean {
  return resource.group === '' && resource.version === 'v1' && resource.resource === 'pods';
}

function withStreams(resource: ServedResource): ServedResource {
  const others = resource.subresources.filter((entry) => !streamNames.has(entry.name));
  const subresources = [...others, ...podStreams].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { ...resource, subresources };
}
