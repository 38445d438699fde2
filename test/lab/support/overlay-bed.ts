/** Three nodes on real packets for the conformance kit of overlays. */
import type { OverlayBed } from '../../../kernel/conformance/overlay.ts';
import type { Overlay } from '../../../kernel/contract/index.ts';
import { clusterCidrs, createPods, type ClusterShape } from './cluster.ts';
import { createTopology, nodeAddress, podCidr, snapshot, type Place } from './topology.ts';

type Running = Overlay & AsyncDisposable;

export async function overlayBed(
  t: { teardown(undo: () => unknown): void },
  options: {
    readonly shape: ClusterShape;
    open(node: Place, folder: string): Running;
    /** Commands that break what the overlay has on a node towards `other`. */
    damages(other: number): readonly (readonly [what: string, ...argv: string[]])[];
  },
): Promise<OverlayBed> {
  const topology = createTopology(t, 3);
  const pods = await createPods(t, topology, options.shape);
  const nodes = topology.nodes.map((node, index) => {
    let running = options.open(node, topology.folder);
    t.teardown(async () => {
      await running[Symbol.asyncDispose]();
      // What carries packets by a process of its own goes on until somebody leaves.
      const last = options.open(node, topology.folder);
      await last.leave();
      await last[Symbol.asyncDispose]();
    });
    return {
      local: { name: `node-${index}`, podCidrs: [podCidr(index)], clusterCidrs, addresses: [nodeAddress(index)] },
      overlay: () => running,
      restart: async (): Promise<Overlay> => {
        await running[Symbol.asyncDispose]();
        running = options.open(node, topology.folder);
        return running;
      },
      traces: async () => snapshot(node),
      damages: options.damages(index === 1 ? 0 : 1).map(([what, command = '', ...args]) => ({
        what,
        inflict: async () => void node.run(command, ...args),
      })),
    };
  });
  return {
    nodes,
    podAddress: (node) => pods[node]?.ip ?? '',
    connect: async (from, to, bytes) => {
      const limits = { timeoutMs: 1_000, ...(bytes === undefined ? {} : { bytes }) };
      const { answer } = (await pods[from]?.pod.tcp(pods[to]?.ip ?? '', 80, limits)) ?? {};
      const [, client, received] = answer?.split(' ') ?? [];
      return bytes === undefined || received === String(bytes) ? client : undefined;
    },
  };
}
