/**
 * Ports of Services as iptables chains and rules, in the layout of kube-proxy's iptables mode under names of our own. Pure;
 * the semantics of this proxy are here.
 *
 *   nat     PINTLE-SERVICES   address, protocol, port  -> SVC | SVL (internal policy Local) | EXT | FW
 *           PINTLE-NODEPORTS  protocol, port           -> EXT
 *           FW   source ranges of a balancer address   -> EXT
 *           EXT  from elsewhere: masquerade, SVC; or the local policy: SVL
 *           SVC, SVL  one of all, one of the local endpoints -> SEP
 *           SEP  the endpoint: DNAT
 *   filter  new connections that nat left alone: dropped (policy, source ranges), refused (no endpoints, unknown port, unknown
 *           address of the service range)
 */
import { createHash } from 'node:crypto';
import type { ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import type { Hook, Picture } from '../../linux/iptables-picture.ts';
import type { UnknownDecision } from '../../linux/service-decision.ts';
import { serviceRangeRules } from '../../linux/service-range-rules.ts';
import {
  addressesOf,
  isOfFamily,
  sourceRangesOf,
  usable,
  type Context,
  type IpFamily,
} from '../../linux/service-addresses.ts';

export const prefix = 'PINTLE-';

const listNames = {
  nat: ['PINTLE-SERVICES', 'PINTLE-NODEPORTS'],
  filter: ['PINTLE-DROP', 'PINTLE-REJECT', 'PINTLE-UNKNOWN'],
} as const;
type ListName = (typeof listNames)['nat' | 'filter'][number];

/** What one port of one Service needs. Of two fragments with the same key in a list, the first counts. */
export interface Fragment {
  readonly chains: ReadonlyMap<string, string>;
  readonly rules: readonly { readonly list: ListName; readonly key: string; readonly rule: string }[];
}

/** 16 characters: chain names have at most 28. */
const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16).toUpperCase();

const hostBits = (family: IpFamily): number => (family === 'ip' ? 32 : 128);
const endpointText = ({ address, port }: ProxyEndpoint, family: IpFamily): string =>
  family === 'ip' ? `${canonicalIp(address)}:${port}` : `[${canonicalIp(address)}]:${port}`;

/** All rules are written as iptables-save prints them, so that a new instance sees what is right already. */
const rejectAny = (family: IpFamily): string =>
  `-j REJECT --reject-with ${family === 'ip' ? 'icmp' : 'icmp6'}-port-unreachable`;
const reject = (protocol: string, family: IpFamily): string =>
  protocol === 'tcp' ? '-j REJECT --reject-with tcp-reset' : rejectAny(family);
const recentMask = (family: IpFamily): string =>
  `--mask ${family === 'ip' ? '255.255.255.255' : 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'} --rsource`;
/** The kernel keeps 31 bits. */
const probability = (value: number): string => (Math.round(value * 2 ** 31) / 2 ** 31).toFixed(11);

class PortRenderer {
  readonly chains = new Map<string, string>();
  readonly rules: { list: ListName; key: string; rule: string }[] = [];
  readonly #port: ProxyPort;
  readonly #context: Context;
  readonly #protocol: string;
  readonly #id: string;
  readonly #all: readonly ProxyEndpoint[];
  readonly #local: readonly ProxyEndpoint[];

  constructor(port: ProxyPort, context: Context) {
    this.#port = port;
    this.#context = context;
    this.#protocol = port.protocol.toLowerCase();
    this.#id = `${port.namespace}/${port.service}/${port.name}/${this.#protocol}`;
    const endpoints = port.endpoints.filter(({ address }) => isOfFamily(address, context.family));
    this.#all = usable(endpoints);
    this.#local = usable(endpoints.filter(({ local }) => local));
  }

  render(): void {
    const port = this.#port;
    const { family, nodeAddresses } = this.#context;
    for (const ip of addressesOf(port.clusterIps, family)) this.#internal(ip);
    for (const ip of addressesOf(port.externalIps, family)) this.#external(ip, port.port, 'PINTLE-SERVICES');
    for (const ip of addressesOf(port.loadBalancerIps, family)) {
      const sources = sourceRangesOf(port, ip, this.#context);
      if (sources === undefined || this.#all.length === 0) this.#external(ip, port.port, 'PINTLE-SERVICES');
      else this.#restricted(ip, sources);
    }
    if (port.nodePort !== undefined)
      for (const ip of nodeAddresses) this.#external(ip, port.nodePort, 'PINTLE-NODEPORTS');
  }

  #match(ip: string, port: number): string {
    const { family } = this.#context;
    return `-d ${ip}/${hostBits(family)} -p ${this.#protocol} -m ${this.#protocol} --dport ${port}`;
  }

  #rule(list: ListName, match: string, target: string): void {
    this.rules.push({ list, key: match, rule: `${match} ${target}` });
  }

