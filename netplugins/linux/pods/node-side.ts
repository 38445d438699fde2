/** What tells one attachment by veth pairs from another: how the node's ends of pods are joined to the node. */
import type { NodeNetwork } from '../../../kernel/contract/index.ts';
import type { Address, Link, Route, RtEvent, Rtnetlink } from '../rtnetlink.ts';
import type { Lease } from './lease-store.ts';

/** What stands on the node, listed once for many checks. */
export interface NodeView {
  readonly addresses: readonly Address[];
  readonly routes: readonly Route[];
}

export interface NodeSide {
  /** Plugin's name: in messages, and in the names of its nft tables ("pintle-NAME", "pintle-NAME-ports"). */
  readonly name: string;
  /** How names of the node's ends begin; no other program's do. */
  readonly linkPrefix: string;
  /** Names of links that pod traffic passes, as iptables matches them: "cni0", "ptp+". */
  readonly linkPattern: string;
  /** Throws INVALID for a range that is too small. */
  validate(network: NodeNetwork): void;
  /** Makes what all pods share; throws when something foreign is in its place. Changes nothing when it is right. */
  prepare(network: NodeNetwork, leases: readonly Lease[]): void;
  /** Brings the node's end of a pod to work. */
  plug(port: Link, lease: Lease): void;
  /** What is wrong with the node's end, in words. */
  check(port: Link, lease: Lease, view: NodeView): string[];
  /** Links that must carry packets before a pod may start. */
  awaited(portName: string, lease: Lease): readonly string[];
  /** Links by which the node sends to pods, and they to the node. `portNames`: of some pods, or of none. */
  nearLinks(portNames: readonly string[]): readonly string[];
  /** The node's ends of pods that are there. */
  ports(): readonly Link[];
  /** Whether an event may be damage to what it made; events of ports, addresses and overflows always are. */
  concerns(event: RtEvent): boolean;
  /** Removes what `prepare` made. */
  purge(): void;
}

/** Lists when first asked. */
export function nodeView(host: Rtnetlink): NodeView {
  let addresses: readonly Address[] | undefined;
  let routes: readonly Route[] | undefined;
  return {
    get addresses() {
      return (addresses ??= host.listAddresses());
    },
    get routes() {
      return (routes ??= host.listRoutes());
    },
  };
}
