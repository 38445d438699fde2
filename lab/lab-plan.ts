/**
 * The plan of a laboratory: nodes as network namespaces, each with `eth0` on a bridge that stands for the network between
 * machines. Everything is private to one process tree: the host's own network has no part in it.
 */
import { join } from 'node:path';

export interface LabNode {
  readonly name: string;
  /** On the underlay, without prefix length. */
  readonly address: string;
  /** Path at which its network namespace is kept, inside the lab's mount namespace. */
  readonly netns: string;
  readonly stateDir: string;
  /** Where the API is, and who this node is to it. */
  readonly kubeconfig: string;
}

export interface LabPlan {
  readonly underlayMtuBytes: number;
  readonly prefixLength: number;
  /** Of the bridge: what nodes use as their default route. */
  readonly gateway: string;
  /** Port of the gateway at which nodes find the API. */
  readonly apiPort: number;
  readonly nodes: readonly LabNode[];
}

/** 192.168.77.0/24: the bridge is .1, nodes are .11 and on; .254 is kept for the host (`--expose`). */
const network = '192.168.77';
export const exposedHostAddress = `${network}.254`;
export const maxLabNodes = 200;

export function planLab(nodes: number, stateDir: string): LabPlan {
  return {
    underlayMtuBytes: 1500,
    prefixLength: 24,
    gateway: `${network}.1`,
    apiPort: 6443,
    nodes: Array.from({ length: nodes }, (_, index) => ({
      name: `node-${index + 1}`,
      address: `${network}.${11 + index}`,
      netns: join(stateDir, 'lab', `node-${index + 1}.netns`),
      stateDir: join(stateDir, 'nodes', `node-${index + 1}`),
      kubeconfig: join(stateDir, 'nodes', `node-${index + 1}`, 'kubeconfig'),
    })),
  };
}
