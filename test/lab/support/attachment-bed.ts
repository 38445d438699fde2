/** One node on real packets for the conformance kit of attachments. */
import type { AttachmentBed } from '../../../kernel/conformance/attachment.ts';
import type { Attachment } from '../../../kernel/contract/index.ts';
import type { VethOptions } from '../../../netplugins/linux/pods/veth-attachment.ts';
import { deleteNetns } from '../../../netplugins/linux/namespaces.ts';
import {
  answerMs,
  createTopology,
  nodeAddress,
  patience,
  quiet,
  snapshot,
  underlayAddress,
  type Place,
} from './topology.ts';

const port = 7777;

export async function attachmentBed(
  t: { teardown(undo: () => unknown): void },
  start: (options: VethOptions) => Attachment & AsyncDisposable,
): Promise<AttachmentBed> {
  const { nodes, underlay, folder, pod } = createTopology(t, 1);
  const [node] = nodes as [Place];
  let boot = 1;
  const open = (): Attachment & AsyncDisposable =>
    start({ stateDir: `${folder}/state`, log: quiet, netns: node.netns, bootId: `boot-${boot}` });
  let running = open();
  t.teardown(() => running[Symbol.asyncDispose]());
  const pods = new Map<string, Place>();
  await node.serve(port, 'node');
  await underlay.serve(port, 'outside');
  return {
    attachment: () => running,
    restart: async (options) => {
      await running[Symbol.asyncDispose]();
      if (options?.reboot === true) boot += 1;
      running = open();
      return running;
    },
    sandbox: async () => {
      const place = pod(`pod${pods.size}`);
      pods.set(place.netns, place);
      return {
        netns: place.netns,
        destroy: async () => {
          await place.stop();
          deleteNetns(place.netns);
        },
      };
    },
    serverPort: port,
    connect: async (from, address, { port: to = port, inVain = false } = {}) => {
      for (const place of pods.values()) await place.ask({ verb: 'listenTcp', port, name: 'pod' });
      const origin = from === 'node' ? node : from === 'outside' ? underlay : pods.get(from.netns);
      const { answer } = (await origin?.tcp(address, to, { timeoutMs: inVain ? patience(500) : answerMs })) ?? {};
      return answer?.split(' ')[1];
    },
    nodeAddress: nodeAddress(0),
    outsideAddress: underlayAddress,
    traces: async () => snapshot(node),
    // The other end, so that nobody repairs it: in the node's namespace the plugin would.
    damage: async (_, netns) => void pods.get(netns)?.run('ip', 'address', 'flush', 'dev', 'eth0'),
  };
}
