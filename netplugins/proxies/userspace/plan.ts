/**
 * Which listeners the ports of Services need, and where traffic to each address of theirs is sent. Pure; the semantics of
 * this proxy are here.
 */
import type { ProxyEndpoint, ProxyPort } from '../../../kernel/contract/index.ts';
import { canonicalIp } from '../../linux/ip-address.ts';
import {
  addressesOf,
  isOfFamily,
  portId,
  sourceRangesOf,
  usable,
  type Context,
} from '../../linux/service-addresses.ts';

export type Transport = 'tcp' | 'udp';

export interface Target {
  readonly address: string;
  readonly port: number;
}

/** One list of endpoints behind one listener. */
export interface Pool {
  readonly id: string;
  readonly transport: Transport;
  readonly targets: readonly Target[];
  /** Endpoints whose UDP flows may go on: those that terminate included. */
  readonly living: ReadonlySet<string>;
  /** Pools of one port share their clients' affinity. */
  readonly affinity: { readonly group: string; readonly seconds: number } | undefined;
}

/** The id of a pool, or `refuse` or `drop`. */
export type Way = string;
export const refuse = '!refuse';
export const drop = '!drop';

export interface Portal {
  readonly ip: string;
  readonly transport: Transport;
  readonly port: number;
  readonly isNodePort: boolean;
  /** For pods and the node itself. */
  readonly inside: Way;
  readonly outside: Way;
  /** Everybody else is dropped; undefined: no restriction. */
  readonly sources: readonly string[] | undefined;
}

export interface Plan {
  readonly pools: ReadonlyMap<string, Pool>;
  /** By "ip . protocol . port"; of two claims the first counts. */
  readonly portals: ReadonlyMap<string, Portal>;
  /** What is addressed to one of these and meets no portal is refused. */
  readonly clusterIps: readonly string[];
}

export const targetKey = ({ address, port }: Target): string => `${address} ${port}`;

function targetsOf(endpoints: readonly ProxyEndpoint[]): Target[] {
  const found = new Map<string, Target>();
  for (const { address, port } of endpoints) {
    const target = { address: canonicalIp(address), port };
    found.set(targetKey(target), target);
  }
  return [...found.values()];
}

export function planOf(ports: readonly ProxyPort[], context: Context): Plan {
  const pools = new Map<string, Pool>();
  const portals = new Map<string, Portal>();
  const clusterIps = new Set<string>();
  for (const port of ports) {
    for (const ip of addressesOf(port.clusterIps, context.family)) clusterIps.add(ip);
    if (port.protocol !== 'SCTP') planPort(port, context, pools, portals);
  }
  return { pools, portals, clusterIps: [...clusterIps] };
}

function planPort(port: ProxyPort, context: Context, pools: Map<string, Pool>, portals: Map<string, Portal>): void {
  const { family, nodeAddresses } = context;
  const transport = port.protocol === 'TCP' ? 'tcp' : 'udp';
  const endpoints = port.endpoints.filter(({ address }) => isOfFamily(address, family));
  const all = targetsOf(usable(endpoints));
  const local = targetsOf(usable(endpoints.filter((endpoint) => endpoint.local)));
  const living = new Set(targetsOf(endpoints.filter(({ ready, serving }) => ready || serving)).map(targetKey));
  const group = portId(port);
  const pool = (kind: 'all' | 'local'): Way => {
    const targets = kind === 'all' ? all : local;
    if (all.length === 0) return refuse;
    if (targets.length === 0) return drop;
    const id = `${group} ${kind}`;
    const affinity = port.affinitySeconds === undefined ? undefined : { group, seconds: port.affinitySeconds };
    pools.set(id, { id, transport, targets, living, affinity });
    return id;
  };
  const add = (portal: Omit<Portal, 'transport'>): void => {
    const key = `${portal.ip} . ${transport} . ${portal.port}`;
    if (!portals.has(key)) portals.set(key, { ...portal, transport });
  };
  const external = (ip: string, number: number, isNodePort: boolean, sources: readonly string[] | undefined): void => {
    const inside = pool('all');
    const outside = port.externalPolicy === 'Local' ? pool('local') : inside;
    add({ ip, port: number, isNodePort, inside, outside, sources });
  };
  for (const ip of addressesOf(port.clusterIps, family)) {
    const way = pool(port.internalPolicy === 'Local' ? 'local' : 'all');
    add({ ip, port: port.port, isNodePort: false, inside: way, outside: way, sources: undefined });
  }
  for (const ip of addressesOf(port.externalIps, family)) external(ip, port.port, false, undefined);
  for (const ip of addressesOf(port.loadBalancerIps, family))
    external(ip, port.port, false, sourceRangesOf(port, ip, context));
  if (port.nodePort !== undefined) for (const ip of nodeAddresses) external(ip, port.nodePort, true, undefined);
}
