/** The proxy kit's network on real nodes: two of them, one pod each, the underlay as the outside. */
import { availableParallelism, loadavg } from 'node:os';
import type { ProxyAnswer, ProxyBed } from '../../../kernel/conformance/proxy.ts';
import type { Proxy } from '../../../kernel/contract/index.ts';
import { clusterCidrs, createCluster, serviceCidrs, type Member } from './cluster.ts';
import { nodeAddress, underlayAddress, type Place } from './topology.ts';

interface Scope {
  teardown(undo: () => unknown): void;
}

const external = '198.51.100.1';
const balancer = '198.51.100.2';

export interface ProxyBedOptions {
  open(node: Place): Promise<Proxy & AsyncDisposable>;
  /** Commands that do harm on the node: what stands between semicolons is run one after the other. */
  readonly damages: readonly string[];
  /** Puts into a command what only the node knows when it is run. */
  fillIn?(node: Place, command: string): string;
  traces(node: Place): string;
  readonly slowdown?: number;
}

export interface ProxyBedNetwork {
  readonly one: Member;
  readonly two: Member;
  readonly underlay: Place;
  /** Why SCTP is not sent here; undefined: the pods listen for it on port 80 too. */
  readonly sctpProblem: string | undefined;
}

export async function createProxyBedNetwork(t: Scope): Promise<ProxyBedNetwork> {
  const { members, topology } = await createCluster(t, 2);
  const [one, two] = members as [Member, Member];
  topology.underlay.run('ip', 'route', 'add', '198.51.100.0/24', 'via', nodeAddress(0));
  const sctp = await Promise.all(
    [one, two].map(({ pod, peer }) => pod.ask({ verb: 'listenSctp', port: 80, name: peer.name })),
  );
  const error = sctp.find((answer) => answer.error !== undefined)?.error;
  if (error !== undefined && error !== 'EPROTONOSUPPORT') throw new Error(`the pods cannot listen for SCTP: ${error}`);
  const sctpProblem = error === undefined ? undefined : `this kernel has no SCTP sockets (${error})`;
  return { one, two, underlay: topology.underlay, sctpProblem };
}

/** On a network of its own, or on one that other cases have used before: then the proxy is purged at the end. */
export async function openProxyBed(t: Scope, options: ProxyBedOptions, shared?: ProxyBedNetwork): Promise<ProxyBed> {
  const { one, two, underlay, sctpProblem } = shared ?? (await createProxyBedNetwork(t));
  let running = await options.open(one.node);
  t.teardown(async () => {
    await running[Symbol.asyncDispose]();
    if (shared === undefined) return;
    const last = await options.open(one.node);
    await last.purge();
    await last[Symbol.asyncDispose]();
  });
  // On slow processors an answer may take seconds; each packet that is dropped on purpose costs as much.
  const timeoutMs = 1_000 * Math.min(4, options.slowdown ?? 1);
  const clients = { local: one.pod, node: one.node, outside: underlay };
  return {
    proxy: () => running,
    restart: async () => {
      await running[Symbol.asyncDispose]();
      running = await options.open(one.node);
      return running;
    },
    connect: async (from, { address, port, protocol = 'TCP', sourcePort }): Promise<ProxyAnswer> => {
      const local = sourcePort === undefined ? {} : { localPort: sourcePort };
      const place = clients[from];
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
    nodeAddress: nodeAddress(0),
    outsideAddress: underlayAddress,
    clusterCidrs,
    sctpProblem,
    serviceCidrs,
    serviceAddresses: ['10.96.0.1', '10.96.0.2'],
    externalAddress: external,
    balancerAddress: balancer,
    traces: async () => options.traces(one.node),
    slowdown: options.slowdown,
    // Two seconds are for a machine that has time.
    repairMs: 2_000 * Math.max(1, loadavg()[0]! / availableParallelism()),
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
