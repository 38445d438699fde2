/**
 * One port of one Service as map elements and chains. Pure; the semantics of the proxy are here.
 *
 * The usual case is elements of sets and of maps of data, and nothing else: the n-th endpoint of an address is in the map
 * `slots-n`. Rules that are the same for all draw one (see `drawRules`). No verdict is in a map there: for every verdict that
 * is added the kernel walks all maps of verdicts anew, so its time would grow with the number of services.
 *
 * Addresses with more endpoints than `drawnSlots` are sent by the map `services` to the chain `pick-N`, which draws a number
 * n below N and goes to the chain `slot-n`, which finds the endpoint in the map `slots-n`. Session affinity needs chains: one
 * a service, one an endpoint. (One map with the number in its key would do, but nft 1.0 mistakes its type when it reads it
 * back.)
 */
import { createHash } from 'node:crypto';
import type { ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import {
  addressesOf,
  isOfFamily,
  sourceRangesOf,
  usable,
  type Context,
  type IpFamily,
} from '../../linux/service-addresses.ts';
import { drawnSlots, type AffinitySet, type Chain, type Element, type Fragment, type SlotMap } from './table-change.ts';

export type NftFamily = IpFamily;

/** Keeps endpoints at the numbers they had: adding or removing one moves at most one other. */
export type Ordering = (list: string, endpoints: readonly string[]) => readonly string[];

export const keepOrder: Ordering = (_, endpoints) => endpoints;

export const rejectNew: Chain = { name: 'reject-new%', rules: ['meta l4proto tcp reject with tcp reset', 'reject'] };

/** What every table has, whatever the services. */
export function renderCommon({ clusterCidrs, serviceCidrs }: Context): Fragment {
  return {
    elements: [
      ...clusterCidrs.map((key) => ({ set: 'cluster-cidrs', key, data: '' }) as const),
      ...serviceCidrs.map((key) => ({ set: 'service-cidrs', key, data: '' }) as const),
    ],
    chains: [rejectNew, { name: 'masquerade-always%', rules: ['masquerade fully-random'] }],
    affinity: [],
  };
}

/** The rule that sends to the endpoint in a slot; it does not match when the address has none there. */
const toSlot = (family: IpFamily, map: SlotMap): string =>
  `dnat ${family} to ${family} daddr . meta l4proto . th dport map @${map}%`;

/**
 * From the last slot to the first, slot n is tried by one packet in n + 1. So of an address with N endpoints, whose slots from
 * N on are empty, slot N - 1 takes one in N, the one before one in N - 1 of the rest, and so on: each is as likely.
 */
function drawRules(family: IpFamily, kind: 'slots' | 'local-slots'): string[] {
  return Array.from({ length: drawnSlots }, (_, index) => drawnSlots - 1 - index).map(
    (slot) => `${slot === 0 ? '' : `numgen random mod ${slot + 1} 0 `}${toSlot(family, `${kind}-${slot}`)}`,
  );
}

/** Chains whose rules name the family. */
export function renderFamilyChains({ family }: Context): Fragment {
  return {
    elements: [],
    chains: [
      { name: 'draw%', rules: drawRules(family, 'slots') },
      { name: 'local-draw%', rules: [...drawRules(family, 'local-slots'), 'drop'] },
      {
        // Pods and the node itself are not "external": they reach all endpoints, as through the cluster address.
        name: 'external-local%',
        rules: [`${family} saddr @cluster-cidrs% goto draw%`, 'fib saddr type local goto draw%', 'goto local-draw%'],
      },
      {
        name: 'masquerade-outside%',
        rules: [`${family} saddr @cluster-cidrs% return`, 'masquerade fully-random'],
      },
      {
        name: 'masquerade-node%',
        rules: [`${family} saddr @cluster-cidrs% return`, 'fib saddr type local masquerade fully-random'],
      },
    ],
    affinity: [],
  };
}

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16);

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** "10.244.1.2 . 8080": as the slot maps have it. */
const slotOf = ({ address, port }: Endpoint): string => `${address} . ${port}`;

