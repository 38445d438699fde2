/**
 * One port of one Service as map elements and chains. Pure; the semantics of the proxy are here.
 *
 * The usual case is elements of sets and of maps of data, and nothing else: the n-th endpoint of an address is in the map
 * `slots-n`. Rules that are the same for all draw one (see `drawRules`). Addresses with more endpoints than `drawnSlots`, and
 * those with session affinity, are elements too; the chains that they need are by shape (see shapes.ts).
 *
 * No verdict is in a map for a service: for every verdict that is added the kernel walks all maps of verdicts anew, so its time
 * would grow with the number of services.
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
import {
  dropShape,
  renderShape,
  shapeNumber,
  sizeFor,
  slotNumber,
  numberText,
  toShape,
  usualShapes,
  type Shape,
} from './shapes.ts';
import { drawnSlots, type Chain, type Element, type Fragment, type SlotMap } from './table-change.ts';

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
export function renderFamilyChains({ family }: Context, made: readonly Shape[] = usualShapes): Fragment {
  const shapes = made.map((shape) => renderShape(shape, family));
  return {
    elements: [dropShape.element, ...shapes.flatMap(({ elements }) => elements)],
    chains: [
      ...new Map(shapes.flatMap(({ chains }) => chains.map((chain) => [chain.name, chain] as const))).values(),
      { name: 'draw%', rules: [toShape(family, 'shapes'), ...drawRules(family, 'slots')] },
      {
        name: 'local-draw%',
        rules: [toShape(family, 'local-shapes'), ...drawRules(family, 'local-slots'), 'drop'],
      },
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
  };
}

interface Endpoint {
  readonly address: string;
  readonly port: number;
}

/** "10.244.1.2 . 8080": as the slot maps have it. */
const slotOf = ({ address, port }: Endpoint): string => `${address} . ${port}`;

class PortRenderer {
  readonly elements: Element[] = [];
  readonly chains = new Map<string, Chain>();
  readonly #ids = new Map<string, string>();
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

  #once(element: Element): void {
    if (!this.#isTaken(`${element.set} ${element.key}`)) this.elements.push(element);
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
    else if (list.length === 0) this.#element('shapes', key, dropShape.number);
    else this.#send(key, list);
  }

  #external(key: string): void {
    if (this.#isTaken(key)) return;
    if (this.#all.length === 0) return this.#element('no-endpoints', key);
    this.#send(key, this.#all);
    if (this.#port.externalPolicy === 'Cluster') return this.#element('masquerade-always', key);
    this.#element('masquerade-node', key);
    this.#send(key, this.#local, true);
    this.#element('external-local', key);
  }

  /** `isLocal`: to the local endpoints of an external address, whose others are sent to by another call. */
  #send(key: string, list: readonly string[], isLocal = false): void {
    const prefix = isLocal ? 'local-' : '';
    const seconds = this.#port.affinitySeconds ?? 0;
    if (list.length === 0) return;
    if (seconds === 0 && list.length <= drawnSlots) {
      for (const [index, slot] of list.entries()) this.#element(`${prefix}slots-${index}`, key, slot);
      return;
    }
    const shape = { seconds, size: sizeFor(list.length), isLocal };
    this.#element(`${prefix}shapes`, key, shapeNumber(shape));
    const { elements, chains } = renderShape(shape, this.#context.family);
    for (const element of elements) this.#once(element);
    for (const chain of chains) this.chains.set(chain.name, chain);
    for (const [index, slot] of list.entries()) {
      const number = slotNumber(index, isLocal);
      const id = seconds === 0 ? number : this.#id(slot);
      if (seconds > 0) this.#element('ids', `${key} . ${number}`, id);
      this.#once({ set: 'endpoints', key: `${key} . ${id}`, data: slot });
    }
  }

  /** An endpoint's own number: the same after a restart, and another when the time-out is. */
  #id(slot: string): string {
    const { namespace, service, name, protocol, affinitySeconds } = this.#port;
    const known = this.#ids.get(slot);
    if (known !== undefined) return known;
    const text = `${namespace}/${service}/${name}/${protocol} ${slot} ${affinitySeconds}`;
    let number = createHash('sha256').update(text).digest().readUInt32LE();
    const taken = new Set(this.#ids.values());
    while (taken.has(numberText(number))) number = (number + 1) >>> 0;
    this.#ids.set(slot, numberText(number));
    return numberText(number);
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
  return { elements: renderer.elements, chains: [...renderer.chains.values()] };
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
