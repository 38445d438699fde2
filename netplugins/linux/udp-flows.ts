/**
 * Connection-tracking entries of UDP flows whose endpoint is gone. UDP has no end: a client that goes on sending keeps its
 * entry, and the entry keeps sending to the old endpoint. Pure but for `deleteStaleFlows`.
 */
import type { ProxyPort } from '../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalIp } from './ip-address.ts';
import { Claims } from './claims.ts';
import { openConntrack, type ConntrackEntry } from './conntrack.ts';
import type { FragmentChange } from './port-fragments.ts';
import { addressesOf, isOfFamily, type Context } from './service-addresses.ts';

const udp = 17;

/** By service address ("10.96.0.10:53"): the endpoints ("10.244.1.2:53") that flows to it may have. */
export type UdpTargets = ReadonlyMap<string, ReadonlySet<string>>;

/** Endpoints that still serve, those that terminate included: their flows go on. */
export function udpTargetsOf(ports: readonly ProxyPort[], context: Context): UdpTargets {
  const { family, nodeAddresses } = context;
  const targets = new Map<string, Set<string>>();
  for (const port of ports) {
    if (port.protocol !== 'UDP') continue;
    const endpoints = port.endpoints
      .filter(({ address, ready, serving }) => isOfFamily(address, family) && (ready || serving))
      .map((endpoint) => `${canonicalIp(endpoint.address)}:${endpoint.port}`);
    const keys = addressesOf([...port.clusterIps, ...port.externalIps, ...port.loadBalancerIps], family).map(
      (ip) => `${ip}:${port.port}`,
    );
    if (port.nodePort !== undefined) keys.push(...nodeAddresses.map((ip) => `${ip}:${port.nodePort}`));
    for (const key of keys) if (!targets.has(key)) targets.set(key, new Set(endpoints));
  }
  return targets;
}

/**
 * Service addresses whose flows must be looked at. Before the first sync nothing is known of what was: all are looked at,
 * and only flows to endpoints that are no longer there go, so that a restart moves no living flow.
 */
export function affectedTargets(before: UdpTargets | undefined, after: UdpTargets): UdpTargets {
  if (before === undefined) return after;
  const affected = new Map<string, ReadonlySet<string>>();
  for (const [key, endpoints] of after) {
    const previous = before.get(key);
    const isNew = previous === undefined || previous.size === 0;
    if (isNew ? endpoints.size > 0 || previous === undefined : [...previous].some((one) => !endpoints.has(one)))
      affected.set(key, endpoints);
  }
  for (const key of before.keys()) if (!after.has(key)) affected.set(key, new Set());
  return affected;
}

/** Flows to an affected address that go anywhere but to one of its endpoints. */
export function staleFlows(entries: readonly ConntrackEntry[], affected: UdpTargets): ConntrackEntry[] {
  return entries.filter(({ original, reply }) => {
    const endpoints = affected.get(`${original.destination}:${original.destinationPort}`);
    return endpoints !== undefined && !endpoints.has(`${reply.source}:${reply.sourcePort}`);
  });
}

/** Returns how many entries were deleted. */
export function deleteStaleFlows(
  affected: UdpTargets,
  family: 'ip' | 'ip6',
  options: { readonly netns?: string | undefined },
): number {
  if (affected.size === 0) return 0;
  const conntrack = openConntrack(options);
  try {
    const entries = conntrack.list(family === 'ip' ? AF_INET : AF_INET6, udp);
    return staleFlows(entries, affected).filter((entry) => conntrack.delete(entry)).length;
  } finally {
    conntrack.close();
  }
}

/** Keeps the flows of one family in step with the ports of Services; the cost of a change depends on the change alone. */
export class UdpFlows {
  readonly #family: Context['family'];
  readonly #options: { readonly netns?: string | undefined };
  readonly #targets = new Claims<ReadonlySet<string>>();
  /** False until the first update: what flows there are is not known. */
  #isKnown = false;

  constructor(family: Context['family'], options: { readonly netns?: string | undefined }) {
    this.#family = family;
    this.#options = options;
  }

  /** Before the rules change. `before`: what the fragments that are gone were rendered with. */
  note({ came, gone }: FragmentChange<object>, context: Context, before: Context): void {
    for (const { port, fragment } of came)
      for (const [key, endpoints] of udpTargetsOf([port], context)) this.#targets.add(fragment, key, endpoints);
    for (const { port, fragment } of gone)
      for (const key of udpTargetsOf([port], before).keys()) this.#targets.remove(fragment, key);
  }

  /** After the rules have changed: ends the flows that go where none should go any more. */
  settle(): void {
    const was = new Map<string, ReadonlySet<string>>();
    const is = new Map<string, ReadonlySet<string>>(this.#isKnown ? [] : this.#targets.entries());
    for (const change of this.#targets.takeChanges()) {
      if (change.before !== undefined) was.set(change.key, change.before);
      if (change.after !== undefined) is.set(change.key, change.after);
    }
    deleteStaleFlows(affectedTargets(this.#isKnown ? was : undefined, is), this.#family, this.#options);
    this.#isKnown = true;
  }

  /** Flows that were translated would go on, translated, for minutes. */
  forgetAll(): void {
    const all = new Map([...this.#targets.entries()].map(([key]) => [key, new Set<string>()] as const));
    deleteStaleFlows(all, this.#family, this.#options);
    this.#isKnown = false;
  }
}
