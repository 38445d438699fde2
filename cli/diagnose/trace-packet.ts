/** Follows a packet from node to node: each is asked for its part of the way. */
import { isIP } from 'node:net';
import { PintleError, type Cluster, type Protocol } from '../../kernel/contract/index.ts';
import type { Pod } from '../../kernel/contract/kubernetes.ts';
import type { NetworkQuestion, TraceAnswer, TraceFlow, TracePath } from '../../kernel/contract/network-view.ts';
import { internalAddresses } from '../../kernel/machinery/node-address.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import type { Connection } from '../../plugins/clusters/remote/connect.ts';
import { askNode } from './ask-node.ts';

/** What one node does with the packet. */
export interface Hop extends Omit<TraceAnswer, 'paths'> {
  readonly node: string;
  readonly paths: readonly (TracePath & { readonly next?: Hop })[];
}

export interface PacketTrace {
  readonly from: string;
  readonly to: string;
  readonly flow: TraceFlow;
  readonly hop: Hop;
}

export interface Scope {
  readonly namespace: string;
  readonly toNamespace: string;
  readonly protocol: Protocol;
  /** Undefined: each that both ends have. */
  readonly family?: Family | undefined;
}

export type Family = 'ipv4' | 'ipv6';
const familyOf = (address: string): Family => (address.includes(':') ? 'ipv6' : 'ipv4');

/** A NodePort's packet meets at most three nodes; a loop of routes would go on for ever. */
const maxHops = 4;

/** One trace of each family, that of the destination's main family first. */
export async function tracePacket(
  connection: Connection,
  from: string,
  to: string,
  scope: Scope,
): Promise<readonly PacketTrace[]> {
  const { cluster } = connection;
  const [source, target] = [await sourceOf(cluster, from, scope.namespace), await targetOf(cluster, to, scope)];
  return Promise.all(
    pairsOf(source, target, scope.family).map(async ({ address, destination }): Promise<PacketTrace> => {
      const flow = { protocol: scope.protocol, destination, port: target.port };
      const begin = source.isOwn ? ({ kind: 'pod', address } as const) : ({ kind: 'node' } as const);
      return {
        from: `${source.what} (${address}${source.isNode ? '' : `, node ${source.node}`})`,
        to: `${to} (${destination.includes(':') ? `[${destination}]` : destination}:${flow.port} ${flow.protocol})`,
        flow,
        hop: await hopAt(connection, source.node, { ask: 'trace', from: begin, flow }, 1),
      };
    }),
  );
}

interface Ends {
  readonly address: string;
  readonly destination: string;
}

/** Families that only the destination has are left out, unless it has no other: how such a packet dies is worth seeing. */
function pairsOf(source: Source, target: Target, wanted: Family | undefined): readonly Ends[] {
  const asked = target.addresses.filter((one) => wanted === undefined || familyOf(one) === wanted);
  const [first] = asked;
  if (first === undefined)
    throw wrong(
      `the packet's destination has no address of family ${wanted}`,
      `one of ${[...new Set(target.addresses.map(familyOf))].join(', ')}`,
    );
  const ofEach = new Map(asked.toReversed().map((one) => [familyOf(one), one]));
  const both = source.addresses.flatMap((address): Ends[] => {
    const destination = ofEach.get(familyOf(address));
    ofEach.delete(familyOf(address));
    return destination === undefined ? [] : [{ address, destination }];
  });
  if (both.length === 0) return [{ address: source.addresses[0] ?? '', destination: first }];
  const isMain = ({ destination }: Ends): number => (destination === first ? 0 : 1);
  return both.sort((a, b) => isMain(a) - isMain(b));
}

async function hopAt(
  connection: Connection,
  node: string,
  question: Extract<NetworkQuestion, { ask: 'trace' }>,
  depth: number,
): Promise<Hop> {
  const answer = await askNode(connection, node, question);
  const paths = await Promise.all(
    answer.paths.map(async (path) => {
      if (path.end.kind !== 'leaves' || path.end.node === undefined || depth === maxHops) return path;
      const arrival = { ask: 'trace', from: { kind: 'arrival' }, flow: path.flow } as const;
      return { ...path, next: await hopAt(connection, path.end.node, arrival, depth + 1) };
    }),
  );
  return { node, inPod: answer.inPod, onNode: answer.onNode, paths };
}

/** Of all ways that the packet may take, the worst. */
export type Verdict =
  /** Every way ends in a pod or at a process of a node. */
  | 'arrives'
  /** One goes out of the cluster, where nobody can be asked. */
  | 'leaves'
  /** One goes from node to node more often than a packet should. */
  | 'strays'
  | 'dies';

const fromBest: readonly Verdict[] = ['arrives', 'leaves', 'strays', 'dies'];

