/**
 * The way of a packet through one node's routing, read from the live kernel: route, link, neighbour, forwarding entry. Knows
 * links by their kind, not by who made them, so that it goes for every overlay and attachment.
 */
import type { Peer, Problem, TraceEnd, TraceStep } from '../../../kernel/contract/index.ts';
import { AF_INET, AF_INET6, canonicalIp, contains, familyOf, parseCidr } from '../ip-address.ts';
import { annotationKeys } from '../overlay/flannel-annotations.ts';
import type { Link, Route, Rtnetlink } from '../rtnetlink.ts';
import { showFdb, showLink, showNeighbour, showRoute, type LinkName } from './show.ts';

export interface NodeView {
  readonly name: string;
  readonly rt: Rtnetlink;
  readonly peers: readonly Peer[];
  /** Addresses of this node's pods. */
  readonly podAddresses: ReadonlySet<string>;
  readonly podCidrs: readonly string[];
}

export interface Way {
  readonly steps: readonly TraceStep[];
  readonly end: TraceEnd;
}

const localRoute = 2;

export const nameIn =
  (rt: Rtnetlink): LinkName =>
  (index) =>
    rt.getLink(index)?.name ?? `link ${index}`;

export const fatal = (text: string, cure?: string): Problem => ({ text, cure, isFatal: true });

const isInside = (cidrs: readonly string[], address: string): boolean =>
  cidrs.some((cidr) => {
    const range = parseCidr(cidr);
    return range.family === familyOf(address) && contains(range, address);
  });

/** The node's own, and what its overlay tells others to use instead (it may be behind address translation). */
const underlayAddressesOf = ({ addresses, annotations }: Peer): readonly string[] => {
  const published = ([AF_INET, AF_INET6] as const).map((family) => annotations[annotationKeys.publicIp[family]]);
  return [...new Set([...addresses, ...published.filter((each) => each !== undefined)])];
};

export function wayFrom(view: NodeView, destination: string): Way {
  const { rt } = view;
  const name = nameIn(rt);
  const target = canonicalIp(destination);
  const steps: TraceStep[] = [];
  const died = (what: TraceStep['what'], shown: string, problem: Problem): Way => ({
    steps: [...steps, { what, shown, problem }],
    end: { kind: 'dies' },
  });

  const owner = view.peers.find((peer) => isInside(peer.podCidrs, target));
  const route = rt.routeTo(target);
  if (route === undefined || route.link === undefined) {
    const whose = owner === undefined ? '' : ` (a pod of ${owner.name})`;
    return died(
      'route',
      `none to ${target}`,
      fatal(
        `node ${view.name} has no route to ${target}${whose}`,
        'the overlay makes it for every node with a pod range and an address: kubectl get nodes -o wide; pintle status',
      ),
    );
  }
  const entry = rt.matchingRoute(target) ?? route;
  steps.push({ what: 'route', shown: showRoute(entry, name), problem: strayProblem(view, entry, owner) });
  if (route.type === localRoute) return { steps, end: { kind: 'node' } };

  const link = rt.getLink(route.link);
  if (link === undefined) return died('link', `link ${route.link}`, goneMeanwhile);
  const state = linkProblem(link);
  steps.push({ what: 'link', shown: showLink(link, name), problem: state });
  if (state?.isFatal) return { steps, end: { kind: 'dies' } };
  if (link.kind === 'vxlan') return throughVxlan(view, link, route.gateway ?? target, steps, owner);
  if (link.kind === 'tun') return throughTunnel(view, link, steps, owner);

  const hop = route.gateway ?? target;
  const isPod = view.podAddresses.has(target);
  if (!isPod && isInside(view.podCidrs, target))
    return died(
      'neighbour',
      `${target} dev ${link.name}`,
      fatal(`no pod of node ${view.name} has the address ${target}`, 'kubectl get pods -A -o wide shows who has which'),
    );
  const neighbour = rt.listNeighbours({ link: link.index }).find((each) => each.address === hop);
  if (neighbour !== undefined) {
    const unanswered = neighbour.mac === undefined && !link.loopback;
    const text = `nobody on ${link.name} answers for ${hop}`;
    steps.push({
      what: 'neighbour',
      shown: showNeighbour(neighbour, name),
      problem: unanswered ? fatal(text, isPod ? 'delete the pod, so that it is attached anew' : undefined) : undefined,
    });
    if (unanswered) return { steps, end: { kind: 'dies' } };
    if (link.kind === 'bridge') {
      const entry = rt
        .listFdb()
        .find((each) => each.mac === neighbour.mac && rt.getLink(each.link)?.master === link.index);
      if (entry !== undefined) steps.push({ what: 'fdb', shown: showFdb(entry, name) });
    }
  }
  if (isPod) return { steps, end: { kind: 'pod', address: target } };
  const node = view.peers.find((peer) => underlayAddressesOf(peer).includes(hop));
  return { steps, end: { kind: 'leaves', to: hop, node: node?.name, mtuBytes: link.mtu } };
}

/** Not fatal: a router may know the pods' ranges. */
function strayProblem({ name }: NodeView, { destination }: Route, owner: Peer | undefined): Problem | undefined {
  if (owner === undefined || !destination.endsWith('/0')) return undefined;
  return {
    text: `node ${name} has no route of its own to the pods of ${owner.name}: the packet goes where all goes that nobody knows`,
    cure: 'the overlay makes one for every node with a pod range and an address: kubectl get nodes -o wide; pintle status',
    isFatal: false,
  };
}

