/** Reads of ConfigMaps and Secrets that many pods of a node ask for at once: one request, whose answer holds for a moment. */
import {
  isPintleError,
  type Clock,
  type Cluster,
  type KubernetesObject,
  type ResourceType,
} from '../../../kernel/contract/index.ts';

/** How old an answer may be. Absence is never remembered: a pod that waits for a Secret sees it at its next look. */
const holdsMs = 2_000;

export type Read = <T extends KubernetesObject>(
  type: ResourceType<T>,
  namespace: string,
  name: string,
) => Promise<T | undefined>;

/** Resolves to undefined for what does not exist. */
export function recentReads(cluster: Cluster, clock: Clock): Read {
  const known = new Map<string, { readonly answer: Promise<KubernetesObject | undefined>; readonly atMs: number }>();
  return async <T extends KubernetesObject>(type: ResourceType<T>, namespace: string, name: string) => {
    const now = clock.now();
    for (const [key, { atMs }] of known) {
      if (now - atMs < holdsMs) break;
      known.delete(key);
    }
    const key = `${type.resource}/${namespace}/${name}`;
    let entry = known.get(key);
    if (entry === undefined) {
      const answer = cluster.get(type, { namespace, name }).catch((error: unknown) => {
        if (isPintleError(error, 'NOT_FOUND')) return undefined;
        throw error;
      });
      entry = { answer, atMs: now };
      known.set(key, entry);
      const forget = () => {
        if (known.get(key)?.answer === answer) known.delete(key);
      };
      answer.then((object) => object ?? forget(), forget);
    }
    return (await entry.answer) as T | undefined;
  };
}
