/**
 * The plan of a laboratory: nodes as network namespaces, each with `eth0` on a bridge that stands for the network between
 * machines. Everything is private to one process tree: the host's own network has no part in it.
 */
import { join } from 'node:path';

export interface LabNode {
  readonly name: string;
  /** On the underlay, IPv4, without prefix length. */
  readonly address: string;
  /** All that it has on the underlay, in the order of the cluster's families: what it announces. */
  readonly addresses: readonly string[];
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
  /** The underlay's other family; undefined: the cluster has no use for it. */
  readonly ipv6: { readonly prefixLength: number; readonly gateway: string } | undefined;
  /** Port of the gateway at which nodes find the API. */
  readonly apiPort: number;
  /** Nodes have an address of a family that their pods lack, which an agent does not look for: it is told all of them. */
  readonly hasOtherFamily: boolean;
  readonly nodes: readonly LabNode[];
}

/** 192.168.77.0/24: the bridge is .1, nodes are .11 and on; .254 is kept for the host (`--expose`). */
const network = '192.168.77';
/** The same hosts in a unique local range (RFC 4193), written with the digits of their IPv4 addresses. */
const network6 = 'fd00:192:168:77:';
const exposedHost = 254;
export const exposedHostAddress = `${network}.${exposedHost}`;
export const exposedHostAddress6 = `${network6}:${exposedHost}`;
export const maxLabNodes = 200;

/** `podCidrs` are the cluster's: an IPv6 range needs IPv6 between the nodes, and the first is of the nodes' main family. */
export function planLab(nodes: number, stateDir: string, podCidrs: readonly string[]): LabPlan {
  const hasIpv6 = podCidrs.some((cidr) => cidr.includes(':'));
  const isIpv6First = podCidrs[0]?.includes(':') === true;
  const addressesOf = (host: number): readonly string[] => {
    const both = [`${network}.${host}`, ...(hasIpv6 ? [`${network6}:${host}`] : [])];
    return isIpv6First ? both.reverse() : both;
  };
  return {
    underlayMtuBytes: 1500,
    prefixLength: 24,
    gateway: `${network}.1`,
    ipv6: hasIpv6 ? { prefixLength: 64, gateway: `${network6}:1` } : undefined,
    apiPort: 6443,
    hasOtherFamily: podCidrs.every((cidr) => cidr.includes(':')),
    nodes: Array.from({ length: nodes }, (_, index) => ({
      name: `node-${index + 1}`,
      address: `${network}.${11 + index}`,
      addresses: addressesOf(11 + index),
      netns: join(stateDir, 'lab', `node-${index + 1}.netns`),
      stateDir: join(stateDir, 'nodes', `node-${index + 1}`),
      kubeconfig: join(stateDir, 'nodes', `node-${index + 1}`, 'kubeconfig'),
    })),
  };
}
