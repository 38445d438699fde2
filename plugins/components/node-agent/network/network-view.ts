/** Answers the questions of network-view.ts for this node. */
import { networkInterfaces } from 'node:os';
import {
  PintleError,
  type Listening,
  type NetworkAnswers,
  type NetworkQuestion,
  type NodeService,
  type ProbeTarget,
} from '../../../../kernel/contract/index.ts';
import { canonicalIp, contains, familyOf, parseCidr } from '../../../../netplugins/linux/ip-address.ts';
import { openRtnetlink } from '../../../../netplugins/linux/rtnetlink.ts';
import { findings, type FindingParts } from './findings.ts';
import { EchoListeners, probe } from './peer-probes.ts';
import { trace } from './tracer.ts';

export interface NetworkViewParts extends FindingParts {
  /** Addresses of this node that others reach. */
  readonly addresses: readonly string[];
}

const maxTargets = 64;

export function networkView(parts: NetworkViewParts): { readonly ask: NodeService['network']; close(): void } {
  const listeners = new EchoListeners();
  const answer = async (question: NetworkQuestion): Promise<NetworkAnswers[NetworkQuestion['ask']]> => {
    switch (question?.ask) {
      case 'trace':
        return trace(parts, question);
      case 'findings':
        return findings(parts);
      case 'listen':
        return { ...addressesOf(parts), ...(await listeners.listen(question.seconds)) };
      case 'probe':
        return probeAll(parts, question.targets);
      default:
        throw new PintleError(
          'BAD_REQUEST',
          'the question asks nothing known: expected trace, findings, listen or probe',
        );
    }
  };
  return { ask: (question) => answer(question) as never, close: () => listeners.close() };
}

const isInside = (cidrs: readonly string[], address: string): boolean =>
  cidrs.some((cidr) => {
    const range = parseCidr(cidr);
    return range.family === familyOf(address) && contains(range, address);
  });

function addressesOf({ podCidrs, addresses, overlay }: NetworkViewParts): Omit<Listening, 'tcpPort' | 'udpPort'> {
  const own = Object.values(networkInterfaces())
    .flatMap((each) => each ?? [])
    .map(({ address }) => canonicalIp(address.replace(/%.*$/, '')));
  const rt = openRtnetlink();
  try {
    const index = rt.listAddresses().find((each) => addresses.includes(each.address))?.index;
    return {
      overlay: own.filter((address) => isInside(podCidrs(), address)),
      underlay: addresses,
      podMtuBytes: overlay.status().mtuBytes,
      underlayMtuBytes: (index === undefined ? undefined : rt.getLink(index)?.mtu) ?? 1500,
    };
  } finally {
    rt.close();
  }
}

/** Packets go to nodes of this cluster only. */
async function probeAll(parts: NetworkViewParts, targets: readonly ProbeTarget[]) {
  if (!Array.isArray(targets) || targets.length > maxTargets)
    throw new PintleError('BAD_REQUEST', `expected a list of at most ${maxTargets} targets`);
  const peers = parts.peers();
  for (const { address } of targets) {
    const isKnown = peers.some((peer) => peer.addresses.includes(address) || isInside(peer.podCidrs, address));
    if (!isKnown) throw new PintleError('BAD_REQUEST', `${address} belongs to no other node of the cluster`);
  }
  return Promise.all(targets.map((target) => probe(target)));
}
