/** An agent to be killed: `udp-agent.js ARGUMENTS` joins and syncs as told, says so, and waits. Started inside its node. */
import type { LocalNode, Peer } from '../../../kernel/contract/index.ts';
import {
  FlannelUdpOverlay,
  type FlannelUdpOptions,
} from '../../../netplugins/overlays/flannel-udp/flannel-udp-overlay.ts';
import { quiet } from './topology.ts';

export interface UdpAgentWork {
  readonly options: Omit<FlannelUdpOptions, 'log' | 'netns'>;
  readonly local: LocalNode;
  readonly peers: readonly Peer[];
}

const { options, local, peers } = JSON.parse(process.argv[2] ?? '') as UdpAgentWork;
const overlay = new FlannelUdpOverlay({ ...options, log: quiet });
await overlay.join(local);
await overlay.sync(peers);
process.stdout.write('up\n');
setInterval(() => undefined, 1 << 30);
