/** What a packet meets in a pod's own network namespace, on its way out and at its end. */
import type { Problem, Protocol, TraceStep } from '../../../kernel/contract/index.ts';
import { openRtnetlink, type Rtnetlink } from '../rtnetlink.ts';
import { showLink, showNeighbour, showRoute } from './show.ts';
import { accepts, listeningSockets } from './sockets.ts';
import { fatal, nameIn } from './walk.ts';

export interface PodSide {
  readonly inPod: readonly TraceStep[];
  /** The node's end of the pod's link. */
  readonly onNode: readonly TraceStep[];
  readonly isDead: boolean;
}

/** `address`: the pod's own. */
export function outOfPod(
  pod: { readonly address: string; readonly netns: string },
  destination: string,
  node: Rtnetlink,
): PodSide {
  const rt = openRtnetlink({ netns: pod.netns });
  try {
    const name = nameIn(rt);
    const inPod: TraceStep[] = [];
    const own = rt.listAddresses().find((each) => each.address === pod.address);
    const link = own === undefined ? undefined : rt.getLink(own.index);
    if (link === undefined) {
      const problem = fatal(
        `no interface in the pod has its address ${pod.address}`,
        'delete the pod, so that it is attached anew',
      );
      return { inPod: [{ what: 'link', shown: `none with ${pod.address}`, problem }], onNode: [], isDead: true };
    }
    const down = link.up
      ? undefined
      : fatal(`${link.name} in the pod is down`, `ip link set ${link.name} up in the pod`);
    inPod.push({ what: 'link', shown: `${pod.address} on ${showLink(link, name)}`, problem: down });
    const route = rt.routeTo(destination);
    inPod.push(
      route === undefined
        ? {
            what: 'route',
            shown: `none to ${destination}`,
            problem: fatal('the pod has no route to it', 'delete the pod, so that it is attached anew'),
          }
        : { what: 'route', shown: showRoute(rt.matchingRoute(destination) ?? route, name) },
    );
    const hop = route?.gateway ?? destination;
    const neighbour = rt.listNeighbours({ link: link.index }).find((each) => each.address === hop);
    if (neighbour !== undefined) {
      const lost = neighbour.mac === undefined ? fatal(`the node does not answer for ${hop}`) : undefined;
      inPod.push({ what: 'neighbour', shown: showNeighbour(neighbour, name), problem: lost });
    }
    const pair = link.peer === undefined ? undefined : node.getLink(link.peer);
    const pairDown = pair?.up === false ? fatal(`${pair.name} is down`, `ip link set ${pair.name} up`) : undefined;
    const onNode: TraceStep[] =
      pair === undefined ? [] : [{ what: 'link', shown: showLink(pair, nameIn(node)), problem: pairDown }];
    return { inPod, onNode, isDead: [...inPod, ...onNode].some((step) => step.problem?.isFatal === true) };
  } finally {
    rt.close();
  }
}

/** Whether a process takes the packet. SCTP's sockets are not looked at. `netns` undefined: the node's own. */
export function intoSocket(
  netns: string | undefined,
  flow: { readonly protocol: Protocol; readonly destination: string; readonly port: number },
): TraceStep | undefined {
  if (flow.protocol === 'SCTP') return undefined;
  const sockets = listeningSockets(flow.protocol, netns);
  const found = sockets.find((socket) => accepts(socket, flow.destination, flow.port));
  const shown = (address: string): string =>
    `${flow.protocol} ${address.includes(':') ? `[${address}]` : address}:${flow.port}`;
  if (found !== undefined) return { what: 'socket', shown: `listening on ${shown(found.address)}` };
  const elsewhere = sockets.find((socket) => socket.port === flow.port);
  const where = netns === undefined ? 'on the node' : 'in the pod';
  const problem: Problem =
    elsewhere === undefined
      ? fatal(`nothing listens on ${flow.protocol} port ${flow.port} ${where}: connections are refused`)
      : fatal(
          `a process listens on ${elsewhere.address} only, which a packet to ${flow.destination} does not meet`,
          'let it listen on 0.0.0.0 or ::',
        );
  return { what: 'socket', shown: `none on ${shown(flow.destination)}`, problem };
}
