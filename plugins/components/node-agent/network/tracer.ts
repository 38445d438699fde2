/** Answers `pintle trace` for this node: pod, Service, routes, tunnel, pod. */
import {
  PintleError,
  type Attached,
  type NetworkQuestion,
  type Peer,
  type Proxy,
  type Sandbox,
  type ServiceVerdict,
  type TraceAnswer,
  type TraceFlow,
  type TracePath,
  type TraceStep,
} from '../../../../kernel/contract/index.ts';
import { openConntrack } from '../../../../netplugins/linux/conntrack.ts';
import { familyOf } from '../../../../netplugins/linux/ip-address.ts';
import { openRtnetlink } from '../../../../netplugins/linux/rtnetlink.ts';
import { readSysctl } from '../../../../netplugins/linux/sysctl.ts';
import { forwardChains } from '../../../../netplugins/linux/trace/firewall.ts';
import { intoSocket, outOfPod } from '../../../../netplugins/linux/trace/pod-side.ts';
import { showConntrack } from '../../../../netplugins/linux/trace/show.ts';
import { wayFrom, type NodeView } from '../../../../netplugins/linux/trace/walk.ts';

export interface NetworkParts {
  readonly nodeName: string;
  readonly runtime: { listSandboxes(): Promise<readonly Pick<Sandbox, 'id' | 'netns'>[]> };
  readonly attachment: { list(): Promise<readonly Pick<Attached, 'sandboxId' | 'ips'>[]> };
  readonly proxy: Proxy;
  podCidrs(): readonly string[];
  peers(): readonly Peer[];
}

type TraceQuestion = Extract<NetworkQuestion, { ask: 'trace' }>;

const protocolNumbers = { TCP: 6, UDP: 17, SCTP: 132 } as const;
const shownConnections = 2;

export async function trace(parts: NetworkParts, { from, flow }: TraceQuestion): Promise<TraceAnswer> {
  const rt = openRtnetlink();
  try {
    const pods = await podsOf(parts);
    const isForwarded = from.kind !== 'node';
    let inPod: readonly TraceStep[] = [];
    const onNode: TraceStep[] = [];
    if (from.kind === 'pod') {
      const netns = pods.get(from.address);
      if (netns === undefined)
        throw new PintleError('NOT_FOUND', `no pod of node ${parts.nodeName} has the address ${from.address}`);
      const side = outOfPod({ address: from.address, netns }, flow.destination, rt);
      inPod = side.inPod;
      onNode.push(...side.onNode);
      if (side.isDead) return { inPod, onNode, paths: [] };
    }
    if (isForwarded) onNode.push(...(await forwarding(flow)));
    const service = await throughService(parts, flow, from.kind === 'arrival' ? 'outside' : from.kind);
    onNode.push(...service.steps, ...connections(flow));
    const view: NodeView = {
      name: parts.nodeName,
      rt,
      peers: parts.peers(),
      podAddresses: new Set(pods.keys()),
      podCidrs: parts.podCidrs(),
    };
    return { inPod, onNode, paths: service.flows.map((each) => pathOf(view, each, pods)) };
  } finally {
    rt.close();
  }
}

function pathOf(view: NodeView, flow: TraceFlow, pods: ReadonlyMap<string, string>): TracePath {
  const { steps, end } = wayFrom(view, flow.destination);
  if (end.kind !== 'pod' && end.kind !== 'node') return { flow, steps, end };
  const netns = end.kind === 'pod' ? pods.get(end.address) : undefined;
  const socket = intoSocket(netns, flow);
  if (socket === undefined) return { flow, steps, end };
  return { flow, steps: [...steps, socket], end: socket.problem?.isFatal === true ? { kind: 'dies' } : end };
}

