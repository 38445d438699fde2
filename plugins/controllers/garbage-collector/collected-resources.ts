/** Which resources the collector watches: everything in discovery that can be listed, watched and deleted. */
import type { Cluster, ResourceType } from '../../../kernel/contract/index.ts';
import { builtInResources } from '../../../kernel/machinery/resources.ts';

/** Events own nothing, are owned by nothing that matters, and are many. */
const ignored: ReadonlySet<string> = new Set(['/events', 'events.k8s.io/events']);

const needed = ['list', 'watch', 'delete'] as const;

/** One version of each group and resource. */
export function collectedResources(cluster: Cluster): ReadonlyMap<string, ResourceType> {
  const served = cluster.server?.resources().filter(({ verbs }) => needed.every((verb) => verbs.includes(verb)));
  const all: readonly ResourceType[] = served ?? builtInResources.filter((type) => type.stored);
  const types = new Map<string, ResourceType>();
  for (const type of all) {
    const id = `${type.group}/${type.resource}`;
    if (!ignored.has(id) && !types.has(id)) types.set(id, type);
  }
  return types;
}

/** The resource that an owner reference names, of whichever version; undefined when discovery has none. */
export function resourceOf(
  types: ReadonlyMap<string, ResourceType>,
  apiVersion: string,
  kind: string,
): ResourceType | undefined {
  const group = apiVersion.includes('/') ? apiVersion.slice(0, apiVersion.indexOf('/')) : '';
  for (const type of types.values()) if (type.group === group && type.kind === kind) return type;
  return undefined;
}