/** The rule that goes to one of `chains`, each as likely. */
function draw(chains: readonly string[]): string {
  if (chains.length === 1) return `goto ${chains[0]}`;
  const targets = chains.map((chain, index) => `${index} : goto ${chain}`);
  return `numgen random mod ${chains.length} vmap { ${targets.join(', ')} }`;
}

class PortRenderer {
  readonly elements: Element[] = [];
  readonly chains = new Map<string, readonly string[]>();
  readonly affinity: AffinitySet[] = [];
  readonly #keys = new Set<string>();
  readonly #port: ProxyPort;
  readonly #context: Context;
  readonly #protocol: string;
  readonly #all: readonly string[];
  readonly #local: readonly string[];

  constructor(port: ProxyPort, context: Context, order: Ordering) {
    this.#port = port;
    this.#context = context;
    this.#protocol = port.protocol.toLowerCase();
    const endpoints = port.endpoints.filter(({ address }) => isOfFamily(address, context.family));
    const slots = (list: readonly ProxyEndpoint[]): string[] => [
      ...new Set(list.map((endpoint) => slotOf({ address: canonicalIp(endpoint.address), port: endpoint.port }))),
    ];
    this.#all = order('all', slots(usable(endpoints)));
    this.#local = order('local', slots(usable(endpoints.filter(({ local }) => local))));
    for (const { address, local } of endpoints)
      if (local) this.#element('hairpin', `${canonicalIp(address)} . ${canonicalIp(address)}`);
  }

  render(): void {
    const { family, nodeAddresses, clusterCidrs } = this.#context;
    const port = this.#port;
    for (const ip of addressesOf(port.clusterIps, family)) {
      this.#element('cluster-ips', ip);
      const key = this.#key(ip, port.port);
      this.#internal(key);
      // Without known pod ranges a pod cannot be told from an outsider: then every client keeps its address.
      if (clusterCidrs.length > 0) this.#element('masquerade-outside', key);
    }
    for (const ip of addressesOf(port.externalIps, family)) this.#external(this.#key(ip, port.port));
    for (const ip of addressesOf(port.loadBalancerIps, family)) {
      const key = this.#key(ip, port.port);
      this.#external(key);
      this.#restrict(key, ip);
    }
    if (port.nodePort !== undefined) for (const ip of nodeAddresses) this.#external(this.#key(ip, port.nodePort));
  }

