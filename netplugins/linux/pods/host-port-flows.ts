/**
 * UDP "connections" outlive the pod at their end: a client that goes on sending from one port would reach the old pod's
 * address for ever, or this node's own port instead of a new pod. Removes such entries from connection tracking.
 */
import type { HostPort } from '../../../kernel/contract/index.ts';
import { openConntrack } from '../conntrack.ts';
import { AF_INET, AF_INET6 } from '../ip-address.ts';
import type { Rtnetlink } from '../rtnetlink.ts';

const udp = 17;

/** `ips`: the pod that these ports lead to from now on, or no longer. */
export function forgetUdpFlows(
  host: Rtnetlink,
  ips: readonly string[],
  ports: readonly HostPort[],
  options: { readonly netns?: string | undefined },
): void {
  const numbers = new Set(ports.filter(({ protocol }) => protocol === 'UDP').map(({ hostPort }) => hostPort));
  if (numbers.size === 0) return;
  const own = new Set(host.listAddresses().map(({ address }) => address));
  const conntrack = openConntrack(options);
  try {
    for (const family of [AF_INET, AF_INET6] as const)
      for (const entry of conntrack.list(family, udp)) {
        const { original, reply } = entry;
        if (!numbers.has(original.destinationPort) || !own.has(original.destination)) continue;
        if (ips.includes(reply.source) || reply.source === original.destination) conntrack.delete(entry);
      }
  } finally {
    conntrack.close();
  }
}
