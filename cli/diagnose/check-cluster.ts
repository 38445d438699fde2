/** Looks at every node, and sends packets between all of them: over the overlay and beside it. */
import type { Node } from '../../kernel/contract/kubernetes.ts';
import type { Finding, Listening, ProbeResult, ProbeTarget } from '../../kernel/contract/network-view.ts';
import { resources } from '../../kernel/machinery/resources.ts';
import type { Connection } from '../../plugins/clusters/remote/connect.ts';
import { askNode } from './ask-node.ts';

export interface NodeFinding extends Finding {
  /** "node-1", or "node-1 -> node-2". */
  readonly where: string;
}

export interface ClusterCheck {
  readonly nodes: number;
  /** Pairs of nodes, each direction for itself, over the overlay and over the underlay. */
  readonly probes: number;
  readonly findings: readonly NodeFinding[];
}

interface Probe {
  readonly from: string;
  readonly over: 'overlay' | 'underlay';
  readonly target: ProbeTarget;
  readonly result: ProbeResult;
}

const listenSeconds = 120;

export async function checkCluster(connection: Connection, say: (line: string) => void): Promise<ClusterCheck> {
  const nodes = (await connection.cluster.list(resources.nodes)).items;
  const findings: NodeFinding[] = nodes.flatMap(unready);
  const listening = new Map<string, Listening>();
  for (const { metadata } of nodes) {
    const where = metadata.name;
    say(`node ${where}`);
    try {
      for (const finding of await askNode(connection, where, { ask: 'findings' })) findings.push({ where, ...finding });
      listening.set(where, await askNode(connection, where, { ask: 'listen', seconds: listenSeconds }));
    } catch (error) {
      findings.push({
        where,
        check: 'agent',
        text: `its agent does not answer: ${(error as Error).message}`,
        cure: 'look at the agent on that node: pintle status, and its log',
        isFatal: true,
      });
    }
  }
  const probes: Probe[] = [];
  for (const from of listening.keys()) {
    say(`from ${from} to ${listening.size - 1} others`);
    probes.push(...(await probesFrom(connection, from, listening)));
  }
  return { nodes: nodes.length, probes: probes.length, findings: [...findings, ...judge(probes, listening)] };
}

function unready(node: Node): readonly NodeFinding[] {
  const ready = node.status?.conditions?.find((each) => each.type === 'Ready');
  if (ready?.status === 'True') return [];
  const text = `node is not ready: ${ready?.message ?? 'it has not said anything yet'}`;
  const cure = `kubectl describe node ${node.metadata.name}; is its agent running, and does it reach the API server?`;
  return [{ where: node.metadata.name, check: 'node', text, cure, isFatal: true }];
}

async function probesFrom(
  connection: Connection,
  from: string,
  listening: ReadonlyMap<string, Listening>,
): Promise<readonly Probe[]> {
  const wanted = [...listening].flatMap(
    ([node, { overlay, underlay, tcpPort, udpPort, podMtuBytes, underlayMtuBytes }]) => {
      if (node === from) return [];
      const own = listening.get(from)!;
      const target = (over: Probe['over'], addresses: readonly string[], mtuBytes: number) =>
        addresses.slice(0, 1).map((address) => ({ over, target: { node, address, tcpPort, udpPort, mtuBytes } }));
      return [
        ...target('overlay', overlay, Math.min(podMtuBytes, own.podMtuBytes)),
        ...target('underlay', underlay, Math.min(underlayMtuBytes, own.underlayMtuBytes)),
      ];
    },
  );
  if (wanted.length === 0) return [];
  return Promise.all(
    wanted.map(async (each) => {
      const [result] = await askNode(connection, from, { ask: 'probe', targets: [each.target] });
      return { from, ...each, result: result! };
    }),
  );
}

/** What the probes of a pair say together: the overlay is not blamed for its underlay. */
export function judge(probes: readonly Probe[], listening: ReadonlyMap<string, Listening>): readonly NodeFinding[] {
  const found: NodeFinding[] = [];
  for (const { from, over, target, result } of probes) {
    const where = `${from} -> ${target.node}`;
    const beside = probes.find(
      (each) => each.from === from && each.target.node === target.node && each.over === 'underlay',
    );
    if (over === 'overlay' && beside !== undefined && isBad(beside.result) && isSameTrouble(beside.result, result))
      continue;
    const finding = judgeOne(over, target, result);
    if (finding) found.push({ where, ...finding });
  }
  for (const [where, { overlay }] of listening)
    if (overlay.length === 0)
      found.push({
        where,
        check: 'overlay',
        text: 'the node has no address inside its pod range, so its overlay could not be probed',
        cure: `kubectl get node ${where} -o wide; pintle trace from a pod of another node to one there shows the way`,
        isFatal: false,
      });
  return found;
}

const isBad = (result: ProbeResult): boolean => result.roundTripMs === undefined || !result.fullSize || !result.bulk;
const isSameTrouble = (a: ProbeResult, b: ProbeResult): boolean =>
  (a.roundTripMs === undefined) === (b.roundTripMs === undefined);

function judgeOne(over: Probe['over'], target: ProbeTarget, result: ProbeResult): Finding | undefined {
  if (result.roundTripMs === undefined) {
    return over === 'overlay'
      ? {
          check: 'overlay-reach',
          text: `no packet reaches ${target.address} over the overlay, though the node itself is reached: a firewall between the nodes, or on them, blocks the overlay's packets (VXLAN: UDP 8472; flannel-udp: UDP 8285), or the overlay of one of them is not in place`,
          cure: `let that port through between the nodes; pintle trace node/FROM ${target.address}:${target.tcpPort} shows the way`,
          isFatal: true,
        }
      : {
          check: 'underlay-reach',
          text: `no packet reaches ${target.address}: node ${target.node} is down, or a firewall blocks UDP between the nodes`,
          cure: `ping ${target.address}; look at the firewalls of both nodes and between them`,
          isFatal: true,
        };
  }
  if (!result.fullSize)
    return {
      check: `${over}-mtu`,
      text: `packets of ${target.mtuBytes} bytes are lost on the way to ${target.address}, the largest that came back has ${result.largestBytes ?? 0}: connections open and then stall`,
      cure:
        over === 'overlay'
          ? `the underlay carries less than its interfaces say: set their MTU to what it carries, and restart the agents`
          : `set the MTU of both nodes' interfaces to at most ${result.largestBytes ?? 0}`,
      isFatal: true,
    };
  if (!result.bulk)
    return {
      check: `${over}-bulk`,
      text: `256 KiB over one TCP connection to ${target.address} do not come through, though datagrams of full size do: a checksum or segmentation offload spoils them, or TCP is blocked`,
      cure: 'ethtool -K flannel.1 tx-checksum-ip-generic off on both nodes, when the overlay is VXLAN; look for firewalls of TCP',
      isFatal: true,
    };
  return undefined;
}
