/**
 * Nodes of the benchmark: network namespaces with eth0 on a bridge that stands for the network between machines, in the
 * manner of the laboratory of `pintle up`. Everything is private to one process tree and gone with it.
 */
import { writeSysctl } from '../../netplugins/linux/sysctl.ts';
import { setSegmentationOffload } from '../../netplugins/linux/ethtool.ts';
import { coreOf, Places, type Place } from './place.ts';

export const underlayMtuBytes = 1500;
export const clusterCidrs = { ipv4: '10.244.0.0/16', ipv6: 'fd44::/48' } as const;
export type Family = keyof typeof clusterCidrs;

/** The nodes' default route leads there: without one, packets to an address of a Service would have no way at all. */
const gateway = '192.168.78.1';
const gateway6 = 'fd78::1';

export const nodeAddress = (index: number): string => `192.168.78.${index + 11}`;
export const nodeAddress6 = (index: number): string => `fd78::${index + 11}`;
export const podCidr = (index: number, family: Family): string =>
  family === 'ipv4' ? `10.244.${index + 1}.0/24` : `fd44:0:0:${index + 1}::/64`;
export const podAddress = (index: number, pod: number, family: Family): string =>
  family === 'ipv4' ? `10.244.${index + 1}.${pod}` : `fd44:0:0:${index + 1}::${pod}`;

export class Wire {
  readonly places = new Places();
  readonly underlay: Place;
  readonly nodes: readonly Place[];

  constructor(count: number) {
    this.underlay = this.places.make('underlay');
    this.underlay.links((links) => {
      links.createBridge({ name: 'wire', mtu: underlayMtuBytes });
      links.setLink('wire', { up: true });
      links.addAddress(links.getLink('wire')!.index, `${gateway}/24`);
      links.addAddress(links.getLink('wire')!.index, `${gateway6}/64`);
    });
    this.nodes = Array.from({ length: count }, (_, index) => this.#node(index));
  }

  /** An empty namespace, as a runtime makes one for a sandbox. The one called client asks, all others answer. */
  pod(name: string): Place {
    return this.places.make(name, coreOf(name === 'client' ? 'asks' : 'answers'));
  }

  /** A pod by plain means: a veth to the node and routes, nothing else. What the baselines consist of. */
  routedPod(node: number, name: string, number: number): { readonly place: Place; readonly ips: readonly string[] } {
    const place = this.pod(name);
    const ips = [podAddress(node, number, 'ipv4'), podAddress(node, number, 'ipv6')];
    const host = this.nodes[node]!;
    const end = `pod${number}`;
    host.links((links) => {
      links.createVeth({ name: end, up: true, peer: { name: 'eth0', netns: place.netns } });
      const index = links.getLink(end)!.index;
      links.addAddress(index, '169.254.1.1/32');
      links.addAddress(index, 'fe80::1/64', { scope: 253 });
      links.addRoute({ destination: `${ips[0]}/32`, link: index, scope: 253 });
      links.addRoute({ destination: `${ips[1]}/128`, link: index });
    });
    place.links((links) => {
      const index = links.getLink('eth0')!.index;
      links.setLink(index, { up: true });
      links.addAddress(index, `${ips[0]}/32`);
      links.addAddress(index, `${ips[1]}/128`);
      links.addRoute({ destination: '169.254.1.1/32', link: index, scope: 253 });
      links.addRoute({ destination: '0.0.0.0/0', gateway: '169.254.1.1', link: index });
      links.addRoute({ destination: '::/0', gateway: 'fe80::1', link: index });
    });
    return { place, ips };
  }

  /** Plain routes between the nodes' pod ranges: what an overlay is measured beside. */
  routeBetweenNodes(): void {
    for (const [index, node] of this.nodes.entries())
      node.links((links) => {
        const eth0 = links.getLink('eth0')!.index;
        for (const other of this.nodes.keys()) {
          if (other === index) continue;
          links.addRoute({ destination: podCidr(other, 'ipv4'), gateway: nodeAddress(other), link: eth0 });
          links.addRoute({ destination: podCidr(other, 'ipv6'), gateway: nodeAddress6(other), link: eth0 });
        }
      });
  }

  /** As of network cards without offloads: packets are cut by the sender, in software, before the link. */
  disableOffloads(pods: readonly Place[]): void {
    for (const place of [...this.nodes, ...pods]) setSegmentationOffload('eth0', false, { netns: place.netns });
    for (const index of this.nodes.keys())
      setSegmentationOffload(`node${index}`, false, { netns: this.underlay.netns });
  }

  close(): Promise<void> {
    return this.places.close();
  }

  #node(index: number): Place {
    const node = this.places.make(`node${index}`);
    for (const name of ['net.ipv4.ip_forward', 'net.ipv6.conf.all.forwarding'])
      writeSysctl(name, 1, { netns: node.netns });
    writeSysctl('net.ipv6.conf.default.accept_dad', 0, { netns: node.netns });
    const port = `node${index}`;
    this.underlay.links((links) =>
      links.createVeth({
        ...{ name: port, mtu: underlayMtuBytes, up: true, master: links.getLink('wire')!.index },
        peer: { name: 'eth0', mtu: underlayMtuBytes, netns: node.netns },
      }),
    );
    node.links((links) => {
      const eth0 = links.getLink('eth0')!.index;
      links.setLink(eth0, { up: true });
      links.addAddress(eth0, `${nodeAddress(index)}/24`);
      links.addAddress(eth0, `${nodeAddress6(index)}/64`);
      links.addRoute({ destination: '0.0.0.0/0', gateway, link: eth0 });
      links.addRoute({ destination: '::/0', gateway: gateway6, link: eth0 });
    });
    return node;
  }
}