function throughVxlan(
  view: NodeView,
  link: Link,
  gateway: string,
  steps: readonly TraceStep[],
  owner: Peer | undefined,
): Way {
  const { rt } = view;
  const name = nameIn(rt);
  const cure = `the overlay puts it back within two seconds while its agent runs: pintle status, and the agent's log`;
  const neighbour = rt.listNeighbours({ link: link.index }).find((each) => each.address === gateway);
  if (neighbour?.mac === undefined) {
    const problem = fatal(`${link.name} does not know who ${gateway} is: no neighbour entry`, cure);
    return {
      steps: [...steps, { what: 'neighbour', shown: `none for ${gateway} dev ${link.name}`, problem }],
      end: { kind: 'dies' },
    };
  }
  const met: TraceStep[] = [...steps, { what: 'neighbour', shown: showNeighbour(neighbour, name) }];
  const entry = rt.listFdb({ link: link.index }).find((each) => each.mac === neighbour.mac);
  if (entry?.destination === undefined) {
    const problem = fatal(
      `${link.name} does not know behind which node ${neighbour.mac} is: no forwarding entry`,
      cure,
    );
    return {
      steps: [...met, { what: 'fdb', shown: `none for ${neighbour.mac} dev ${link.name}`, problem }],
      end: { kind: 'dies' },
    };
  }
  met.push({ what: 'fdb', shown: showFdb(entry, name) });
  const isWrong = owner !== undefined && !underlayAddressesOf(owner).includes(entry.destination);
  if (isWrong)
    met.push({
      what: 'tunnel',
      shown: `to ${entry.destination}`,
      problem: fatal(`the pod is on ${owner.name}, whose address is ${underlayAddressesOf(owner).join(', ')}`, cure),
    });
  if (isWrong) return { steps: met, end: { kind: 'dies' } };
  met.push({
    what: 'tunnel',
    shown: `UDP ${link.vxlan?.local ?? ''} -> ${entry.destination}:${link.vxlan?.port ?? ''}, VXLAN ${link.vxlan?.vni ?? ''}`,
  });
  return onUnderlay(view, entry.destination, met, owner, link.mtu);
}

/** A data path in a process reads what is sent here, and sends it on by IPv4 to the address that the node publishes. */
function throughTunnel(view: NodeView, link: Link, steps: readonly TraceStep[], owner: Peer | undefined): Way {
  const to = owner && (owner.annotations[annotationKeys.publicIp[AF_INET]] ?? owner.addresses[0]);
  if (to === undefined) {
    const problem = fatal('no node of the cluster has this address in its pod range', 'kubectl get nodes -o wide');
    return { steps: [...steps, { what: 'tunnel', shown: link.name, problem }], end: { kind: 'dies' } };
  }
  const carrier = link.operational
    ? undefined
    : fatal(`no process serves ${link.name}`, 'restart the agent of this node');
  const met: TraceStep[] = [
    ...steps,
    { what: 'tunnel', shown: `${link.name}: a process sends it on to ${to}`, problem: carrier },
  ];
  return carrier === undefined ? onUnderlay(view, to, met, owner, link.mtu) : { steps: met, end: { kind: 'dies' } };
}

/** The packet that carries the packet. */
function onUnderlay(
  view: NodeView,
  to: string,
  steps: readonly TraceStep[],
  owner: Peer | undefined,
  innerMtu: number,
): Way {
  const { rt } = view;
  const name = nameIn(rt);
  const route = rt.routeTo(to);
  if (route?.link === undefined) {
    const problem = fatal(`node ${view.name} has no route to ${to}, the node that the tunnel ends at`);
    return { steps: [...steps, { what: 'route', shown: `none to ${to}`, problem }], end: { kind: 'dies' } };
  }
  const link = rt.getLink(route.link);
  if (link === undefined)
    return {
      steps: [...steps, { what: 'link', shown: `link ${route.link}`, problem: goneMeanwhile }],
      end: { kind: 'dies' },
    };
  const problem = linkProblem(link) ?? (innerMtu >= link.mtu ? tooSmall(link, innerMtu) : undefined);
  const met: TraceStep[] = [
    ...steps,
    { what: 'route', shown: showRoute(rt.matchingRoute(to) ?? route, name) },
    { what: 'link', shown: showLink(link, name), problem },
  ];
  if (problem?.isFatal) return { steps: met, end: { kind: 'dies' } };
  const hop = route.gateway ?? to;
  const neighbour = rt.listNeighbours({ link: link.index }).find((each) => each.address === hop);
  if (neighbour !== undefined)
    met.push({
      what: 'neighbour',
      shown: showNeighbour(neighbour, name),
      problem:
        neighbour.mac === undefined ? fatal(`nobody on ${link.name} answers for ${hop}: is that node up?`) : undefined,
    });
  return {
    steps: met,
    end:
      neighbour?.mac === undefined && neighbour !== undefined
        ? { kind: 'dies' }
        : { kind: 'leaves', to, node: owner?.name, mtuBytes: innerMtu },
  };
}

/** Between two questions to the kernel. */
const goneMeanwhile = fatal('it is gone since its route was looked up', 'trace again');

const tooSmall = (link: Link, innerMtu: number): Problem => ({
  text: `${link.name} carries ${link.mtu} bytes and the tunnel above it ${innerMtu}: full packets are lost`,
  cure: `restart the agent, which takes its MTU from ${link.name}, or raise that of ${link.name}`,
  isFatal: false,
});

function linkProblem(link: Link): Problem | undefined {
  if (!link.up) return fatal(`${link.name} is down`, `ip link set ${link.name} up`);
  if (!link.operational && link.kind !== 'bridge')
    return fatal(`${link.name} has no carrier: its other end is down or gone`);
  return undefined;
}
