/**
 * Kind `proxy`: sends what a pod or the node addresses to a Service to one of its endpoints.
 *
 * The component service-proxy watches Services and EndpointSlices and calls `sync` with the whole desired state.
 * Guarantees
 * - `sync` is level-triggered and atomic enough that a connection made during it reaches an endpoint of the state before or
 *   after. Incremental inside; the second identical sync changes nothing (`changed: 0`).
 * - Semantics: kube-proxy's. ClusterIP, NodePort, external and load-balancer addresses; TCP, UDP, SCTP; several ports; no
 *   endpoints: rejected (TCP RST / ICMP port unreachable), not dropped; only the *local* policy empties it: dropped;
 *   an address of `serviceCidrs` that no Service has: rejected too, unless it is one of the node's own; so is a port that a
 *   Service does not have, at its cluster addresses; session affinity by client address with time-out; a pod reaches itself through its Service (hairpin); the client's
 *   address is kept for pod traffic; terminating endpoints that still serve are used only when none is ready.
 * - Connections of endpoints that are gone: UDP conntrack entries of exactly those are deleted; TCP is left alone.
 * - Dispose leaves the rules in place and working (`outlives-agent`). `purge` removes every trace. Nothing foreign is touched; rules that
 *   somebody else deletes are back within two seconds.
 * Ordering and concurrency: one sync at a time (the caller's duty).
 * Restart: the first sync of a new instance replaces what is there without a gap.
 * Errors: HOST_COMMAND_FAILED, KERNEL_REFUSED; a failed sync is retried by the caller and must then be complete.
 * Capabilities: `ipv4`, `ipv6`, `tcp`, `udp`, `sctp`, `node-port`, `affinity`, `source-ranges`; `affinity-time-out`: a client
 *   that stays away as long as its affinity lasts is drawn an endpoint anew (without it: it may keep, or get again, the one
 *   it had); `client-address`: the endpoint sees the client's address where the semantics keep it; `outlives-agent`: the rules work while no instance runs
 *   and a new one takes over without a gap (without it: a listener of the process is part of the path, and clients are
 *   refused, or time out, until the next instance has synced); `explain`: it has that verb.
 */
export type ProxyCapability =
  | 'ipv4'
  | 'ipv6'
  | 'tcp'
  | 'udp'
  | 'sctp'
  | 'node-port'
  | 'affinity'
  | 'affinity-time-out'
  | 'source-ranges'
  | 'client-address'
  | 'outlives-agent'
  | 'explain';

export type Protocol = 'TCP' | 'UDP' | 'SCTP';

export interface ProxyEndpoint {
  readonly address: string;
  readonly port: number;
  /** On this node. */
  readonly local: boolean;
  /** Accepts new connections (ready, not terminating). */
  readonly ready: boolean;
  /** Still answers; with `terminating`, the fall-back when no endpoint is ready. */
  readonly serving: boolean;
  readonly terminating: boolean;
}

/** One port of one Service. */
export interface ProxyPort {
  readonly namespace: string;
  readonly service: string;
  /** Empty for an unnamed port. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  readonly clusterIps: readonly string[];
  readonly externalIps: readonly string[];
  /** Only those with ipMode VIP. */
  readonly loadBalancerIps: readonly string[];
  readonly loadBalancerSourceRanges: readonly string[];
  readonly nodePort: number | undefined;
  /** ClientIP affinity time-out; undefined: none. */
  readonly affinitySeconds: number | undefined;
  readonly internalPolicy: 'Cluster' | 'Local';
  readonly externalPolicy: 'Cluster' | 'Local';
  /** In a stable order. */
  readonly endpoints: readonly ProxyEndpoint[];
}

export interface ProxyState {
  /** Addresses of this node at which NodePorts answer. */
  readonly nodeAddresses: readonly string[];
  readonly clusterCidrs: readonly string[];
  /** Where cluster addresses of Services come from. */
  readonly serviceCidrs: readonly string[];
  readonly ports: readonly ProxyPort[];
}

export interface ProxyStatus {
  readonly ready: boolean;
  readonly reason?: string | undefined;
  readonly lastSyncMs: number | undefined;
  readonly repairs: number;
}

/** What a proxy does with new connections to a service address, and the kernel objects that make it do so. */
export interface ServiceVerdict {
  /** "default/web"; undefined: the address is in the service range and no Service has it. */
  readonly service: string | undefined;
  /** Which of its addresses it is. */
  readonly via: 'cluster address' | 'external address' | 'load-balancer address' | 'node port' | 'service range';
  readonly verdict: 'translated' | 'rejected' | 'dropped';
  /** Why it is rejected or dropped. */
  readonly reason?: string | undefined;
  readonly endpoints: readonly { readonly address: string; readonly port: number }[];
  /** As the host's own tools print them, each looked for in the kernel now. */
  readonly objects: readonly { readonly shown: string; readonly isPresent: boolean }[];
}

export interface Proxy {
  /** `changed`: number of kernel objects (rules, map elements) added, changed or deleted. */
  sync(desired: ProxyState): Promise<{ readonly changed: number }>;
  status(): ProxyStatus;
  /** Undefined: no service address of the last sync, nor one of the service range. */
  explain?(
    flow: { readonly protocol: Protocol; readonly destination: string; readonly port: number },
    from: 'pod' | 'node' | 'outside',
  ): Promise<ServiceVerdict | undefined>;
  /** Removes every trace from the node. */
  purge(): Promise<void>;
}
