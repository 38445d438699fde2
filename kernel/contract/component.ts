/**
 * Kind `component`: a long-running part of a process: api-server, scheduler, controller-manager, node-agent,
 * service-proxy, dns. Everything it does begins in `start` and ends with its disposal.
 * Guarantees: `status` is cheap and never throws. A component keeps itself alive: it retries, and says so in `status`.
 * Restart: on a new start it takes over what a killed predecessor left (containers, rules, leases), and repeats nothing.
 */
export interface ComponentStatus {
  readonly ready: boolean;
  /** Why it is not ready, in words for a user. */
  readonly reason?: string | undefined;
}
export interface Component {
  status(): ComponentStatus;
  /** Prometheus text exposition (version 0.0.4) of this component's own metrics. */
  metrics?(): Promise<string>;
}