/** Address and network namespace of every pod with a namespace of its own. */
async function podsOf({ runtime, attachment }: NetworkParts): Promise<ReadonlyMap<string, string>> {
  const [sandboxes, attached] = await Promise.all([runtime.listSandboxes(), attachment.list()]);
  const netns = new Map(sandboxes.map((each) => [each.id, each.netns]));
  return new Map(
    attached.flatMap(({ sandboxId, ips }) => {
      const path = netns.get(sandboxId);
      return path === undefined ? [] : ips.map((ip) => [ip, path] as const);
    }),
  );
}

async function throughService(
  { proxy }: NetworkParts,
  flow: TraceFlow,
  from: 'pod' | 'node' | 'outside',
): Promise<{ readonly steps: readonly TraceStep[]; readonly flows: readonly TraceFlow[] }> {
  const verdict = await proxy.explain?.(flow, from);
  if (verdict === undefined) return { steps: [], flows: [flow] };
  const status = proxy.status();
  const whose = verdict.service === undefined ? 'the service range' : `Service ${verdict.service}`;
  const steps: TraceStep[] = verdict.objects.map(({ shown, isPresent }) => ({
    what: 'service',
    shown,
    problem: isPresent
      ? undefined
      : {
          text: `it is missing in the kernel, so the proxy of this node does not do what it should for ${whose}`,
          cure: status.reason ?? 'the proxy puts it back within two seconds while its agent runs: pintle status',
          isFatal: true,
        },
  }));
  const dead = verdict.verdict !== 'translated';
  const endpoints = `${verdict.endpoints.length} ${verdict.endpoints.length === 1 ? 'endpoint' : 'endpoints'}`;
  const role = verdict.service === undefined ? `an address of ${whose}` : `the ${verdict.via} of ${whose}`;
  steps.push({
    what: 'service',
    shown: `${flow.destination}:${flow.port} is ${role}, ${dead ? verdict.verdict : endpoints}`,
    problem: dead
      ? {
          text: `new connections are ${verdict.verdict}: ${verdict.reason ?? ''}`,
          cure: cureOf(verdict),
          isFatal: true,
        }
      : undefined,
  });
  if (steps.some((step) => step.problem?.isFatal)) return { steps, flows: [] };
  const flows = verdict.endpoints.map(({ address, port }) => ({ protocol: flow.protocol, destination: address, port }));
  return { steps, flows };
}

function cureOf({ service }: ServiceVerdict): string {
  return service === undefined
    ? 'kubectl get services -A shows the addresses that Services have'
    : `kubectl get endpointslices -l kubernetes.io/service-name=${service.split('/')[1] ?? ''}; kubectl get pods`;
}

async function forwarding({ destination }: TraceFlow): Promise<readonly TraceStep[]> {
  const name = destination.includes(':') ? 'net.ipv6.conf.all.forwarding' : 'net.ipv4.ip_forward';
  const value = readSysctl(name);
  const setting: TraceStep = {
    what: 'setting',
    shown: `${name} = ${value ?? 'absent'}`,
    problem:
      value === '1' ? undefined : { text: 'this node forwards nothing', cure: `sysctl -w ${name}=1`, isFatal: true },
  };
  return [
    setting,
    ...(await forwardChains()).map(({ shown, problem }): TraceStep => ({ what: 'firewall', shown, problem })),
  ];
}

/** Those that go there already: a new connection may be sent elsewhere, theirs go on as they began. */
function connections(flow: TraceFlow): readonly TraceStep[] {
  const conntrack = openConntrack();
  try {
    const found = conntrack
      .list(familyOf(flow.destination), protocolNumbers[flow.protocol])
      .filter(({ original }) => original.destination === flow.destination && original.destinationPort === flow.port);
    const more = found.length > shownConnections ? `, and ${found.length - shownConnections} more` : '';
    return found.slice(0, shownConnections).map((entry, index): TraceStep => {
      const last = index === Math.min(shownConnections, found.length) - 1;
      return { what: 'conntrack', shown: `${showConntrack(entry)}${last ? more : ''}` };
    });
  } finally {
    conntrack.close();
  }
}