  #key(ip: string, port: number): string {
    return `${ip} . ${this.#protocol} . ${port}`;
  }

  #element(set: Element['set'], key: string, data = ''): void {
    this.elements.push({ set, key, data });
  }

  /** Of two addresses of a port that are one, the first counts. */
  #isTaken(key: string): boolean {
    if (this.#keys.has(key)) return true;
    this.#keys.add(key);
    return false;
  }

  #internal(key: string): void {
    if (this.#isTaken(key)) return;
    const isLocal = this.#port.internalPolicy === 'Local';
    const list = isLocal ? this.#local : this.#all;
    if (this.#all.length === 0) this.#element('no-endpoints', key);
    else if (list.length === 0) this.#element('services', key, 'drop');
    else this.#send(key, isLocal ? 'internal' : 'all', list);
  }

  #external(key: string): void {
    if (this.#isTaken(key)) return;
    if (this.#all.length === 0) return this.#element('no-endpoints', key);
    if (this.#port.externalPolicy === 'Cluster') {
      this.#send(key, 'all', this.#all);
      return this.#element('masquerade-always', key);
    }
    this.#element('masquerade-node', key);
    if (this.#isDrawn(this.#all) && this.#isDrawn(this.#local)) {
      this.#slots(key, 'slots', this.#all);
      this.#slots(key, 'local-slots', this.#local);
      return this.#element('external-local', key);
    }
    // As the chain `external-local`.
    const all = this.#picker(key, 'all', this.#all);
    const local = this.#local.length === 0 ? 'drop' : `goto ${this.#picker(key, 'local', this.#local)}`;
    const name = this.#hasAffinity
      ? `external-service-${this.#hash()}%`
      : `external-${this.#all.length}-${this.#local.length}%`;
    this.chains.set(name, [
      `${this.#context.family} saddr @cluster-cidrs% goto ${all}`,
      `fib saddr type local goto ${all}`,
      local,
    ]);
    this.#element('services', key, `goto ${name}`);
  }

  #send(key: string, kind: 'all' | 'internal', list: readonly string[]): void {
    if (this.#isDrawn(list)) this.#slots(key, 'slots', list);
    else this.#element('services', key, `goto ${this.#picker(key, kind, list)}`);
  }

  #isDrawn(list: readonly string[]): boolean {
    return !this.#hasAffinity && list.length <= drawnSlots;
  }

  #slots(key: string, kind: 'slots' | 'local-slots', list: readonly string[]): void {
    for (const [index, slot] of list.entries()) this.#element(`${kind}-${index}`, key, slot);
  }

  get #hasAffinity(): boolean {
    return this.#port.affinitySeconds !== undefined;
  }

  /**
   * The chain that sends to one of `list`. `all` and `internal` are never both used for one key, so both have their slots
   * in the maps `slots-n`; the local endpoints of an external address have theirs in `local-slots-n`.
   */
  #picker(key: string, kind: 'all' | 'internal' | 'local', list: readonly string[]): string {
    if (this.#hasAffinity) return this.#stickyPicker(kind, list);
    const { family } = this.#context;
    const prefix = kind === 'local' ? 'local-' : '';
    const maps = kind === 'local' ? 'local-slots' : 'slots';
    this.#slots(key, maps, list);
    const slots = list.map((_, index) => {
      const chain = `${prefix}slot-${index}%`;
      this.chains.set(chain, [toSlot(family, `${maps}-${index}`)]);
      return chain;
    });
    const name = `${prefix}pick-${list.length}%`;
    this.chains.set(name, [draw(slots)]);
    return name;
  }

  #hash(): string {
    const { namespace, service, name, protocol } = this.#port;
    return hash(`${namespace}/${service}/${name}/${protocol}`);
  }

  /** A client that was here within the time-out goes where it went; any other is drawn an endpoint and remembered there. */
  #stickyPicker(kind: string, list: readonly string[]): string {
    const { family } = this.#context;
    const service = this.#hash();
    const seconds = this.#port.affinitySeconds ?? 0;
    const endpoints = list.map((slot) => {
      const id = hash(`${service} ${slot}`);
      const set = `sticky-${service}-${id}-${seconds}`;
      const [address = '', port = ''] = slot.split(' . ');
      const target = family === 'ip' ? `${address}:${port}` : `[${address}]:${port}`;
      const chain = `endpoint-${service}-${id}%`;
      this.chains.set(chain, [
        `update @${set} { ${family} saddr }`,
        `meta l4proto ${this.#protocol} dnat to ${target}`,
      ]);
      if (!this.affinity.some(({ name }) => name === set)) this.affinity.push({ name: set, seconds });
      return { set, chain };
    });
    const name = `service-${kind}-${service}%`;
    this.chains.set(name, [
      ...endpoints.map(({ set, chain }) => `${family} saddr @${set} goto ${chain}`),
      draw(endpoints.map(({ chain }) => chain)),
    ]);
    return name;
  }

  #restrict(key: string, ip: string): void {
    const sources = sourceRangesOf(this.#port, ip, this.#context);
    if (sources === undefined) return;
    this.#element('restricted', key);
    for (const source of sources) this.#element('allowed', `${key} . ${source}`);
  }
}

export function renderPort(port: ProxyPort, context: Context, order: Ordering = keepOrder): Fragment {
  const renderer = new PortRenderer(port, context, order);
  renderer.render();
  const chains: Chain[] = [...renderer.chains].map(([name, rules]) => ({ name, rules }));
  return { elements: renderer.elements, chains, affinity: renderer.affinity };
}

/** `next` in an order in which those that were in `previous` keep their places as far as possible. */
export function stableOrder(previous: readonly string[], next: readonly string[]): string[] {
  const wanted = new Set(next);
  const placed: (string | undefined)[] = next.map((_, index) => {
    const before = previous[index];
    return before !== undefined && wanted.has(before) ? before : undefined;
  });
  const there = new Set(placed);
  const rest = next.filter((endpoint) => !there.has(endpoint));
  return placed.map((endpoint) => endpoint ?? rest.shift() ?? '').filter((endpoint) => endpoint !== '');
}
