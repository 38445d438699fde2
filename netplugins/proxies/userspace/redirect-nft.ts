/**
 * Redirection by nftables. Owns the table `pintle-userspace` of one address family. The whole table is replaced in one
 * transaction when anything in it differs: short, and good enough for a mode whose cost is elsewhere.
 */
import { nftTransaction, type NftOptions } from '../../linux/nft.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import { drop, refuse, type Way } from './plan.ts';
import type { Redirection, Redirector } from './redirect.ts';

export const tableName = 'pintle-userspace';

/** Elements of all maps and sets by name. Pure. */
export function elementsOf({ plan, context, address, ports }: Redirection): ReadonlyMap<string, readonly string[]> {
  const elements = new Map<string, string[]>(
    ['inside', 'outside', 'refused', 'dropped', 'outside-dropped', 'restricted', 'allowed', 'fronts'].map((name) => [
      name,
      [],
    ]),
  );
  const add = (name: string, element: string): void => void elements.get(name)?.push(element);
  const way = (map: 'inside' | 'outside', key: string, to: Way): void => {
    const port = ports.get(to);
    if (port !== undefined) add(map, `${key} : ${address} . ${port}`);
  };
  for (const [key, { inside, outside, sources }] of plan.portals) {
    way('inside', key, inside);
    way('outside', key, outside);
    if (inside === refuse) add('refused', key);
    else if (inside === drop) add('dropped', key);
    else if (outside === drop) add('outside-dropped', key);
    if (sources === undefined) continue;
    add('restricted', key);
    for (const source of sources) add('allowed', `${key} . ${source}`);
  }
  for (const [id, port] of ports) add('fronts', `${address} . ${plan.pools.get(id)?.transport ?? 'tcp'} . ${port}`);
  elements.set('cluster-ips', [...plan.clusterIps]);
  elements.set('cluster-cidrs', [...context.clusterCidrs]);
  elements.set('service-cidrs', [...context.serviceCidrs]);
  return elements;
}

/** The text of a transaction after which the table is exactly this. Pure. */
export function tableText(family: IpFamily, elements: ReadonlyMap<string, readonly string[]>): string {
  const address = family === 'ip' ? 'ipv4_addr' : 'ipv6_addr';
  const key = `${address} . inet_proto . inet_service`;
  const match = `${family} daddr . meta l4proto . th dport`;
  const types: Readonly<Record<string, string>> = {
    inside: `map inside { type ${key} : ${address} . inet_service;`,
    outside: `map outside { type ${key} : ${address} . inet_service;`,
    allowed: `set allowed { type ${key} . ${address}; flags interval;`,
    'cluster-ips': `set cluster-ips { type ${address};`,
    'cluster-cidrs': `set cluster-cidrs { type ${address}; flags interval;`,
    'service-cidrs': `set service-cidrs { type ${address}; flags interval;`,
  };
  const sets = [...elements].map(([name, list]) => {
    const head = types[name] ?? `set ${name} { type ${key};`;
    return `${head}${list.length === 0 ? '' : ` elements = { ${list.join(', ')} }`} }`;
  });
  const filter = [
    `ct state new ${match} @restricted ${match} . ${family} saddr != @allowed drop`,
    `ct state new ${match} @refused goto refuse`,
    `ct state new ${match} @dropped drop`,
    `ct state new ${match} @outside-dropped ${family} saddr != @cluster-cidrs fib saddr type != local drop`,
    // Listeners are for what comes by way of a service's address. What the node itself sends is here already translated.
    'ct status dnat return',
    `ct state new ${match} @fronts goto refuse`,
  ];
  const nat = [
    `${family} saddr @cluster-cidrs dnat ${family} to ${match} map @inside`,
    `fib saddr type local dnat ${family} to ${match} map @inside`,
    `dnat ${family} to ${match} map @outside`,
  ];
  const unknown = [
    `ct state new ${family} daddr @cluster-ips goto refuse`,
    // An address that the node has is somebody's, and is not routed away.
    `ct state new ${family} daddr @service-cidrs fib daddr type != local goto refuse`,
  ];
  const chain = (name: string, head: string, rules: readonly string[]): string =>
    `chain ${name} {${head} ${rules.map((rule) => `\n${rule}`).join('')}\n}`;
  const hooked = (name: string, type: string, priority: number, rules: readonly string[]): string[] =>
    ['prerouting', 'output'].map((hook) =>
      chain(`${name}-${hook}`, ` type ${type} hook ${hook} priority ${priority}; policy accept;`, rules),
    );
  return [
    `add table ${family} ${tableName}`,
    `delete table ${family} ${tableName}`,
    `table ${family} ${tableName} {`,
    ...sets,
    chain('refuse', '', ['meta l4proto tcp reject with tcp reset', 'reject']),
    ...hooked('filter', 'filter', -110, filter),
    ...hooked('nat', 'nat', -100, nat),
    ...hooked('unknown', 'filter', -95, unknown),
    '}\n',
  ].join('\n');
}

export class NftRedirector implements Redirector {
  readonly family: IpFamily;
  readonly #options: NftOptions;
  #text = '';
  #elements = new Set<string>();
  #isSound = false;
  #damages = 0;

  constructor(family: IpFamily, options: NftOptions) {
    this.family = family;
    this.#options = options;
  }

  get isSound(): boolean {
    return this.#isSound;
  }

  markDamaged(): void {
    this.#damages += 1;
    this.#isSound = false;
  }

  async apply(redirection: Redirection): Promise<number> {
    const elements = elementsOf(redirection);
    const text = tableText(this.family, elements);
    if (this.#isSound && text === this.#text) return 0;
    const flat = new Set([...elements].flatMap(([name, list]) => list.map((element) => `${name} ${element}`)));
    const isNew = !this.#isSound;
    const before = isNew ? new Set<string>() : this.#elements;
    const changed =
      [...flat].filter((each) => !before.has(each)).length + [...before].filter((each) => !flat.has(each)).length;
    await this.#load(text);
    this.#elements = flat;
    return Math.max(1, changed);
  }

  repair(): Promise<void> {
    return this.#text === '' ? Promise.resolve() : this.#load(this.#text);
  }

  async remove(): Promise<void> {
    this.#isSound = false;
    this.#text = '';
    await nftTransaction(
      `add table ${this.family} ${tableName}\ndelete table ${this.family} ${tableName}\n`,
      this.#options,
    );
  }

  async #load(text: string): Promise<void> {
    const damages = this.#damages;
    this.#isSound = false;
    await nftTransaction(text, this.#options);
    this.#text = text;
    this.#isSound = damages === this.#damages;
  }
}
