/**
 * The proxy kit's network without a network plugin: routes and one veth pair a node, IPv4. For kernels that no attachment
 * works on, as each masquerades by nftables; what proxies do is the same.
 */
import { openRtnetlink } from '../../../netplugins/linux/rtnetlink.ts';
import { writeSysctl } from '../../../netplugins/linux/sysctl.ts';
import { addresses, listenForSctp, type BedMember, type ProxyBedNetwork } from './proxy-bed.ts';
import { createTopology, nodeAddress, nodeAddress6, podCidr, type Place } from './topology.ts';

function wire(node: Place, pod: Place, index: number): void {
  const gateway = podCidr(index).replace('.0/24', '.1');
  const own = openRtnetlink({ netns: node.netns });
  const inside = openRtnetlink({ netns: pod.netns });
  try {
    own.createVeth({ name: 'pod', peer: { name: 'eth0', netns: pod.netns } });
    for (const [links, link, address] of [
      [own, 'pod', `${gateway}/24`],
      [inside, 'eth0', `${gateway.replace(/1$/, '2')}/24`],
    ] as const) {
      links.setLink(link, { up: true });
      links.addAddress(links.getLink(link)?.index ?? 0, address);
    }
    inside.addRoute({ destination: '0.0.0.0/0', gateway, link: inside.getLink('eth0')?.index ?? 0 });
    const other = 1 - index;
    const eth0 = own.getLink('eth0')?.index ?? 0;
    own.addRoute({ destination: podCidr(other), gateway: nodeAddress(other), link: eth0 });
  } finally {
    own.close();
    inside.close();
  }
  writeSysctl('net.ipv4.ip_forward', 1, { netns: node.netns });
  // A packet of a pod to itself comes and goes by one link.
  writeSysctl('net.ipv4.conf.all.send_redirects', 0, { netns: node.netns });
  writeSysctl('net.ipv4.conf.pod.send_redirects', 0, { netns: node.netns });
}

export async function createWiredNetwork(t: { teardown(undo: () => unknown): void }): Promise<ProxyBedNetwork> {
  const { nodes, underlay, pod: place } = createTopology(t, 2);
  const join = async (index: number): Promise<BedMember> => {
    const [node, pod] = [nodes[index]!, place(`pod${index}`)];
    wire(node, pod, index);
    await pod.serve(80, `node-${index}`);
    const ip = podCidr(index).replace('.0/24', '.2');
    const own = { podCidrs: [podCidr(index)], addresses: [nodeAddress(index), nodeAddress6(index)] };
    return { node, pod, ip, peer: { name: `node-${index}`, annotations: {}, ...own } };
  };
  const [one, two] = [await join(0), await join(1)];
  const { routed, node } = addresses.ip;
  underlay.run('ip', 'route', 'add', routed, 'via', node);
  return { one, two, underlay, family: 'ip', sctpProblem: await listenForSctp([one, two]) };
}