  #internal(ip: string): void {
    const match = this.#match(ip, this.#port.port);
    const isLocal = this.#port.internalPolicy === 'Local';
    const list = isLocal ? this.#local : this.#all;
    this.#rule('PINTLE-UNKNOWN', `-d ${ip}/${hostBits(this.#context.family)}`, '-j PINTLE-REFUSE');
    if (this.#all.length === 0) return this.#rule('PINTLE-REJECT', match, reject(this.#protocol, this.#context.family));
    if (list.length === 0) return this.#rule('PINTLE-DROP', match, '-j DROP');
    this.#rule('PINTLE-SERVICES', match, `-j ${this.#picker(isLocal)}`);
  }

  #external(ip: string, port: number, list: 'PINTLE-SERVICES' | 'PINTLE-NODEPORTS'): void {
    const match = this.#match(ip, port);
    if (this.#all.length === 0) return this.#rule('PINTLE-REJECT', match, reject(this.#protocol, this.#context.family));
    this.#rule(list, match, `-j ${this.#externalChain()}`);
    if (this.#port.externalPolicy === 'Local' && this.#local.length === 0) this.#rule('PINTLE-DROP', match, '-j DROP');
  }

  /** Who is not in `sources` is left untranslated, and dropped. */
  #restricted(ip: string, sources: readonly string[]): void {
    const match = this.#match(ip, this.#port.port);
    const name = `${prefix}FW-${hash(`${this.#id} ${ip}`)}`;
    this.chains.set(name, sources.map((source) => `-s ${source} -j ${this.#externalChain()}`).join('\n'));
    this.#rule('PINTLE-SERVICES', match, `-j ${name}`);
    this.#rule('PINTLE-DROP', match, '-j DROP');
  }

  #externalChain(): string {
    const name = `${prefix}EXT-${hash(this.#id)}`;
    if (this.chains.has(name)) return name;
    const all = this.#picker(false);
    if (this.#port.externalPolicy === 'Cluster') {
      this.chains.set(name, ['-j PINTLE-MARK-MASQ', `-j ${all}`].join('\n'));
      return name;
    }
    // Pods and the node itself are not "external": they reach all endpoints, as through the cluster address.
    const rules = this.#context.clusterCidrs.map((cidr) => `-s ${cidr} -j ${all}`);
    rules.push('-m addrtype --src-type LOCAL -j PINTLE-MARK-MASQ', `-m addrtype --src-type LOCAL -j ${all}`);
    if (this.#local.length > 0) rules.push(`-j ${this.#picker(true)}`);
    this.chains.set(name, rules.join('\n'));
    return name;
  }

  /** The chain that sends to one of all, or of the local, endpoints. */
  #picker(isLocal: boolean): string {
    const name = `${prefix}${isLocal ? 'SVL' : 'SVC'}-${hash(this.#id)}`;
    if (this.chains.has(name)) return name;
    const list = isLocal ? this.#local : this.#all;
    const chains = [...new Set(list.map((endpoint) => this.#endpointChain(endpoint)))];
    const rules: string[] = [];
    // Without known pod ranges a pod cannot be told from an outsider: then every client keeps its address.
    if ((this.#port.internalPolicy === 'Local') === isLocal && this.#context.clusterCidrs.length > 0)
      for (const ip of addressesOf(this.#port.clusterIps, this.#context.family))
        rules.push(`${this.#match(ip, this.#port.port)} -j PINTLE-MARK-OUTSIDE`);
    const seconds = this.#port.affinitySeconds;
    if (seconds !== undefined)
      for (const chain of chains)
        rules.push(
          `-m recent --rcheck --seconds ${seconds} --reap --name ${chain} ${recentMask(this.#context.family)} -j ${chain}`,
        );
    for (const [index, chain] of chains.entries()) {
      const left = chains.length - index;
      rules.push(
        left === 1 ? `-j ${chain}` : `-m statistic --mode random --probability ${probability(1 / left)} -j ${chain}`,
      );
    }
    this.chains.set(name, rules.join('\n'));
    return name;
  }

  #endpointChain(endpoint: ProxyEndpoint): string {
    const { family } = this.#context;
    const target = endpointText(endpoint, family);
    const name = `${prefix}SEP-${hash(`${this.#id} ${target}`)}`;
    const sticky =
      this.#port.affinitySeconds === undefined ? '' : ` -m recent --set --name ${name} ${recentMask(family)}`;
    this.chains.set(
      name,
      [
        // A pod that meets itself would answer itself past the translation.
        `-s ${canonicalIp(endpoint.address)}/${hostBits(family)} -j PINTLE-MARK-MASQ`,
        `-p ${this.#protocol} -m ${this.#protocol}${sticky} -j DNAT --to-destination ${target}`,
      ].join('\n'),
    );
    return name;
  }
}

export function renderPort(port: ProxyPort, context: Context): Fragment {
  const renderer = new PortRenderer(port, context);
  renderer.render();
  return { chains: renderer.chains, rules: renderer.rules };
}

const hooks = {
  nat: [
    { chain: 'PREROUTING', rule: '-m comment --comment "pintle service portals" -j PINTLE-PORTALS' },
    { chain: 'OUTPUT', rule: '-m comment --comment "pintle service portals" -j PINTLE-PORTALS' },
    { chain: 'POSTROUTING', rule: '-m comment --comment "pintle masquerade" -j PINTLE-POSTROUTING' },
  ],
  filter: [
    ...['INPUT', 'FORWARD', 'OUTPUT'].map((chain) => ({
      chain,
      rule: '-m conntrack --ctstate NEW -m comment --comment "pintle unserved addresses" -j PINTLE-UNSERVED',
    })),
    { chain: 'FORWARD', rule: '-m comment --comment "pintle forwarding" -j PINTLE-FORWARD' },
  ],
} as const satisfies Record<'nat' | 'filter', readonly Hook[]>;

/** The fixed chains. `markBit`: the bit of a packet's mark that asks for masquerade. */
function commonChains(context: Context, markBit: number): { nat: Map<string, string>; filter: Map<string, string> } {
  const mark = `0x${(2 ** markBit).toString(16)}`;
  const lines = (...rules: readonly string[]): string => rules.join('\n');
  return {
    nat: new Map([
      // Nearly all new connections go to addresses of Services or to none; NodePorts come last.
      ['PINTLE-PORTALS', lines('-j PINTLE-SERVICES', '-m addrtype --dst-type LOCAL -j PINTLE-NODEPORTS')],
      ['PINTLE-MARK-MASQ', `-j MARK --set-xmark ${mark}/${mark}`],
      [
        'PINTLE-MARK-OUTSIDE',
        lines(...context.clusterCidrs.map((cidr) => `-s ${cidr} -j RETURN`), '-j PINTLE-MARK-MASQ'),
      ],
      [
        'PINTLE-POSTROUTING',
        lines(
          `-m mark ! --mark ${mark}/${mark} -j RETURN`,
          // The packet may come by again, for example out of a tunnel.
          `-j MARK --set-xmark ${mark}/0x0`,
          '-j MASQUERADE --random-fully',
        ),
      ],
    ]),
    filter: new Map([
      [
        'PINTLE-UNSERVED',
        lines(
          '-m conntrack --ctstate DNAT -j RETURN',
          '-j PINTLE-DROP',
          '-j PINTLE-REJECT',
          '-j PINTLE-UNKNOWN',
          ...serviceRangeRules(context.serviceCidrs, 'PINTLE-REFUSE'),
        ),
      ],
      ['PINTLE-REFUSE', lines('-p tcp -j REJECT --reject-with tcp-reset', rejectAny(context.family))],
      [
        'PINTLE-FORWARD',
        lines(
          // A late packet of an endpoint that tracking no longer takes for part of its connection would pass untranslated;
          // its client does not know that sender, and ends the connection.
          ...context.clusterCidrs.flatMap((cidr) =>
            ['-s', '-d'].map((end) => `${end} ${cidr} -m conntrack --ctstate INVALID -j DROP`),
          ),
          `-m mark --mark ${mark}/${mark} -j ACCEPT`,
          '-m conntrack --ctstate DNAT -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
        ),
      ],
    ]),
  };
}

/** The rule that refuses what no Service has, with its chain. */
export function unknownRule({ via, subject }: UnknownDecision, family: IpFamily): string {
  return via === 'service range'
    ? `PINTLE-UNSERVED ${serviceRangeRules([subject], 'PINTLE-REFUSE').join('')}`
    : `PINTLE-UNKNOWN -d ${subject}/${hostBits(family)} -j PINTLE-REFUSE`;
}

export function compose(fragments: Iterable<Fragment>, context: Context, markBit: number): Picture {
  const common = commonChains(context, markBit);
  const list = (): Map<string, string> => new Map();
  const lists = new Map<string, Map<string, string>>();
  for (const name of [...listNames.nat, ...listNames.filter]) lists.set(name, list());
  for (const { chains, rules } of fragments) {
    for (const [name, text] of chains) if (!common.nat.has(name)) common.nat.set(name, text);
    for (const { list: name, key, rule } of rules) {
      const of = lists.get(name);
      if (of !== undefined && !of.has(key)) of.set(key, rule);
    }
  }
  const pick = (names: readonly string[]): Map<string, Map<string, string>> =>
    new Map(names.map((name) => [name, lists.get(name) ?? list()]));
  return {
    nat: { chains: common.nat, lists: pick(listNames.nat), hooks: hooks.nat },
    filter: { chains: common.filter, lists: pick(listNames.filter), hooks: hooks.filter },
  };
}