export function verdictOf(hop: Hop): Verdict {
  const verdicts = hop.paths.map(({ end, next }): Verdict => {
    if (end.kind === 'dies') return 'dies';
    if (end.kind !== 'leaves') return 'arrives';
    if (end.node === undefined) return 'leaves';
    return next === undefined ? 'strays' : verdictOf(next);
  });
  return verdicts.reduce<Verdict>(
    (worst, one) => (fromBest.indexOf(one) > fromBest.indexOf(worst) ? one : worst),
    verdicts.length === 0 ? 'dies' : 'arrives',
  );
}

const wrong = (what: string, expected: string) => new PintleError('BAD_REQUEST', `${what}: expected ${expected}`);

async function podOf(cluster: Cluster, namespace: string, name: string): Promise<Pod> {
  const pod = await cluster.get(resources.pods, { namespace, name });
  if (pod.status?.podIP === undefined)
    throw new PintleError(
      'UNAVAILABLE',
      `pod ${namespace}/${name} has no address yet (${pod.status?.phase ?? 'no phase'}); kubectl describe pod ${name} says why`,
    );
  return pod;
}

interface Source {
  readonly what: string;
  readonly node: string;
  readonly isNode: boolean;
  /** It has a network namespace of its own. */
  readonly isOwn: boolean;
  readonly addresses: readonly string[];
}

async function sourceOf(cluster: Cluster, text: string, namespace: string): Promise<Source> {
  const [, kind, name = ''] = /^(pods?|po|nodes?|no)\/([^/:]+)$/.exec(text) ?? [];
  if (kind === undefined) throw wrong(`the packet's source "${text}"`, 'pod/NAME or node/NAME');
  if (kind.startsWith('n')) {
    const node = await cluster.get(resources.nodes, { name });
    return { what: `node ${name}`, node: name, isNode: true, isOwn: false, addresses: internalAddresses(node) };
  }
  const pod = await podOf(cluster, namespace, name);
  return {
    what: `pod ${namespace}/${name}`,
    node: pod.spec.nodeName ?? '',
    isNode: false,
    isOwn: pod.spec.hostNetwork !== true,
    addresses: podAddresses(pod),
  };
}

function podAddresses({ status }: Pod): readonly string[] {
  const all = (status?.podIPs ?? []).flatMap(({ ip }) => ip ?? []);
  return all.length > 0 ? all : [status?.podIP ?? []].flat();
}

interface Target {
  readonly addresses: readonly string[];
  readonly port: number;
}

async function targetOf(cluster: Cluster, text: string, { protocol, toNamespace }: Scope): Promise<Target> {
  const plain = /^\[?([0-9a-fA-F.:]+?)\]?:(\d+)$/.exec(text);
  if (plain && isIP(plain[1]!) !== 0) return { addresses: [plain[1]!], port: portOf(plain[2]!) };
  const [, kind, name = '', given] =
    /^(svc|services?|pods?|po|nodes?|no)\/([^/:]+)(?::([a-z0-9-]+))?$/.exec(text) ?? [];
  if (kind === undefined)
    throw wrong(`the packet's destination "${text}"`, 'svc/NAME:PORT, pod/NAME:PORT, node/NAME:PORT or ADDRESS:PORT');
  if (kind.startsWith('s')) {
    const service = await cluster.get(resources.services, { namespace: toNamespace, name });
    const ports = (service.spec.ports ?? []).filter((each) => (each.protocol ?? 'TCP') === protocol);
    const port =
      given === undefined ? ports[0] : ports.find((each) => String(each.port) === given || each.name === given);
    if (port === undefined)
      throw wrong(
        `Service ${name} has no ${protocol} port ${given ?? ''}`.trimEnd(),
        `one of ${(service.spec.ports ?? []).map((each) => `${each.port}/${each.protocol ?? 'TCP'}`).join(', ') || 'none'}`,
      );
    const { clusterIP } = service.spec;
    if (clusterIP === undefined || clusterIP === '' || clusterIP === 'None')
      throw wrong(`Service ${name} has no cluster address`, 'a pod behind it: pod/NAME:PORT');
    return { addresses: service.spec.clusterIPs ?? [clusterIP], port: port.port };
  }
  if (kind.startsWith('p')) {
    const pod = await podOf(cluster, toNamespace, name);
    const declared = pod.spec.containers.flatMap((each) => each.ports ?? [])[0]?.containerPort;
    const port = given === undefined ? declared : portOf(given);
    if (port === undefined) throw wrong(`pod ${name} declares no port`, `pod/${name}:PORT`);
    return { addresses: podAddresses(pod), port };
  }
  if (given === undefined) throw wrong(`node ${name} without a port`, `node/${name}:PORT`);
  const addresses = internalAddresses(await cluster.get(resources.nodes, { name }));
  if (addresses.length === 0) throw new PintleError('UNAVAILABLE', `node ${name} has no address yet`);
  return { addresses, port: portOf(given) };
}

function portOf(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw wrong(`the port "${text}"`, 'a number from 1 to 65535');
  return port;
}
