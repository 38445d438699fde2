/** The proxy kit's network on real nodes, of either family: two of them, one pod each, the underlay as the outside. */
import type { ProxyAnswer, ProxyBed } from '../../../kernel/conformance/proxy.ts';
import type { Proxy, ProxyCapability } from '../../../kernel/contract/index.ts';
import type { IpFamily } from '../../../netplugins/linux/service-addresses.ts';
import { clusterCidrs, createCluster, serviceCidrs, type Member } from './cluster.ts';
import { answerMs, nodeAddress, nodeAddress6, patience, repairMs, underlayAddress, type Place } from './topology.ts';

interface Scope {
  teardown(undo: () => unknown): void;
}

/** `routed`: external and balancer addresses are of it, and the underlay sends them to the node. */
export const addresses = {
  ip: {
    ...{ node: nodeAddress(0), outside: underlayAddress, services: ['10.96.0.1', '10.96.0.2'] as const },
    ...{ routed: '198.51.100.0/24', external: '198.51.100.1', balancer: '198.51.100.2' },
  },
  ip6: {
    ...{ node: nodeAddress6(0), outside: 'fd99::ffff', services: ['fd96::1', 'fd96::2'] as const },
    ...{ routed: 'fd51::/64', external: 'fd51::1', balancer: 'fd51::2' },
  },
} as const;

/** What does not depend on the family is asked in one. */
const askedOnce: readonly string[] = ['sctp', 'affinity-time-out', 'outlives-agent'] satisfies ProxyCapability[];
export const askedIn = (family: IpFamily, capabilities: readonly string[] = []): ProxyCapability[] =>
  capabilities.filter((one) => family === 'ip' || !askedOnce.includes(one)) as ProxyCapability[];

export interface ProxyBedOptions {
  open(node: Place): Promise<Proxy & AsyncDisposable>;
  /** Commands that do harm on the node: what stands between semicolons is run one after the other. */
  readonly damages: readonly string[];
  /** Puts into a command what only the node knows when it is run. */
  fillIn?(node: Place, command: string): string;
  traces(node: Place): string;
  readonly slowdown?: number;
  /** Default: IPv4. */
  readonly family?: IpFamily;
}

export type BedMember = Pick<Member, 'node' | 'pod' | 'ip' | 'peer'>;

export interface ProxyBedNetwork {
  readonly one: BedMember;
  readonly two: BedMember;
  readonly underlay: Place;
  readonly family: IpFamily;
  /** Why SCTP is not sent here; undefined: the pods listen for it on port 80 too. */
  readonly sctpProblem: string | undefined;
}

export async function createProxyBedNetwork(t: Scope, family: IpFamily = 'ip'): Promise<ProxyBedNetwork> {
  const { members, topology } = await createCluster(t, 2, { dual: family === 'ip6' });
  const [one, two] = members as [Member, Member];
  const { node, routed } = addresses[family];
  topology.underlay.run('ip', 'route', 'add', routed, 'via', node);
  if (family === 'ip6') return { ...(await inSix(one, two)), underlay: topology.underlay };
  return { one, two, underlay: topology.underlay, family, sctpProblem: await listenForSctp([one, two]) };
}

/** On port 80 of the pods. Says why it cannot be. */
export async function listenForSctp(members: readonly BedMember[]): Promise<string | undefined> {
  const sctp = await Promise.all(
    members.map(({ pod, peer }) => pod.ask({ verb: 'listenSctp', port: 80, name: peer.name })),
  );
  const error = sctp.find((answer) => answer.error !== undefined)?.error;
  if (error !== undefined && error !== 'EPROTONOSUPPORT') throw new Error(`the pods cannot listen for SCTP: ${error}`);
  return error === undefined ? undefined : `this kernel has no SCTP sockets (${error})`;
}

/** The same nodes and pods by their IPv6 addresses. */
async function inSix(one: BedMember, two: BedMember): Promise<Omit<ProxyBedNetwork, 'underlay'>> {
  one.node.run('ip', 'route', 'add', 'default', 'via', addresses.ip6.outside);
  const six = async (member: BedMember, index: number): Promise<BedMember> => {
    const { pod, peer } = member;
    const { error } = await pod.ask({ verb: 'listenUdp', port: 80, name: peer.name, address: '::' });
    if (error !== undefined) throw new Error(`${peer.name} cannot listen by IPv6: ${error}`);
    return { ...member, ip: `fd44:0:0:${index + 1}::2` };
  };
  const sctpProblem = 'tests send SCTP by IPv4 alone';
  return { one: await six(one, 0), two: await six(two, 1), family: 'ip6', sctpProblem };
}

/** On a network of its own, or on one that other cases have used before: then the proxy is purged at the end. */
export async function openProxyBed(t: Scope, options: ProxyBedOptions, shared?: ProxyBedNetwork): Promise<ProxyBed> {
  const { one, two, underlay, family, sctpProblem } = shared ?? (await createProxyBedNetwork(t, options.family));
  const { node, outside, services, external, balancer } = addresses[family];
  let running = await options.open(one.node);
  const purge = async (): Promise<void> => {
    try {
      await running.purge();
    } catch {
      // A case that failed may have left it disposed of.
      await running[Symbol.asyncDispose]();
      running = await options.open(one.node);
      await running.purge();
    }
  };
  t.teardown(async () => {
    if (shared !== undefined) await purge();
    await running[Symbol.asyncDispose]();
  });
  // On slow processors an answer may take seconds; each packet that is dropped on purpose costs as much.
  const inVainMs = options.slowdown === undefined ? patience(1_000) : 1_000 * Math.min(4, options.slowdown);
  const clients = { local: one.pod, node: one.node, outside: underlay };
  return {
    proxy: () => running,
    restart: async () => {
      await running[Symbol.asyncDispose]();
      running = await options.open(one.node);
      return running;
    },
    connect: async (from, { address, port, protocol = 'TCP', sourcePort, inVain }): Promise<ProxyAnswer> => {
      const local = sourcePort === undefined ? {} : { localPort: sourcePort };
      const place = clients[from];
      const timeoutMs = inVain === true ? inVainMs : answerMs;
      const result =
        protocol === 'TCP'
          ? await place.tcp(address, port, { timeoutMs })
          : protocol === 'SCTP'
            ? await place.sctp(address, port, { timeoutMs })
            : await place.udp(address, port, { timeoutMs, ...local });
      if (result.error === 'ECONNREFUSED') return 'refused';
      if (result.answer === undefined) return 'dropped';
      const [name, client = ''] = result.answer.split(' ');
      return { endpoint: name === one.peer.name ? 'local' : 'remote', client };
    },
    localAddress: one.ip,
    remoteAddress: two.ip,
    nodeAddress: node,
    outsideAddress: outside,
    clusterCidrs,
    sctpProblem,
    serviceCidrs,
    serviceAddresses: services,
    externalAddress: external,
    balancerAddress: balancer,
    traces: async () => options.traces(one.node),
    slowdown: options.slowdown,
    repairMs,
    damages: options.damages.map((what) => ({
      what,
      inflict: async () => {
        for (const part of what.split(';')) {
          const command = options.fillIn?.(one.node, part) ?? part;
          const [name = '', ...args] = command.trim().split(' ');
          one.node.run(name, ...args);
        }
      },
    })),
  };
}
