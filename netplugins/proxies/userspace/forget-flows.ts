/** Connection-tracking entries of UDP flows that were redirected to a listener that is gone. */
import { openConntrack } from '../../linux/conntrack.ts';
import { AF_INET, AF_INET6 } from '../../linux/ip-address.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';

const udp = 17;

/** `ports` by service address ("10.96.0.10:53"): the listeners that flows to it may have. Returns how many went. */
export function forgetFlows(family: IpFamily, ports: ReadonlyMap<string, ReadonlySet<number>>): number {
  const conntrack = openConntrack();
  try {
    return conntrack
      .list(family === 'ip' ? AF_INET : AF_INET6, udp)
      .filter(({ original, reply }) => {
        const listeners = ports.get(`${original.destination}:${original.destinationPort}`);
        return listeners !== undefined && !listeners.has(reply.sourcePort);
      })
      .filter((entry) => conntrack.delete(entry)).length;
  } finally {
    conntrack.close();
  }
}
