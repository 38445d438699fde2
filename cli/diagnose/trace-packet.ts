/** Follows a packet from node to node: each is asked for its part of the way. */
import { isIP } from 'node:net';
import { PintleError, type Cluster, type Protocol } from '../../kernel/contract/index.ts';
import type { Pod } from '../../kernel/contract/kubernetes.ts';
import type { NetworkQuestion, TraceAnswer, TraceFlow, TracePath } from '../../kernel/contract/network-view.ts';
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
}

/** A NodePort's packet meets at most three nodes; a loop of routes would go on for ever. */
const maxHops = 4;

export async function tracePacket(
  connection: Connection,
  from: string,
  to: string,
  scope: Scope,
): Promise<PacketTrace> {
  const { cluster } = connection;
  const [source, flow] = [await sourceOf(cluster, from, scope.namespace), await flowOf(cluster, to, scope)];
  return {
    from: source.shown,
    to: `${to} (${flow.destination}:${flow.port} ${flow.protocol})`,
    flow,
    hop: await hopAt(connection, source.node, { ask: 'trace', from: source.from, flow }, 1),
  };
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

async function sourceOf(
  cluster: Cluster,
  text: string,
  namespace: string,
): Promise<{
  readonly node: string;
  readonly shown: string;
  readonly from: Extract<NetworkQuestion, { ask: 'trace' }>['from'];
}> {
  const [, kind, name = ''] = /^(pods?|po|nodes?|no)\/([^/:]+)$/.exec(text) ?? [];
  if (kind === undefined) throw wrong(`the packet's source "${text}"`, 'pod/NAME or node/NAME');
  if (kind.startsWith('n')) {
    await cluster.get(resources.nodes, { name });
    return { node: name, shown: `node ${name}`, from: { kind: 'node' } };
  }
  const pod = await podOf(cluster, namespace, name);
  const { podIP: address = '' } = pod.status ?? {};
  const node = pod.spec.nodeName ?? '';
  return {
    node,
    shown: `pod ${namespace}/${name} (${address}, node ${node})`,
    from: pod.spec.hostNetwork === true ? { kind: 'node' } : { kind: 'pod', address },
  };
}

async function flowOf(cluster: Cluster, text: string, { protocol, toNamespace }: Scope): Promise<TraceFlow> {
  const plain = /^\[?([0-9a-fA-F.:]+?)\]?:(\d+)$/.exec(text);
  if (plain && isIP(plain[1]!) !== 0) return { protocol, destination: plain[1]!, port: portOf(plain[2]!) };
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
    return { protocol, destination: clusterIP, port: port.port };
  }
  if (kind.startsWith('p')) {
    const pod = await podOf(cluster, toNamespace, name);
    const declared = pod.spec.containers.flatMap((each) => each.ports ?? [])[0]?.containerPort;
    const port = given === undefined ? declared : portOf(given);
    if (port === undefined) throw wrong(`pod ${name} declares no port`, `pod/${name}:PORT`);
    return { protocol, destination: pod.status!.podIP!, port };
  }
  if (given === undefined) throw wrong(`node ${name} without a port`, `node/${name}:PORT`);
  const node = await cluster.get(resources.nodes, { name });
  const address = node.status?.addresses?.find((each) => each.type === 'InternalIP')?.address;
  if (address === undefined) throw new PintleError('UNAVAILABLE', `node ${name} has no address yet`);
  return { protocol, destination: address, port: portOf(given) };
}

function portOf(text: string): number {
  const port = Number(text);
  if (!Number.isInteger(port) || port < 1 || port > 65_535)
    throw wrong(`the port "${text}"`, 'a number from 1 to 65535');
  return port;
}
