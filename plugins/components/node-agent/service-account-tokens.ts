/**
 * Tokens for the projected volumes of this node's pods: asked for when a pod is first prepared, kept in memory, and asked
 * for anew when four fifths of their life are over (as the kubelet does), so that what a pod reads has always life left.
 */
import type { Pod, ServiceAccountTokenProjection, TokenRequest } from '../../../kernel/contract/kubernetes.ts';
import type { Clock, Cluster, ResourceType } from '../../../kernel/contract/index.ts';
import { resources } from '../../../kernel/machinery/resources.ts';

const tokenRequests = {
  ...resources.serviceAccounts,
  kind: 'TokenRequest',
} as ResourceType<never> as ResourceType<TokenRequest>;
/** However long a token lives, it is not kept for longer than a day. */
const maxAgeMs = 24 * 3600_000;

interface Held {
  readonly token: string;
  readonly renewAtMs: number;
  readonly endsAtMs: number;
}

export type TokenSource = (pod: Pod, projection: ServiceAccountTokenProjection) => Promise<string>;

export function createTokenSource(cluster: Cluster, clock: Clock): TokenSource & { forget(podUid: string): void } {
  const held = new Map<string, Map<string, Held>>();

  async function request(pod: Pod, { audience, expirationSeconds = 3600 }: ServiceAccountTokenProjection) {
    const { name, namespace, uid } = pod.metadata;
    const begunMs = clock.now();
    const answer = await cluster.create(
      tokenRequests,
      {
        apiVersion: 'authentication.k8s.io/v1',
        kind: 'TokenRequest',
        metadata: {},
        spec: {
          audiences: audience === undefined || audience === '' ? [] : [audience],
          expirationSeconds,
          boundObjectRef: { apiVersion: 'v1', kind: 'Pod', name, uid },
        },
      },
      { subresource: 'token', parent: { namespace, name: pod.spec.serviceAccountName || 'default' } },
    );
    const endsAtMs = Date.parse(answer.status?.expirationTimestamp ?? '');
    const renewAtMs = begunMs + Math.min(maxAgeMs, (endsAtMs - begunMs) * 0.8);
    return { token: answer.status?.token ?? '', renewAtMs, endsAtMs };
  }

  const source = async (pod: Pod, projection: ServiceAccountTokenProjection): Promise<string> => {
    const { uid } = pod.metadata;
    const ofPod = held.get(uid) ?? new Map<string, Held>();
    held.set(uid, ofPod);
    const key = `${projection.audience ?? ''} ${projection.expirationSeconds ?? ''}`;
    const known = ofPod.get(key);
    const now = clock.now();
    if (known !== undefined && now < known.renewAtMs) return known.token;
    try {
      const fresh = await request(pod, projection);
      ofPod.set(key, fresh);
      return fresh.token;
    } catch (error) {
      // A server that is away for a while must not take away what still holds.
      if (known !== undefined && now < known.endsAtMs) return known.token;
      throw error;
    }
  };
  return Object.assign(source, { forget: (podUid: string) => void held.delete(podUid) });
}
