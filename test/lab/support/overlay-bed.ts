/** Three nodes on real packets for the conformance kit of overlays. */
import type { Damage, OverlayBed, OwnedObject } from '../../../kernel/conformance/overlay.ts';
import type { Overlay } from '../../../kernel/contract/index.ts';
import { clusterCidrs, createPods, type ClusterShape } from './cluster.ts';
import {
  answerMs,
  createTopology,
  nodeAddress,
  patience,
  podCidr,
  repairMs,
  snapshot,
  underlayAddress,
  type Place,
} from './topology.ts';

export type CommandDamage = readonly [OwnedObject, Damage['how'], what: string, ...argv: string[]];

type Running = Overlay & AsyncDisposable;

export async function overlayBed(
  t: { teardown(undo: () => unknown): void },
  options: {
    readonly shape: ClusterShape;
    open(node: Place, folder: string): Running;
    readonly owns: readonly OwnedObject[];
    /** Commands that break what the overlay has on a node towards `other`. */
    damages(other: number): readonly CommandDamage[];
    /** Those for which there is no command. */
    further?(node: Place, folder: string): readonly Damage[];
  },
): Promise<OverlayBed> {
  const topology = createTopology(t, 3);
  const pods = await createPods(t, topology, options.shape);
  const nodes = topology.nodes.map((node, index) => {
    const local = { name: `node-${index}`, podCidrs: [podCidr(index)], clusterCidrs, addresses: [nodeAddress(index)] };
    let running = options.open(node, topology.folder);
    t.teardown(async () => {
      await running[Symbol.asyncDispose]();
      // What carries packets by a process of its own goes on until somebody leaves.
      const last = options.open(node, topology.folder);
      await last.leave();
      await last[Symbol.asyncDispose]();
    });
    return {
      local,
      overlay: () => running,
      restart: async (): Promise<Overlay> => {
        await running[Symbol.asyncDispose]();
        running = options.open(node, topology.folder);
        return running;
      },
      traces: async () => snapshot(node),
      inventory: async () => withoutIndexes(snapshot(node)),
      owns: options.owns,
      damages: [
        ...options.damages(index === 1 ? 0 : 1).map(([object, how, what, command = '', ...args]) => ({
          object,
          how,
          what,
          inflict: async () => void node.run(command, ...args),
        })),
        ...(options.further?.(node, topology.folder) ?? []),
      ],
      move: async () => {
        const address = nodeAddress(index + 10);
        node.run('ip', 'address', 'del', `${nodeAddress(index)}/24`, 'dev', 'eth0');
        node.run('ip', 'address', 'add', `${address}/24`, 'dev', 'eth0');
        // The kernel takes a link's routes along with its last address.
        node.run('ip', 'route', 'replace', 'default', 'via', underlayAddress);
        return { ...local, addresses: [address] };
      },
    };
  });
  return {
    nodes,
    repairMs,
    podAddress: (node) => pods[node]?.ip ?? '',
    connect: async (from, to, { bytes, inVain = false } = {}) => {
      const timeoutMs = inVain ? patience(1_000) : answerMs;
      const limits = { timeoutMs, ...(bytes === undefined ? {} : { bytes }) };
      const { answer } = (await pods[from]?.pod.tcp(pods[to]?.ip ?? '', 80, limits)) ?? {};
      const [, client, received] = answer?.split(' ') ?? [];
      return bytes === undefined || received === String(bytes) ? client : undefined;
    },
  };
}

function withoutIndexes(text: string): string {
  const lines = text
    .replaceAll(/^\d+: /gm, '')
    .replaceAll(/@if\d+| link-netnsid \d+/g, '')
    .split('\n');
  return lines.sort().join('\n');
}
