import test from 'ava';
import { overlayConformance } from '../../kernel/conformance/overlay.ts';
import type { Overlay } from '../../kernel/contract/index.ts';
import { vtepMacOf, type VxlanOverlay } from '../../netplugins/overlays/vxlan/vxlan-overlay.ts';
import { clusterCidrs, createPods, openOverlay } from './support/cluster.ts';
import { createTopology, nodeAddress, podCidr, snapshot, type Place } from './support/topology.ts';

overlayConformance(test, {
  name: 'vxlan',
  capabilities: ['ipv4', 'ipv6', 'encapsulates'],
  open: async (t) => {
    const topology = createTopology(t, 3);
    const pods = await createPods(t, topology, 1450);
    const nodes = topology.nodes.map((node: Place, index) => {
      let running: VxlanOverlay = openOverlay(node);
      t.teardown(() => running[Symbol.asyncDispose]());
      const change = (what: string, command: string, ...args: readonly string[]) => ({
        what,
        inflict: async () => void node.run(command, ...args),
      });
      const next = podCidr(index === 1 ? 0 : 1);
      const gateway = next.replace('/24', '');
      const mac = vtepMacOf(`node-${index === 1 ? 0 : 1}`, 2);
      return {
        local: { name: `node-${index}`, podCidrs: [podCidr(index)], clusterCidrs, addresses: [nodeAddress(index)] },
        overlay: () => running,
        restart: async (): Promise<Overlay> => {
          await running[Symbol.asyncDispose]();
          running = openOverlay(node);
          return running;
        },
        traces: async () => snapshot(node),
        damages: [
          change('device deleted', 'ip', 'link', 'del', 'flannel.1'),
          change('device down', 'ip', 'link', 'set', 'flannel.1', 'down'),
          change('MAC changed', 'ip', 'link', 'set', 'flannel.1', 'address', '02:00:00:00:00:99'),
          change('route deleted', 'ip', 'route', 'del', next),
          change('ARP entry deleted', 'ip', 'neighbour', 'del', gateway, 'dev', 'flannel.1'),
          change('FDB entry deleted', 'bridge', 'fdb', 'del', mac, 'dev', 'flannel.1', 'self'),
        ],
      };
    });
    return {
      nodes,
      podAddress: (node) => pods[node]?.ip ?? '',
      connect: async (from, to, bytes) => {
        const options = { timeoutMs: 1_000, ...(bytes === undefined ? {} : { bytes }) };
        const { answer } = (await pods[from]?.pod.tcp(pods[to]?.ip ?? '', 80, options)) ?? {};
        const [, client, received] = answer?.split(' ') ?? [];
        return bytes === undefined || received === String(bytes) ? client : undefined;
      },
    };
  },
});
