/**
 * Kind `attachment`: puts a pod into its node's network: an interface and addresses in the sandbox's network namespace.
 * The verbs are CNI's (ADD, DEL, CHECK, GC, STATUS; cni.dev spec 1.1), in process.
 *
 * Guarantees
 * - An address is given to one sandbox at a time; the record is in its file before the address is used, and addresses of a
 *   former boot or of sandboxes that are gone are collected by `gc`.
 * - After `add`, the pod reaches every other pod of the node and the node itself, and is reached by them; every packet
 *   between two pods passes the node's forwarding path, so that a proxy sees both directions, and a pod reaches itself through a Service.
 * - `remove` leaves no interface, address, route, rule or record, whether or not the namespace still exists.
 * - Nothing that this plugin did not make is touched.
 * Idempotency: `add` for an attached sandbox returns the same answer; `remove` of an unknown one succeeds.
 * Ordering and concurrency: different sandboxes at once; one sandbox in order.
 * Cancellation: none. A failed `add` has undone itself or is undone by the next `remove` or `gc`.
 * Restart: dispose leaves the pods connected; a new instance knows them all.
 * Host ports: a connection to `hostPort` of `hostIp` (undefined: of every address of the node, 127.0.0.1 too) reaches the
 * sandbox, from outside, from the node and from pods, itself among them, until `remove`. One that another sandbox has is
 * refused with UNAVAILABLE.
 * Errors: ADDRESSES_EXHAUSTED, KERNEL_REFUSED, HOST_COMMAND_FAILED, UNSUPPORTED, UNAVAILABLE (try again).
 * Capabilities: `ipv4`, `ipv6`, `host-ports`, `bandwidth`; `no-namespace`: takes sandboxes without a network namespace too
 * (`netns` is empty then), whose addresses are names and nothing answers at them.
 */
export type AttachmentCapability = 'ipv4' | 'ipv6' | 'host-ports' | 'bandwidth' | 'no-namespace';

/** What the node gives to its pods; set by `configure` before the first `add`. */
export interface NodeNetwork {
  /** The node's pod ranges, one a family: ["10.244.1.0/24"]. */
  readonly podCidrs: readonly string[];
  /** All pod ranges of the cluster: ["10.244.0.0/16"]. Traffic from pods to anything else is masqueraded. */
  readonly clusterCidrs: readonly string[];
  /** MTU for pod interfaces, from the overlay. */
  readonly mtuBytes: number;
}

export interface HostPort {
  readonly hostIp: string | undefined;
  readonly hostPort: number;
  readonly containerPort: number;
  readonly protocol: 'TCP' | 'UDP' | 'SCTP';
}

/** Limits of what the sandbox receives and sends; undefined: none. They hold until `remove`. */
export interface Bandwidth {
  readonly ingressBitsPerSecond?: number | undefined;
  readonly egressBitsPerSecond?: number | undefined;
}

export interface AttachmentRequest {
  readonly sandboxId: string;
  readonly podNamespace: string;
  readonly podName: string;
  /** Path of the network namespace. */
  readonly netns: string;
  readonly hostPorts: readonly HostPort[];
  /** Capability `bandwidth`. */
  readonly bandwidth?: Bandwidth | undefined;
}

export interface Attached {
  readonly sandboxId: string;
  /** Name inside the pod: eth0. */
  readonly interface: string;
  readonly mac: string;
  /** Without prefix length, one a family, primary first. */
  readonly ips: readonly string[];
  readonly gateways: readonly string[];
}

export interface Attachment {
  /** Those that the plugin declares, so that the agent asks for nothing else. */
  readonly capabilities: readonly AttachmentCapability[];
  /**
   * Prepares the node side (bridge, masquerade, forwarding). Level-triggered: may be called again with other values; another
   * MTU is given to the pods that are attached too.
   */
  configure(network: NodeNetwork): Promise<void>;
  add(request: AttachmentRequest): Promise<Attached>;
  remove(request: { readonly sandboxId: string; readonly netns?: string | undefined }): Promise<void>;
  /** Resolves to what is wrong with an attachment, in words; empty: it is as `add` left it. */
  check(request: { readonly sandboxId: string; readonly netns: string }): Promise<readonly string[]>;
  list(): Promise<readonly Attached[]>;
  /** Removes every attachment whose sandbox is not in `valid`. Resolves to the ids removed. */
  gc(valid: ReadonlySet<string>): Promise<readonly string[]>;
  status(): { readonly ready: boolean; readonly reason?: string | undefined };
  /** Removes every trace from the node. */
  purge(): Promise<void>;
}
