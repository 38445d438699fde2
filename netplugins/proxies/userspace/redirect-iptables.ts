/** Redirection by iptables, where there is no nft. Owns the chains PINTLEUS-* of one address family. */
import { createHash } from 'node:crypto';
import type { Picture } from '../../linux/iptables-picture.ts';
import type { OwnedChains } from '../../linux/owned-chains.ts';
import type { IpFamily } from '../../linux/service-addresses.ts';
import { serviceRangeRules } from '../../linux/service-range-rules.ts';
import { drop, refuse, type Portal } from './plan.ts';
import type { Redirection, Redirector } from './redirect.ts';

export const prefix = 'PINTLEUS-';

const hash = (text: string): string => createHash('sha256').update(text).digest('hex').slice(0, 16).toUpperCase();

/** Pure. */
export function pictureOf({ plan, context, address, ports }: Redirection): Picture {
  const bits = context.family === 'ip' ? 32 : 128;
  const chains = new Map<string, string>();
  const portals = new Map<string, string>();
  const drops = new Map<string, string>();
  const rejects = new Map<string, string>();
  const unknown = new Map<string, string>();
  const fronts = new Map<string, string>();
  const to = (port: number): string => (context.family === 'ip' ? `${address}:${port}` : `[${address}]:${port}`);
  const match = ({ ip, transport, port }: Pick<Portal, 'ip' | 'transport' | 'port'>): string =>
    `-d ${ip}/${bits} -p ${transport} -m ${transport} --dport ${port}`;
  const unreachable = `${context.family === 'ip' ? 'icmp' : 'icmp6'}-port-unreachable`;
  const refusal = (transport: string): string =>
    `-j REJECT --reject-with ${transport === 'tcp' ? 'tcp-reset' : unreachable}`;
  for (const [key, portal] of plan.portals) {
    const { inside, outside, sources, transport } = portal;
    const rule = match(portal);
    if (inside === refuse) rejects.set(key, `${rule} ${refusal(transport)}`);
    if (inside === drop || outside === drop || sources !== undefined) drops.set(key, `${rule} -j DROP`);
    const [all, others] = [ports.get(inside), ports.get(outside)];
    if (all === undefined) continue;
    const dnat = (port: number): string => `-p ${transport} -j DNAT --to-destination ${to(port)}`;
    if (inside === outside && sources === undefined) {
      portals.set(key, `${rule} -j DNAT --to-destination ${to(all)}`);
      continue;
    }
    const chain = `${prefix}${hash(key)}`;
    const ways = [
      ...context.clusterCidrs.map((cidr) => `-s ${cidr} ${dnat(all)}`),
      `-m addrtype --src-type LOCAL ${dnat(all)}`,
      ...(others === undefined ? [] : [dnat(others)]),
    ];
    if (sources === undefined) chains.set(chain, ways.join('\n'));
    else {
      chains.set(`${prefix}W-${hash(key)}`, ways.join('\n'));
      chains.set(chain, sources.map((source) => `-s ${source} -j ${prefix}W-${hash(key)}`).join('\n'));
    }
    portals.set(key, `${rule} -j ${chain}`);
  }
  for (const ip of plan.clusterIps) unknown.set(ip, `-d ${ip}/${bits} -j ${prefix}REFUSE`);
  for (const [id, port] of ports) {
    const transport = plan.pools.get(id)?.transport ?? 'tcp';
    fronts.set(id, `${match({ ip: address, transport, port })} ${refusal(transport)}`);
  }
  const into = (name: string): string => `-m comment --comment "pintle userspace proxy" -j ${prefix}${name}`;
  return {
    nat: {
      chains,
      lists: new Map([[`${prefix}PORTALS`, portals]]),
      hooks: ['PREROUTING', 'OUTPUT'].map((chain) => ({ chain, rule: into('PORTALS') })),
    },
    filter: {
      chains: new Map([
        [
          `${prefix}UNSERVED`,
          [
            '-m conntrack --ctstate DNAT -j RETURN',
            ...['DROP', 'REJECT', 'FRONTS', 'UNKNOWN'].map((name) => `-j ${prefix}${name}`),
            ...serviceRangeRules(context.serviceCidrs, `${prefix}REFUSE`),
          ].join('\n'),
        ],
        [`${prefix}REFUSE`, ['-p tcp -j REJECT --reject-with tcp-reset', refusal('any')].join('\n')],
      ]),
      lists: new Map([
        [`${prefix}DROP`, drops],
        [`${prefix}REJECT`, rejects],
        [`${prefix}FRONTS`, fronts],
        [`${prefix}UNKNOWN`, unknown],
      ]),
      hooks: ['INPUT', 'FORWARD', 'OUTPUT'].map((chain) => ({
        chain,
        rule: `-m conntrack --ctstate NEW ${into('UNSERVED')}`,
      })),
    },
  };
}

export class IptablesRedirector implements Redirector {
  readonly family: IpFamily;
  readonly #chains: OwnedChains;
  #picture: Picture | undefined;

  constructor(chains: OwnedChains) {
    this.family = chains.family;
    this.#chains = chains;
  }

  get isSound(): boolean {
    return this.#chains.isSound;
  }

  async apply(redirection: Redirection): Promise<number> {
    const picture = pictureOf(redirection);
    const changed = await this.#chains.apply(picture);
    this.#picture = picture;
    return changed;
  }

  async repair(): Promise<void> {
    if (this.#picture !== undefined) await this.#chains.apply(this.#picture);
  }

  async remove(): Promise<void> {
    this.#picture = undefined;
    await this.#chains.remove();
  }
}
