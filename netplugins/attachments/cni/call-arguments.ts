/** What the executables are told about a pod beside its namespace: CNI_ARGS, and the arguments of capabilities (CONVENTIONS.md). */
import type { AttachmentRequest, NodeNetwork } from '../../../kernel/contract/index.ts';

export interface ClusterDns {
  readonly server: string;
  /** "cluster.local" */
  readonly domain: string;
}

/**
 * Bursts last a tenth of a second, hold one packet as the kernel hands it over (64 KiB, in bits), and are no larger than the
 * plugin takes.
 */
const burstSeconds = 0.1;
const leastBurst = 65_536 * 8;
const largestBurst = 0xffff_ffff;

export function cniArgs({ podNamespace, podName }: AttachmentRequest, containerId: string): string {
  const pairs = {
    IgnoreUnknown: '1',
    K8S_POD_NAMESPACE: podNamespace,
    K8S_POD_NAME: podName,
    K8S_POD_INFRA_CONTAINER_ID: containerId,
  };
  return Object.entries(pairs)
    .map((pair) => pair.join('='))
    .join(';');
}

/** Those that a list's plugin does not declare are not given to it. */
export function capabilityArgs(
  { hostPorts, bandwidth, podNamespace }: AttachmentRequest,
  { podCidrs }: Pick<NodeNetwork, 'podCidrs'>,
  { server, domain }: ClusterDns,
): Readonly<Record<string, unknown>> {
  const portMappings = hostPorts.map(({ hostIp, hostPort, containerPort, protocol }) => ({
    hostPort,
    containerPort,
    protocol: protocol.toLowerCase(),
    ...(hostIp === undefined ? {} : { hostIP: hostIp }),
  }));
  return {
    ipRanges: podCidrs.map((subnet) => [{ subnet }]),
    dns: {
      servers: [server],
      searches: [`${podNamespace}.svc.${domain}`, `svc.${domain}`, domain],
      options: ['ndots:5'],
    },
    ...(portMappings.length > 0 ? { portMappings } : {}),
    ...(bandwidth === undefined
      ? {}
      : {
          bandwidth: {
            ...limit('ingress', bandwidth.ingressBitsPerSecond),
            ...limit('egress', bandwidth.egressBitsPerSecond),
          },
        }),
  };
}

function limit(direction: 'ingress' | 'egress', bitsPerSecond: number | undefined): Readonly<Record<string, number>> {
  if (bitsPerSecond === undefined) return {};
  const burst = Math.min(Math.max(Math.ceil(bitsPerSecond * burstSeconds), leastBurst), largestBurst);
  return { [`${direction}Rate`]: bitsPerSecond, [`${direction}Burst`]: burst };
}
