/** Pods that come and go at random, the same for the same seed: shared by the process that is killed and the test that looks. */
import type { AttachmentRequest, HostPort } from '../../../kernel/contract/index.ts';

/** Every other pod has one. */
export function hostPort(index: number): readonly HostPort[] {
  if (index % 2 === 1) return [];
  return [{ hostIp: undefined, hostPort: 20_000 + index, containerPort: 80, protocol: 'TCP' }];
}

/** mulberry32: the same numbers for the same seed. */
export function randomFrom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export const churnNetwork = {
  podCidrs: ['10.244.1.0/24', 'fd44:0:0:1::/64'],
  clusterCidrs: ['10.244.0.0/16', 'fd44::/48'],
  mtuBytes: 1400,
};

export function churnRequest(index: number, netns: string, random: () => number): AttachmentRequest {
  const limit = { ingressBitsPerSecond: 50_000_000, egressBitsPerSecond: 50_000_000 };
  return {
    ...{ sandboxId: `pod-${index}`, podNamespace: 'x', podName: `pod-${index}`, netns, hostPorts: hostPort(index) },
    bandwidth: random() < 0.3 ? limit : undefined,
  };
}
