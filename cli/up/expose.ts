/**
 * `--expose`: one link between the host and the lab's underlay, and routes over it to pods, Services and nodes. The only
 * thing that `pintle up` ever adds to the host's own network; the kernel removes it with the lab.
 */
import { canonicalCidr } from '../../netplugins/linux/ip-address.ts';
import { openRtnetlink } from '../../netplugins/linux/rtnetlink.ts';
import { PintleError } from '../../kernel/contract/errors.ts';
import { exposedHostAddress, exposedHostAddress6, underlayBridge, type LabPlan } from '../../lab/index.ts';

export function exposeLab(
  plan: LabPlan,
  labNetns: string,
  routes: readonly { readonly destination: string; readonly gateway: string }[],
): string {
  const host = openRtnetlink();
  const lab = openRtnetlink({ netns: labNetns });
  const name = `pintle${process.pid % 1_000_000}`;
  try {
    for (const { destination } of routes) {
      const taken = host.listRoutes().find((route) => route.destination === canonicalCidr(destination));
      if (taken) {
        throw new PintleError(
          'CONFIG_INVALID',
          `--expose: this host has a route to ${destination} already; choose other ranges in section cluster of the config`,
        );
      }
    }
    host.createVeth({
      name,
      mtu: plan.underlayMtuBytes,
      peer: { name: 'host', mtu: plan.underlayMtuBytes, netns: labNetns },
    });
    const bridge = lab.getLink(underlayBridge)!.index;
    lab.setLink('host', { master: bridge, up: true });
    host.setLink(name, { up: true });
    const link = host.getLink(name)!.index;
    host.addAddress(link, `${exposedHostAddress}/${plan.prefixLength}`);
    if (plan.ipv6 !== undefined) host.addAddress(link, `${exposedHostAddress6}/${plan.ipv6.prefixLength}`);
    for (const { destination, gateway } of routes) host.addRoute({ destination, gateway, link });
    return name;
  } catch (error) {
    host.deleteLink(name);
    throw error;
  } finally {
    host.close();
    lab.close();
  }
}

/** Takes the link away at once; the kernel would do it some time after the lab's end. */
export function hideLab(name: string): void {
  const host = openRtnetlink();
  try {
    host.deleteLink(name);
  } finally {
    host.close();
  }
}
