/**
 * Kind `overlay`: carries packets from this node's pods to other nodes' pods.
 *
 * The agent calls `join` once the node has its pod ranges, publishes the returned annotations on its Node, and calls
 * `sync` with the other nodes whenever they change.
 * Guarantees
 * - `sync` is level-triggered: after it, exactly the given peers are reachable. A second identical sync changes nothing.
 * - What the plugin owns in the kernel (device, routes, neighbours, FDB entries) is an inventory that it reconciles: what
 *   somebody else deletes or changes is back within two seconds. Nothing foreign is touched.
 * - Dispose leaves the data plane in place: traffic goes on while the agent is dead. `leave` removes every trace.
 * Node addresses: `join` again, with other addresses, moves the overlay there with all its peers; until the first `sync` of
 * an instance what leads to peers is left as a predecessor made it. A peer that comes to `sync` with another address is
 * reached there.
 * Idempotency: `join` with the same arguments changes nothing. `leave` twice succeeds.
 * Ordering and concurrency: one call at a time (the caller's duty).
 * Restart: a new instance takes over what its predecessor left: no packet is lost to a restart.
 * Errors: KERNEL_REFUSED, HOST_COMMAND_FAILED, UNSUPPORTED.
 * Capabilities: `ipv4`, `ipv6` (which pod ranges it carries: the kernel starts none in a cluster with a range of another
 * family), `encapsulates` (works across routers).
 */
export type OverlayCapability = 'ipv4' | 'ipv6' | 'encapsulates';

export interface LocalNode {
  readonly name: string;
  readonly podCidrs: readonly string[];
  readonly clusterCidrs: readonly string[];
  /** Underlay addresses of this node (InternalIP): the first of a family is its main one. */
  readonly addresses: readonly string[];
  /** Its own Node annotations: what somebody wrote there for the overlay to read (flannel's public-ip-overwrite). */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
}

export interface Peer {
  readonly name: string;
  readonly podCidrs: readonly string[];
  readonly addresses: readonly string[];
  /** The peer's Node annotations, in which its overlay published what others need (VTEP MAC ...). */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface Joined {
  /** What pods may send without fragmentation, by the underlay's MTU and this overlay's overhead. */
  readonly mtuBytes: number;
  /** To publish on this node's Node object. */
  readonly annotations: Readonly<Record<string, string>>;
}

export interface OverlayStatus {
  readonly ready: boolean;
  readonly reason?: string | undefined;
  readonly mtuBytes: number;
  readonly peers: readonly { readonly name: string; readonly ready: boolean; readonly reason?: string | undefined }[];
  /** How often something of the inventory had to be repaired. */
  readonly repairs: number;
  /** What `join` would answer now, when that can change by itself (an interface's address): the agent publishes it. */
  readonly annotations?: Readonly<Record<string, string>> | undefined;
  /** What of this kernel the data path uses, and why not what it does not, for people: `udpGro: 'yes'`. */
  readonly uses?: Readonly<Record<string, string>> | undefined;
}

export interface Overlay {
  join(local: LocalNode): Promise<Joined>;
  /** Peers without usable annotations or ranges are left out and reported in `status`. */
  sync(peers: readonly Peer[]): Promise<{ readonly changed: number }>;
  status(): OverlayStatus;
  /** What the data path has counted since it began, by name (`sentPackets`); undefined: it is not there, or does not count. */
  counters?(): Promise<Readonly<Record<string, number>> | undefined>;
  /** Removes every trace from the node. */
  leave(): Promise<void>;
}
